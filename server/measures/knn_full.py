"""Private kNN over every training image of the victim: `knn` without a subsample."""

from core.learning.datasets import Split
from server.measures import knn
from server.measures.knn import restore
from server.victim import TorchVictim

__all__ = ["restore", "train"]


def train(victim: TorchVictim, split: Split, *, seed: int) -> knn.Neighbours:
    """Keeps all training images. Raises ValueError where they are too few."""
    return knn.train(victim, split, seed=seed, share=1.0)
