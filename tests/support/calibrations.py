"""Calibrations in a second: fewer and shorter histories of honest clients, rates as given."""

from contextlib import contextmanager
from unittest.mock import patch

from pow.rate import Rate as HashRate
from server.calibration import fit, make

RATES = {
    algorithm: HashRate(algorithm, rate, "test", "nowhere", "2026-01-01T00:00:00+00:00")
    for algorithm, rate in {"sha1": 5e7, "sha256": 3e7, "argon2id": 1e3}.items()
}

GRID = (1, 4, 16, 64, 128, 256, 512, 1024)


@contextmanager
def short_histories():
    """Calibrations in here take a second."""
    sizes = {"LONG_QUERIES": 1_280, "CLIENTS": 20}
    with patch.multiple(fit, GRID=GRID, BAND_CLIENTS=100, **sizes), patch.multiple(make, **sizes):
        yield


def calibrate(*given, **wishes):
    """`server.calibration.make.calibrate`, in a second."""
    with short_histories():
        return make.calibrate(*given, **{"seed": 0, "t_max": None, "rates": RATES, **wishes})
