"""Top k: the likeliest classes share the whole probability, the others get nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.defences import Context, Defence, Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Defence):
    classes: int = 3
    """Classes that keep a probability."""

    def __post_init__(self) -> None:
        if self.classes < 1:
            raise ValueError(f"classes is {self.classes}, expected a whole number from 1")

    def perturb(self, posterior: Rows, inputs: NDArray[Any], context: Context) -> Rows:
        return largest(posterior, self.classes)


def largest(posterior: Rows, classes: int) -> Rows:
    """Probabilities (b, k), zero but for the `classes` largest; of equals, the first are kept."""
    rank = np.argsort(np.argsort(-posterior, axis=1, kind="stable"), axis=1)
    kept = np.where(rank < classes, posterior, 0.0)
    out: Rows = kept / kept.sum(axis=1, keepdims=True)
    return out
