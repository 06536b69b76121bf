"""Hash rates: measuring, storing, converting work to seconds."""

from dataclasses import replace

import pytest

from pow.rate import DEVICES, Rate, measure, seconds

RATE = Rate("sha1", 2e8, "avx512", "a host", "2026-11-21T12:00:00+00:00")


@pytest.mark.parametrize(
    ("algorithm", "kernel", "named"),
    [
        ("sha256", "portable", "portable"),
        ("sha1", "hashlib", "hashlib"),
        ("argon2id", "auto", "argon2-cffi"),
    ],
)
def test_measuring(algorithm, kernel, named):
    rate = measure(algorithm, 0.02, kernel=kernel, clock=lambda: 1_795_262_400.0)
    assert rate.kernel == named
    assert rate.measured == "2026-11-21T12:00:00+00:00"
    assert {"argon2id": 50, "sha1": 1e5, "sha256": 1e5}[algorithm] < rate.hashes_per_second < 1e10


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("md5",), "algorithm must be"),
        (("sha1", 0.0), "seconds must be"),
    ],
)
def test_what_cannot_be_measured(arguments, why):
    with pytest.raises(ValueError, match=why):
        measure(*arguments)
    for hashes in (0.0, -1.0, float("nan"), 1e16):
        with pytest.raises(ValueError, match="expected above 0 and at most 1e\\+15"):
            replace(RATE, hashes_per_second=hashes)


def test_work_in_seconds():
    assert seconds(1 << 30, RATE) == pytest.approx(5.37, abs=0.01)
    with pytest.raises(ValueError, match="one of sha1, not of sha256"):
        seconds(1, RATE, "sha256")
    with pytest.raises(ValueError, match="no md5 rate is known of RTX 3090"):
        seconds(1, DEVICES[0], "md5")


@pytest.mark.parametrize("device", DEVICES, ids=lambda d: d.name)
def test_devices_name_their_source(device):
    assert "https://" in device.source
    assert seconds(1 << 30, device) < seconds(1 << 30, device, "sha256")
    assert seconds(1000, device, "argon2id") > 1e-3
