"""Votes of up to 250 teachers, the paper's number for MNIST: `teachers` at full size."""

from core.learning.datasets import Split
from server.measures import teachers
from server.measures.teachers import restore
from server.victim import TorchVictim

__all__ = ["MOST", "restore", "train"]

MOST = 250


def train(victim: TorchVictim, split: Split, *, seed: int) -> teachers.Teachers:
    """Trains them all. Raises ValueError as `teachers.train` does."""
    return teachers.train(victim, split, seed=seed, most=MOST)
