"""Privacy measures: what answering an input reveals, as a cost per input (docs/accounting.md).

A measure is named `NAME`, one of MEASURES, or `surprisal:NAME` or `surprisal:NAME+NAME...`: how
unusual an honest client would find its cost, or several costs at once.

None of them is a differential-privacy guarantee: answers carry no noise, and features saw every
record. They are information scores that a price can rest on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from core.learning.datasets import Split
from core.suggest import suggest
from server.victims import Answer, Victim, answers

Arrays = dict[str, NDArray[Any]]

NEEDS: dict[str, Callable[[Victim], bool]] = {
    "features": lambda victim: victim.gives_features,
    "class probabilities": lambda victim: victim.outputs != "labels",
    "images": lambda victim: len(victim.shape) == 3,
}
"""What a measure may need that not every victim gives or takes."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of measure. Its module has `train` and `restore`."""

    module: str
    needs: str  # one of NEEDS
    fewest: int = 1  # training images of the victim that it takes at least
    settings: Mapping[str, Any] = field(default_factory=dict)  # arguments of `train`


MEASURES = {
    "heads": Kind("server.measures.heads", "features", 80),
    "teachers": Kind("server.measures.teachers", "images", 80),
    "teachers-full": Kind("server.measures.teachers", "images", 80, {"most": 250}),
    "knn": Kind("server.measures.knn", "features", 60),
    "knn-full": Kind("server.measures.knn", "features", 60, {"share": 1.0}),
    "entropy": Kind("server.measures.entropy", "class probabilities"),
    "gap": Kind("server.measures.gap", "class probabilities"),
    "typicality": Kind("server.measures.typicality", "features"),
}

SURPRISAL = "surprisal:"
"""What the name of a surprisal begins with; `server.measures.surprisal` is its module."""

JUDGED = 20
"""Held-out honest images that a calibration takes at least, besides those of `reserve`."""

REFERENCE = 50
"""Held-out honest images without which the honest tail of a surprisal cannot be told."""


class Measure(Protocol):
    """Maps inputs (b, *shape) and the victim's answer to costs."""

    def cost(self, inputs: NDArray[np.float32], answer: Answer) -> NDArray[np.float64]:
        """Privacy cost of each input (b,), >= 0. Raises ValueError for an unfit answer."""
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
            raise ValueError(
                f"unknown measure {part!r}, expected one of {', '.join(MEASURES)}, "
                f"{SURPRISAL}NAME or {SURPRISAL}NAME+NAME{suggest(part, known)}"
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
        "victim": max(MEASURES[part].fewest for part in parse(name)),
        "calibration": held_out,
    }


def check(name: str, victim: Victim) -> None:
    """Raises ValueError for a measure that is unknown, or needs what the victim does not give."""
    for part in parse(name):
        need = MEASURES[part].needs
        if not NEEDS[need](victim):
            fit = [other for other, kind in MEASURES.items() if NEEDS[kind.needs](victim)]
            raise ValueError(
                f"measure {part} needs {need}, which this victim does not give; "
                f"expected one of {', '.join(fit) or 'none'}"
            )


def train(
    name: str,
    victim: Victim,
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
    check(name, victim)
    measure: Measure
    if name.startswith(SURPRISAL):
        measure = import_module("server.measures.surprisal").train(
            parse(name), victim, split, reference=reference, seed=seed, trained=trained or {}
        )
    else:
        kind = MEASURES[name]
        measure = import_module(kind.module).train(victim, split, seed=seed, **kind.settings)
    return measure


def restore(name: str, arrays: Arrays, config: Mapping[str, Any], victim: Victim) -> Measure:
    """A measure from what `arrays` and `config` of an earlier one gave. Raises ValueError."""
    check(name, victim)
    measure: Measure
    if name.startswith(SURPRISAL):
        surprisal = import_module("server.measures.surprisal")
        measure = surprisal.restore(parse(name), arrays, config, victim)
    else:
        measure = import_module(MEASURES[name].module).restore(arrays, config, victim)
    return measure


def costs_of(
    measure: Measure, victim: Victim, inputs: NDArray[Any], batch: int = 64
) -> NDArray[np.float64]:
    """Cost (n,) of each of the inputs (n, *shape), asked in batches."""
    found = [measure.cost(part, answer) for part, answer in answers(victim, inputs, batch)]
    return np.concatenate(found)


def checked(costs: NDArray[np.float64], measure: str) -> NDArray[np.float64]:
    """Costs (b,) as they are. Raises ValueError where one is NaN, infinite or negative."""
    wrong = costs[~(np.isfinite(costs) & (costs >= 0))]
    if len(wrong):
        raise ValueError(f"measure {measure} gave the cost {wrong[0]}; expected a number from 0")
    return costs


def features_of(answer: Answer, width: int, measure: str) -> NDArray[np.float32]:
    """The victim's features (b, width). Raises ValueError where they are missing or differ."""
    found = answer.features
    if found is None:
        raise ValueError(f"the victim gives no features; measure {measure} needs them")
    if found.ndim != 2 or found.shape[1] != width:
        raise ValueError(
            f"features have shape {found.shape}; measure {measure} expects (b, {width})"
        )
    if not np.isfinite(found).all():
        wrong = found[~np.isfinite(found)][0]
        raise ValueError(f"features contain {wrong}; measure {measure} expects finite numbers")
    return found
