"""Fixtures of the core tests: one home for the run."""

from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Two spinning threads on a core that somebody else uses are slower than one, by far."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that keeps decoded datasets from one test to the next."""
    return tmp_path_factory.mktemp("home")
