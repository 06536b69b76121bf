"""A model that is prepared and calibrated, for the tests of the commands."""

import shutil

import pytest
from commands import MEASURE

from core.learning.datasets import load
from pow.rate import Rate as HashRate
from server import calibration, measures, model
from server.calibration.make import calibrate


@pytest.fixture(scope="session")
def rates():
    """Hash rates that nobody measured."""
    return {
        algorithm: HashRate(algorithm, rate, "test", "nowhere", "2026-01-01T00:00:00+00:00")
        for algorithm, rate in {"sha1": 5e7, "sha256": 3e7, "argon2id": 1e3}.items()
    }


@pytest.fixture(scope="session")
def home(digits_home, rates):
    """A home with a prepared and calibrated model `m`."""
    model.prepare(digits_home, "m", dataset="digits", network="lenet-thin", measure=MEASURE, seed=0)
    file = calibration.path(digits_home, "m", MEASURE)
    prepared = model.load(digits_home, "m", MEASURE)
    split = load("digits", home=digits_home).splits["calibration"]
    _, split = measures.reserve(MEASURE, split)
    calibration.save(calibrate(prepared, MEASURE, split, seed=0, t_max=0.01, rates=rates), file)
    return digits_home


@pytest.fixture(scope="session")
def images(home):
    return load("digits", home=home).splits["honest"].images


@pytest.fixture
def copied(home, tmp_path):
    """A copy of the home to spoil."""
    shutil.copytree(home / "models", tmp_path / "models")
    return tmp_path
