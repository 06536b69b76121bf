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

from server.defences import Context, Defence, Posterior, check_posterior, needed
from server.defences.mad import check_surrogate


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Defence):
    tau: float = 0.5
    """Confidence below which answers are wrong, 0 to 1."""
    nu: float = 1_000.0
    """How sharp that edge is."""

    def __post_init__(self) -> None:
        _check(self.tau, self.nu)

    def perturb(
        self, posterior: Posterior, images: NDArray[np.float32], context: Context
    ) -> Posterior:
        misled = needed(context, "adaptive_misinformation").posterior(images)
        return misinformed(posterior, misled, posterior.max(axis=1), self.tau, self.nu)


def misinformed(
    posterior: Posterior,
    misled: Posterior,
    detector: NDArray[np.floating[Any]],
    tau: float,
    nu: float,
) -> Posterior:
    """Probabilities (b, k): the posterior where the detector (b,) is above tau, else `misled`.

    No L1 budget holds. Raises ValueError for posteriors that are none or do not fit, tau or nu.
    """
    _check(tau, nu)
    exact, wrong = check_posterior(posterior), check_surrogate(misled, posterior)
    # tanh instead of exp: it saturates where exp overflows.
    share = (1 + np.tanh(nu * (tau - detector.astype(np.float64)[:, None]) / 2)) / 2
    mixture: NDArray[np.float64] = (1 - share) * exact + share * wrong
    return mixture.astype(posterior.dtype)


def _check(tau: float, nu: float) -> None:
    if not 0 <= tau <= 1:
        raise ValueError(f"tau is {tau}, expected 0 to 1")
    if not 0 < nu < math.inf:
        raise ValueError(f"nu is {nu}, expected a number above 0")
