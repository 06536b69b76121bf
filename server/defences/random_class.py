"""Random perturbation: half the budget to one class that is not the top one.

Mazeika, Li, Forsyth, *How to Steer Your Adversary*, ICML 2022, the baseline "Random".
Differs from the paper: the class is not drawn anew for each query but fixed for each client and
image, so that asking again shows nothing new.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.defences import Budgeted, Context, Rows, one_hot


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Budgeted):
    def perturb(self, posterior: Rows, inputs: NDArray[Any], context: Context) -> Rows:
        others = np.uint64(posterior.shape[1] - 1)
        top = posterior.argmax(axis=1)
        drawn = (context.draws(inputs) % others).astype(np.int64)
        return mixed(posterior, drawn + (drawn >= top), self.epsilon)


def mixed(posterior: Rows, classes: NDArray[np.int64], epsilon: float) -> Rows:
    """(1 - epsilon/2) of each posterior (b, k) and epsilon/2 of its class (b,)."""
    share = epsilon / 2
    mixture: Rows = (1 - share) * posterior + share * one_hot(classes, posterior.shape[1])
    return mixture
