"""Victims: the models behind the gate, in this process or elsewhere.

A victim declares what it takes and what it gives; measures and defences say what they need of it,
and are refused where it does not give that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from core.arrays import softmax, to_float

if TYPE_CHECKING:
    from core.learning.networks import Network

Outputs = Literal["logits", "probabilities", "labels"]

BATCH = 256
"""Inputs asked at a time where a victim answers a whole data set."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a victim says of a batch: class probabilities (b, k), and what else it gives.

    Logits are (b, k), features (b, d).
    """

    probabilities: NDArray[np.float32]
    logits: NDArray[np.float32] | None = None
    features: NDArray[np.float32] | None = None

    @classmethod
    def of_logits(
        cls, logits: NDArray[np.float32], features: NDArray[np.float32] | None = None
    ) -> Answer:
        """The answer of a victim whose outputs are logits."""
        return cls(softmax(logits), logits, features)

    def scores(self) -> NDArray[np.float64]:
        """Numbers (b, k) whose softmax are the probabilities: the logits, if the victim gives any.

        Otherwise logarithms of the probabilities.
        """
        if self.logits is not None:
            return self.logits.astype(np.float64)
        wide = self.probabilities.astype(np.float64)
        logs: NDArray[np.float64] = np.log(np.maximum(wide, np.finfo(np.float64).tiny))
        return logs


class Victim(Protocol):
    """A model that can be queried. One without features, scores or weights leaves the defaults."""

    shape: tuple[int, ...]
    """Of one input."""
    classes: int
    """k."""
    dtypes: tuple[str, ...] = ("uint8", "float32")
    """Types of inputs it takes; uint8 stands for float32 in [0, 1] where it takes both."""
    outputs: Outputs = "probabilities"
    """What its answers are made of."""
    gives_features: bool = False
    network: Network | None = None
    """Its weights, for what is trained on them or follows their gradient."""

    def answer(self, inputs: NDArray[Any]) -> Answer:
        """Answers inputs (b, *shape) as `taken` gives them."""
        ...


def blank(victim: Victim, count: int) -> NDArray[Any]:
    """Inputs (count, *shape) of zeros, to try a victim with."""
    return np.zeros((count, *victim.shape), victim.dtypes[0])


def taken(victim: Victim, inputs: NDArray[Any]) -> NDArray[Any]:
    """Inputs in the one form that the victim, its measures and digests of inputs see."""
    return to_float(inputs) if "float32" in victim.dtypes else inputs


def answers(
    victim: Victim, inputs: NDArray[Any], batch: int = BATCH
) -> Iterator[tuple[NDArray[Any], Answer]]:
    """Batches of inputs (n, *shape), as the victim takes them, and its answers to them."""
    for start in range(0, len(inputs), batch):
        part = taken(victim, inputs[start : start + batch])
        yield part, victim.answer(part)


def features(victim: Victim, inputs: NDArray[Any]) -> NDArray[np.float32]:
    """Features (n, d) of inputs (n, *shape), of a victim that gives some."""
    found = [answer.features for _, answer in answers(victim, inputs)]
    return np.concatenate([part for part in found if part is not None])


def needed_network(victim: Victim, what: str) -> Network:
    """The victim's weights. Raises ValueError for a victim that gives answers alone."""
    if victim.network is None:
        raise ValueError(f"{what} needs the victim's weights, and this victim gives answers alone")
    return victim.network
