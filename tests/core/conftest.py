"""Fixtures of the core tests: one home for the run, and the real data where a machine has them."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that keeps decoded datasets from one test to the next."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real image archives."""
    folder = os.environ.get("POWGATE_DATA")
    if not folder:
        pytest.skip("POWGATE_DATA does not name a folder of image archives")
    return Path(folder)
