"""Privacy measures: what answering an image reveals, as a cost per image (DESIGN section 4).

None of them is a differential-privacy guarantee: answers carry no noise, and the features of
`heads` saw every record. They are information scores that a price can rest on.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from core.datasets import Split
from server.victim import Answer, TorchVictim

MEASURES = {"heads": "server.measures.heads", "teachers": "server.measures.teachers"}
"""Name -> module; each module has `Config`, `train` and `restore`."""

Arrays = dict[str, NDArray[Any]]

SHARD_IMAGES = 40
"""Fewest training images of one head or teacher."""

SIGMA_SHARE = 25
"""Noise of the votes: sigma = N / 25 keeps the votes' spread visible at any N."""

DELTA = 1e-5
"""The delta of the (epsilon, delta) cost of one query, as in the paper for MNIST and CIFAR-10."""


class Measure(Protocol):
    """Maps images (b, c, h, w) and the victim's answer to costs."""

    def cost(self, images: NDArray[np.float32], answer: Answer) -> NDArray[np.float64]:
        """Privacy cost of each image (b,), >= 0."""
        ...

    def arrays(self) -> Arrays:
        """Its weights, to be stored."""
        ...

    def config(self) -> dict[str, object]:
        """What it was trained with: part of the fingerprint."""
        ...


def train(name: str, victim: TorchVictim, split: Split, *, seed: int) -> Measure:
    """Trains a measure on the victim's own training images. Raises ValueError, KeyError."""
    measure: Measure = import_module(MEASURES[name]).train(victim, split, seed=seed)
    return measure


def restore(name: str, arrays: Arrays, config: Mapping[str, Any], victim: TorchVictim) -> Measure:
    """A measure from what `arrays` and `config` of an earlier one gave."""
    measure: Measure = import_module(MEASURES[name]).restore(arrays, config, victim)
    return measure


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


def votes(labels: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Histogram (b, k) of the labels (b, n) that n voters gave."""
    rows = np.arange(len(labels))[:, None] * classes
    return np.bincount((rows + labels).ravel(), minlength=len(labels) * classes).reshape(
        -1, classes
    )
