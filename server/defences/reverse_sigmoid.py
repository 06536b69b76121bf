"""Reverse sigmoid: probabilities that say the same of the top class and mislead about the rest.

Lee, Edwards, Molloy, Su, *Defending Against Neural Network Model Stealing Attacks Using Deceptive
Perturbations*, IEEE S&P Workshops 2019: y - beta (sigmoid(gamma logit y) - 1/2),
normalised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.defences import Context, Defence, Rows

ODDS = 1e-12
"""The released code of *How to Steer Your Adversary* clips odds to [ODDS, 1 - ODDS]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Defence):
    beta: float = 0.64
    """How much of the sigmoid is taken away, 0 to 2."""
    gamma: float = 0.2
    """Its steepness, above 0, at most 1."""
    released_clipping: bool = False
    """Whether probabilities above 1/2 stay as they are."""

    def __post_init__(self) -> None:
        # Above 1/2, sigmoid(gamma logit y) <= y for gamma <= 1: beta <= 2 leaves nothing negative.
        if not 0 <= self.beta <= 2:
            raise ValueError(f"beta is {self.beta}, expected 0 to 2")
        if not 0 < self.gamma <= 1:
            raise ValueError(f"gamma is {self.gamma}, expected above 0, at most 1")

    def perturb(self, posterior: Rows, inputs: NDArray[Any], context: Context) -> Rows:
        return reversed_sigmoid(
            posterior, self.beta, self.gamma, released_clipping=self.released_clipping
        )


def reversed_sigmoid(
    posterior: Rows, beta: float, gamma: float, *, released_clipping: bool = False
) -> Rows:
    """Probabilities (b, k) after Lee et al.; no L1 budget holds, and the top class may change.

    `released_clipping` takes the odds y / (1 - y), not y, to lie below 1: nothing is taken from
    probabilities above 1/2.
    """
    exact = np.minimum(posterior, 1.0)  # float32 may sum to a little more
    if released_clipping:
        odds = np.clip(exact / np.maximum(1 - exact, ODDS), ODDS, 1 - ODDS) ** gamma
        sigmoid = odds / (1 + odds)
    else:
        up, down = exact**gamma, (1 - exact) ** gamma  # no logarithm of zero
        sigmoid = up / (up + down)
    moved: Rows = exact - beta * (sigmoid - 0.5)
    moved /= moved.sum(axis=1, keepdims=True)
    return moved
