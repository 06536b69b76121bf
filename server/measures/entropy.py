"""Entropy of the victim's probabilities, in units of its maximum: what uncertainty sampling seeks.

The entropy cost of Dziedzic et al. (ICLR 2022): H(softmax(logits)) / ln k, from 0 (certain) to 1.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from server.measures import checked
from server.measures.stored import Untrained
from server.victims import Answer


class Entropy(Untrained):
    """Normalised entropy."""

    def cost(self, inputs: NDArray[np.float32], answer: Answer) -> NDArray[np.float64]:
        """Entropy (b,). Raises ValueError for scores that are not finite."""
        logs = log_softmax(answer.scores(), axis=1)
        # One that is certain sums to -0.0 or, rounded, to a little less.
        entropy = np.maximum(-(np.exp(logs) * logs).sum(axis=1), 0.0)
        return checked(entropy / np.log(logs.shape[1]), "entropy")


train, restore = Entropy.train, Entropy.restore
