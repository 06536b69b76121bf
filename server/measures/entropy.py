"""Entropy of the victim's posterior, in units of its maximum: what uncertainty sampling looks for.

The entropy cost of Dziedzic et al. (ICLR 2022): H(softmax(logits)) / ln k, from 0 (certain) to 1.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from core.learning.datasets import Split
from server.measures import Arrays, checked
from server.victim import Answer, TorchVictim


class Entropy:
    """Needs the logits alone, and no training."""

    def cost(self, images: NDArray[np.float32], answer: Answer) -> NDArray[np.float64]:
        """Normalised entropy (b,). Raises ValueError for logits that are not finite."""
        logs = log_softmax(answer.logits.astype(np.float64), axis=1)
        # One that is certain sums to -0.0 or, rounded, to a little less.
        entropy = np.maximum(-(np.exp(logs) * logs).sum(axis=1), 0.0)
        return checked(entropy / np.log(logs.shape[1]), "entropy")

    def arrays(self) -> Arrays:
        return {}

    def config(self) -> dict[str, object]:
        return {}


def train(victim: TorchVictim, split: Split, *, seed: int) -> Entropy:
    """Nothing to train."""
    return Entropy()


def restore(arrays: Arrays, config: Mapping[str, Any], victim: TorchVictim) -> Entropy:
    """Nothing to restore."""
    return Entropy()
