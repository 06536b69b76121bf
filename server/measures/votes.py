"""Votes as PATE accounts for them: shards, histograms, and the GNMax cost of a query."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.privacy.pate import gnmax_epsilon
from server.measures import Arrays
from server.measures.stored import Stored
from server.victims import Answer

SHARD_IMAGES = 40
"""Fewest training images of one head or teacher."""

SIGMA_SHARE = 25
"""Noise of the votes: sigma = N / 25 keeps the votes' spread visible at any N."""

DELTA = 1e-5
"""The delta of the (epsilon, delta) cost of one query, as in the paper for MNIST and CIFAR-10."""


class Voting(Stored, ABC):
    """A measure that takes a vote. `config` has sigma and delta."""

    def __init__(self, config: Any, arrays: Arrays, *, voters: int) -> None:
        super().__init__(config, arrays)
        self._voters = voters

    @abstractmethod
    def votes(self, inputs: NDArray[np.float32], answer: Answer) -> NDArray[np.int64]:
        """Histogram (b, k) of the votes on each input. Raises ValueError for an unfit answer."""

    def cost(self, inputs: NDArray[np.float32], answer: Answer) -> NDArray[np.float64]:
        """GNMax epsilon (b,) of the votes. Raises ValueError as `votes` does."""
        votes, config = self.votes(inputs, answer), self._config
        return gnmax_epsilon(votes, config.sigma, config.delta, teachers=self._voters)


def voters(images: int, *, most: int) -> int:
    """Number of voters for `images` training images, each with a shard of SHARD_IMAGES or more.

    Raises ValueError where fewer than two would remain.
    """
    count = min(most, images // SHARD_IMAGES)
    if count < 2:
        raise ValueError(
            f"{images} training images are too few for votes; "
            f"expected at least {2 * SHARD_IMAGES} (two shards of {SHARD_IMAGES})"
        )
    return count


def shards(images: int, count: int, *, seed: int) -> NDArray[np.int64]:
    """Indices (count, m) of `count` disjoint random shards of equal size m."""
    size = images // count
    order = np.random.default_rng(seed).permutation(images)[: count * size]
    return order.reshape(count, size)


def histogram(labels: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Votes (b, k) of the labels (b, n) that n voters gave."""
    rows = np.arange(len(labels))[:, None] * classes
    return np.bincount((rows + labels).ravel(), minlength=len(labels) * classes).reshape(
        -1, classes
    )
