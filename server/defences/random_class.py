"""Random perturbation: half the budget to one class that is not the top one.

Mazeika, Li, Forsyth, *How to Steer Your Adversary*, ICML 2022, the baseline "Random".
Differs from the paper: the class is not drawn anew for each query but fixed for each client and
image, so that asking again shows nothing new.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.defences import Budgeted, Context, Posterior, check_budget, check_posterior, one_hot


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Budgeted):
    def perturb(
        self, posterior: Posterior, images: NDArray[np.float32], context: Context
    ) -> Posterior:
        others = np.uint64(posterior.shape[1] - 1)
        top = posterior.argmax(axis=1)
        drawn = (context.draws(images) % others).astype(np.int64)
        return mixed(posterior, drawn + (drawn >= top), self.epsilon)


def mixed(posterior: Posterior, classes: NDArray[np.int64], epsilon: float) -> Posterior:
    """(1 - epsilon/2) of each posterior (b, k) and epsilon/2 of its class (b,).

    Raises ValueError for a posterior that is none or a budget outside [0, 2].
    """
    check_budget(epsilon)
    exact, share = check_posterior(posterior), epsilon / 2
    mixture = (1 - share) * exact + share * one_hot(classes, exact.shape[1])
    return mixture.astype(posterior.dtype)
