"""A model that is prepared and calibrated, for the tests of the commands."""

import shutil

import pytest
from calibrations import RATES, calibrate
from commands import MEASURE

from core.learning.datasets import load
from server import calibration, measures, model


@pytest.fixture(scope="session")
def rates():
    """Hash rates that nobody measured."""
    return RATES


@pytest.fixture(scope="session")
def home(digits_home):
    """A home with a prepared and calibrated model `m`."""
    model.prepare(digits_home, "m", dataset="digits", network="lenet-thin", measure=MEASURE, seed=0)
    file = calibration.path(digits_home, "m", MEASURE)
    prepared = model.load(digits_home, "m", MEASURE)
    split = load("digits", home=digits_home).splits["calibration"]
    _, split = measures.reserve(MEASURE, split)
    calibration.save(calibrate(prepared, MEASURE, split, t_max=0.1, drifts=("tilted",)), file)
    return digits_home


@pytest.fixture(scope="session")
def images(home):
    return load("digits", home=home).splits["honest"].images


@pytest.fixture
def copied(home, tmp_path):
    """A copy of the home to spoil."""
    shutil.copytree(home / "models", tmp_path / "models")
    return tmp_path
