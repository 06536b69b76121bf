"""Gradient redirection (GRAD^2): answers that push every student in one direction.

Mazeika, Li, Forsyth, *How to Steer Your Adversary: Targeted and Efficient Model Stealing Defenses
with Gradient Redirection*, ICML 2022. A student that learns from the answer y' moves
along G^T y', the rows of G being the gradients of log p_k; for a target direction z

    max <G^T y', z> = <s, y'>,  s = G z,  over the simplex with  |y' - y|_1 <= epsilon

is solved by moving half the budget to the class of the best score from those of the worst.
Differs from the paper: scores come from one forward-mode product (`server.defences.surrogates`) and
are averaged over several surrogates; the target "clean" is taken image by image, not over a batch,
so that an answer does not depend on its neighbours; the top class can be kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from server.defences import Budgeted, Context, Rows
from server.defences.keeping_top import redirect_keeping_top

MARGIN = 1e-6
"""How far the top class stays above the others where it is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Budgeted):
    target: Literal["all-ones", "clean", "watermark"] = "all-ones"
    """Where students are pushed."""
    layers: Literal["all", "last"] = "all"
    """Layers of the surrogate whose gradients are redirected."""
    keep_top: bool = False
    """Whether the top class stays the top class."""
    untrained: bool = False
    """Whether to look at surrogates with their first weights."""

    def perturb(self, posterior: Rows, inputs: NDArray[Any], context: Context) -> Rows:
        scores = context.needed().scores(
            inputs, posterior, target=self.target, layers=self.layers, key=context.key
        )
        if self.keep_top:
            return redirect_keeping_top(posterior, scores, self.epsilon, margin=MARGIN)
        return redirect(posterior, scores, self.epsilon)


def redirect(posterior: Rows, scores: Rows, epsilon: float) -> Rows:
    """The probabilities (b, k) of the largest <scores, .> within `epsilon` of the posterior in L1.

    Exact, O(k log k) a row. The top class is kept where it leads by more than `epsilon`.
    """
    out = posterior.astype(np.float64)
    rows = np.arange(len(out))[:, None]
    order = np.argsort(scores, axis=1)
    gives = out[rows, order]
    before = gives.cumsum(axis=1) - gives
    mass = np.minimum(epsilon / 2, 1 - gives[:, -1:])
    taken = np.minimum(np.maximum(mass - before, 0), gives)
    taken[:, -1] = -taken[:, :-1].sum(axis=1)
    out[rows, order] -= taken
    return out
