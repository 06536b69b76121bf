"""Top k: the likeliest classes share the whole probability, the others get nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.defences import Context, Defence, Posterior, check_posterior


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Defence):
    classes: int = 3
    """Classes that keep a probability."""

    def __post_init__(self) -> None:
        if self.classes < 1:
            raise ValueError(f"classes is {self.classes}, expected a whole number from 1")

    def perturb(
        self, posterior: Posterior, images: NDArray[np.float32], context: Context
    ) -> Posterior:
        return largest(posterior, self.classes)


def largest(posterior: Posterior, classes: int) -> Posterior:
    """Probabilities (b, k), zero but for the `classes` largest; of equals, the first are kept.

    Raises ValueError for a posterior that is none.
    """
    exact = check_posterior(posterior)
    rank = np.argsort(np.argsort(-exact, axis=1, kind="stable"), axis=1)
    kept: NDArray[np.float64] = np.where(rank < classes, exact, 0.0)
    kept /= kept.sum(axis=1, keepdims=True)
    return kept.astype(posterior.dtype)
