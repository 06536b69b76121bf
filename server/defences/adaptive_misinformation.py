"""Adaptive misinformation: images that look foreign are answered by a model that is wrong.

Kariyappa, Qureshi, *Defending Against Model Stealing Attacks with Adaptive Misinformation*,
CVPR 2020: (1 - a) y + a y_mis with a = sigmoid(nu (tau - D)).
Differs from the paper: the detector D is the victim's own largest probability, not that of a model
trained with outlier exposure, which would need foreign images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.defences import Context, Defence, Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Defence):
    tau: float = 0.5
    """Confidence below which answers are wrong, 0 to 1."""
    nu: float = 1_000.0
    """How sharp that edge is."""

    def __post_init__(self) -> None:
        if not 0 <= self.tau <= 1:
            raise ValueError(f"tau is {self.tau}, expected 0 to 1")
        if not 0 < self.nu < math.inf:
            raise ValueError(f"nu is {self.nu}, expected a number above 0")

    def perturb(self, posterior: Rows, inputs: NDArray[Any], context: Context) -> Rows:
        misled = context.needed().posterior(inputs)
        return misinformed(posterior, misled, posterior.max(axis=1), self.tau, self.nu)


def misinformed(
    posterior: Rows, misled: Rows, detector: NDArray[np.float64], tau: float, nu: float
) -> Rows:
    """Probabilities (b, k): the posterior where the detector (b,) is above tau, else `misled`.

    No L1 budget holds.
    """
    # tanh instead of exp: it saturates where exp overflows.
    share = (1 + np.tanh(nu * (tau - detector[:, None]) / 2)) / 2
    mixture: Rows = (1 - share) * posterior + share * misled
    return mixture
