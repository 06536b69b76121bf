"""How unusual an image's cost is among honest ones: -ln of the honest tail probability, in nats.

The reference is what held-out honest images cost, stored with the measure. A tie counts half
(mid-p, Lancaster 1961), and a surprisal ends at 5, so that no single image raises a price for long.
Several measures are combined as Fisher (1925) combines p-values: their surprisals are added, and
the sum, whose parts depend on each other, is held against the honest sums in turn. Any surprisal
thus has the same scale: about exponential(1) over honest images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.documents import shown
from core.learning.datasets import Split
from core.validation import validate
from server import measures
from server.measures import REFERENCE, Arrays, Measure, checked, stored
from server.victims import Answer, Victim

CLIP = 5.0
"""Largest surprisal, in nats: a tail probability of 0.7 %."""

DIGITS = 9
"""Decimals of a cost that are compared, a nano-unit: the same votes cost the same."""


@dataclass(frozen=True, slots=True)
class Config:
    parts: dict[str, dict[str, Any]]
    clip: float


class Tail:
    """The empirical honest tail: sorted costs (n,)."""

    def __init__(self, honest: NDArray[np.float64]) -> None:
        self.honest = np.sort(np.round(checked(honest, "surprisal"), DIGITS))

    def surprisal(self, costs: NDArray[np.float64]) -> NDArray[np.float64]:
        """-ln P(honest cost >= cost) (b,), mid-p, from 0 to CLIP."""
        rounded = np.round(costs, DIGITS)
        below = np.searchsorted(self.honest, rounded, side="left")
        until = np.searchsorted(self.honest, rounded, side="right")
        # The image itself is one more, and ties with itself: nothing is impossible.
        tail = (len(self.honest) - until + (until - below + 1) / 2) / (len(self.honest) + 1)
        surprisal: NDArray[np.float64] = np.minimum(-np.log(tail), CLIP)
        return surprisal


class Surprisal:
    """Measures by name, the honest tail of each, and that of their sum."""

    def __init__(
        self, parts: Mapping[str, Measure], tails: Mapping[str, Tail], total: Tail
    ) -> None:
        self._parts = parts
        self._tails = tails
        self._total = total

    def cost(self, inputs: NDArray[np.float32], answer: Answer) -> NDArray[np.float64]:
        """Surprisal (b,), from 0 to CLIP. Raises ValueError where a part does, or gives no cost."""
        costs = {
            name: checked(part.cost(inputs, answer), name) for name, part in self._parts.items()
        }
        return self._total.surprisal(_sum(costs, self._tails))

    def arrays(self) -> Arrays:
        arrays = {f"honest.{name}": tail.honest for name, tail in self._tails.items()}
        for name, part in self._parts.items():
            arrays |= {f"{name}.{key}": array for key, array in part.arrays().items()}
        return {**arrays, "honest": self._total.honest}

    def config(self) -> dict[str, object]:
        return {"parts": {name: part.config() for name, part in self._parts.items()}, "clip": CLIP}


def train(
    names: Sequence[str],
    victim: Victim,
    split: Split,
    *,
    reference: Split | None,
    seed: int,
    trained: Mapping[str, Measure],
) -> Surprisal:
    """Trains the parts on `split` and keeps what `reference`, which nobody trained on, costs.

    Parts that are in `trained`, by name, are taken from there. Raises ValueError without REFERENCE
    honest images.
    """
    if reference is None or len(reference) < REFERENCE:
        raise ValueError(
            f"surprisal has {len(reference or ())} held-out honest images to compare with; "
            f"expected at least {REFERENCE}"
        )
    parts = {
        name: trained[name] if name in trained else measures.train(name, victim, split, seed=seed)
        for name in names
    }
    costs = {
        name: measures.costs_of(part, victim, reference.images) for name, part in parts.items()
    }
    tails = {name: Tail(cost) for name, cost in costs.items()}
    return Surprisal(parts, tails, Tail(_sum(costs, tails)))


def restore(
    names: Sequence[str], arrays: Arrays, config: Mapping[str, Any], victim: Victim
) -> Surprisal:
    """A surprisal as `arrays` and `config` gave it. Raises ValueError for another clip."""
    settings = validate(Config, config, "config")
    if settings.clip != CLIP:
        raise ValueError(f"the surprisal ends at {settings.clip:g}, not at {CLIP}; prepare again")
    if set(settings.parts) != set(names):
        found = shown(list(settings.parts))
        raise ValueError(f"config has parts {found}, expected {', '.join(names)}")
    parts = {
        name: measures.restore(name, stored.under(arrays, name), part, victim)
        for name, part in settings.parts.items()
    }
    tails = {name: _tail(arrays, f"honest.{name}") for name in parts}
    return Surprisal(parts, tails, _tail(arrays, "honest"))


def _tail(arrays: Arrays, name: str) -> Tail:
    honest = {name: arrays[name]} if name in arrays else {}
    return Tail(stored.arrays(honest, {name: (np.float64, (None,))})[name])


def _sum(
    costs: Mapping[str, NDArray[np.float64]], tails: Mapping[str, Tail]
) -> NDArray[np.float64]:
    """Surprisals of the parts (b,), added."""
    total: NDArray[np.float64] = np.stack(
        [tails[name].surprisal(cost) for name, cost in costs.items()]
    ).sum(axis=0)
    return total
