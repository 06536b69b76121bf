"""One minus the gap between the victim's two best classes: what margin sampling looks for.

The gap cost of Dziedzic et al. (ICLR 2022): 1 - (p1 - p2), where p1 and p2 are the softmax over
the two largest logits alone; that is 1 - tanh((z1 - z2) / 2), from 0 (certain) to 1 (undecided).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from core.learning.datasets import Split
from server.measures import Arrays, checked
from server.victim import Answer, TorchVictim


class Gap:
    """Needs the logits alone, and no training."""

    def cost(self, images: NDArray[np.float32], answer: Answer) -> NDArray[np.float64]:
        """Undecidedness (b,). Raises ValueError for logits that are not finite."""
        best = np.partition(answer.logits.astype(np.float64), -2, axis=1)[:, -2:]
        # 2 / (1 + e^gap), the same number without losing the digits of a small one.
        return checked(2 * expit(best[:, 0] - best[:, 1]), "gap")

    def arrays(self) -> Arrays:
        return {}

    def config(self) -> dict[str, object]:
        return {}


def train(victim: TorchVictim, split: Split, *, seed: int) -> Gap:
    """Nothing to train."""
    return Gap()


def restore(arrays: Arrays, config: Mapping[str, Any], victim: TorchVictim) -> Gap:
    """Nothing to restore."""
    return Gap()
