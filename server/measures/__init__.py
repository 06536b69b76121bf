"""Privacy measures: what answering an image reveals, as a cost per image (docs/accounting.md).

A measure is named `NAME`, one of MEASURES, or `surprisal:NAME` or `surprisal:NAME+NAME...`: how
unusual an honest client would find its cost, or several costs at once.

None of them is a differential-privacy guarantee: answers carry no noise, and features saw every
record. They are information scores that a price can rest on.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from core.documents import shown
from core.learning.datasets import Split

if TYPE_CHECKING:
    from server.victim import Answer, TorchVictim

MEASURES = {
    "heads": "server.measures.heads",
    "teachers": "server.measures.teachers",
    "teachers-full": "server.measures.teachers_full",
    "knn": "server.measures.knn",
    "knn-full": "server.measures.knn_full",
    "entropy": "server.measures.entropy",
    "gap": "server.measures.gap",
    "typicality": "server.measures.typicality",
}
"""Name -> module; each module has `train` and `restore`."""

SURPRISAL = "surprisal:"
"""What the name of a surprisal begins with; `server.measures.surprisal` is its module."""

Arrays = dict[str, NDArray[Any]]

SHARD_IMAGES = 40
"""Fewest training images of one head or teacher."""

SIGMA_SHARE = 25
"""Noise of the votes: sigma = N / 25 keeps the votes' spread visible at any N."""

DELTA = 1e-5
"""The delta of the (epsilon, delta) cost of one query, as in the paper for MNIST and CIFAR-10."""


JUDGED = 20
"""Held-out honest images that a calibration takes at least, besides those of `reserve`."""

REFERENCE = 50
"""Held-out honest images without which the honest tail of a surprisal cannot be told."""

FEWEST = {
    "heads": 2 * SHARD_IMAGES,
    "teachers": 2 * SHARD_IMAGES,
    "teachers-full": 2 * SHARD_IMAGES,
    "knn": 60,
    "knn-full": 60,
}
"""Training images of the victim that a measure takes at least; the others make do with any."""


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


def parse(name: str) -> tuple[str, ...]:
    """The names of MEASURES that a measure is made of, in order.

    Raises ValueError for a name that is unknown (with the nearest that is known) or ill-formed.
    """
    parts = tuple(name.removeprefix(SURPRISAL).split("+"))
    for part in parts:
        if part not in MEASURES:
            known = [*MEASURES, *(SURPRISAL + plain for plain in MEASURES)]
            near = get_close_matches(part, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"unknown measure {part!r}, expected one of {', '.join(MEASURES)}, "
                f"{SURPRISAL}NAME or {SURPRISAL}NAME+NAME{hint}"
            )
    if len(set(parts)) < len(parts):
        raise ValueError(f"measure {name!r} names a part twice; expected different ones")
    if len(parts) > 1 and not name.startswith(SURPRISAL):
        raise ValueError(
            f"measure {name!r} adds costs that share no scale; expected {SURPRISAL + name!r}"
        )
    return parts


def file_stem(name: str) -> str:
    """A measure's name as part of a plain file name: letters and dashes."""
    parse(name)
    return name.replace(":", "-").replace("+", "-")


def reserve(name: str, honest: Split) -> tuple[Split, Split]:
    """Held-out honest images: those a measure takes as its reference, and those left to judge it.

    A surprisal takes the first half of a split in random order; other measures take none.
    """
    cut = len(honest) // 2 if name.startswith(SURPRISAL) else 0
    return (
        Split(honest.images[:cut], honest.labels[:cut]),
        Split(honest.images[cut:], honest.labels[cut:]),
    )


def fewest(name: str) -> dict[str, int]:
    """Images that a measure and its calibration take at least of each split. Raises ValueError."""
    held_out = max(2 * REFERENCE, 2 * JUDGED) if name.startswith(SURPRISAL) else JUDGED
    return {
        "victim": max(FEWEST.get(part, 1) for part in parse(name)),
        "calibration": held_out,
    }


def train(
    name: str,
    victim: TorchVictim,
    split: Split,
    *,
    seed: int,
    reference: Split | None = None,
    trained: Mapping[str, Measure] | None = None,
) -> Measure:
    """Trains a measure on the victim's own training images.

    Only a surprisal looks at `reference`, held-out honest images as `reserve` gives them, and at
    `trained`, measures of the same victim and seed that need no training again. Raises ValueError.
    """
    measure: Measure
    if name.startswith(SURPRISAL):
        surprisal = import_module("server.measures.surprisal")
        measure = surprisal.train(
            parse(name), victim, split, reference=reference, seed=seed, trained=trained or {}
        )
    else:
        (plain,) = parse(name)
        measure = import_module(MEASURES[plain]).train(victim, split, seed=seed)
    return measure


def restore(name: str, arrays: Arrays, config: Mapping[str, Any], victim: TorchVictim) -> Measure:
    """A measure from what `arrays` and `config` of an earlier one gave. Raises ValueError."""
    (plain, *_) = named = parse(name)
    if not isinstance(config, Mapping):
        raise ValueError(f"config is {shown(config)}, expected a table")
    if name.startswith(SURPRISAL):
        parts = config.get("parts")
        if isinstance(parts, Mapping) and parts and set(parts) != set(named):
            raise ValueError(f"config has parts {shown(list(parts))}, expected {', '.join(named)}")
    module = "server.measures.surprisal" if name.startswith(SURPRISAL) else MEASURES[plain]
    measure: Measure = import_module(module).restore(arrays, config, victim)
    return measure


def features_of(answer: Answer, width: int, measure: str) -> NDArray[np.float32]:
    """The victim's features (b, width). Raises ValueError where they are missing or differ."""
    if answer.features is None:
        raise ValueError(f"the victim gives no features; measure {measure} needs them")
    if answer.features.ndim != 2 or answer.features.shape[1] != width:
        found = answer.features.shape[1] if answer.features.ndim == 2 else answer.features.shape
        raise ValueError(f"features have width {found}; measure {measure} expects {width}")
    if not np.isfinite(answer.features).all():
        wrong = answer.features[~np.isfinite(answer.features)][0]
        raise ValueError(f"features contain {wrong}; measure {measure} expects finite numbers")
    return answer.features


def checked(costs: NDArray[np.float64], measure: str) -> NDArray[np.float64]:
    """Costs (b,) as they are. Raises ValueError where one is NaN, infinite or negative."""
    wrong = costs[~(np.isfinite(costs) & (costs >= 0))]
    if len(wrong):
        raise ValueError(f"measure {measure} gave the cost {wrong[0]}; expected a number from 0")
    return costs


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
