"""MAD: each answer is moved to the class that turns a student's gradient away the most.

Orekondy, Schiele, Fritz, *Prediction Poisoning: Towards Defenses Against DNN Model Stealing
Attacks*, ICLR 2020. For the gradients of a surrogate's last layer the angle has a closed
form, so that one forward pass does instead of k + 1 backward passes: these gradients are
(e_k - p) h^T with the surrogate's posterior p and features h, hence with v = y - p

    cos_k = (v_k - <p, v>) / (|e_k - p| |v|),

and for the flat label over a set S, mean_S v instead of v_k and 1_S/|S| instead of e_k.

Differs from the code of *How to Steer Your Adversary*: the step is clipped, as in the original;
without, an answer near its vertex leaves the simplex.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.defences import Budgeted, Context, Rows, one_hot, towards

NOTHING = 1e-18
"""Squared distance below which two posteriors are the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Budgeted):
    def perturb(self, posterior: Rows, inputs: NDArray[Any], context: Context) -> Rows:
        return poisoned(posterior, context.needed().posterior(inputs), self.epsilon)


def poisoned(posterior: Rows, p: Rows, epsilon: float) -> Rows:
    """Probabilities (b, k), each moved by `epsilon` in L1 towards one vertex, or onto it.

    `p` is the surrogate's posterior.
    """
    v = posterior - p
    chosen = cosines(v, p, 1.0, v, p).argmin(axis=1)
    return towards(posterior, one_hot(chosen, posterior.shape[1]), epsilon)


def cosines(of_v: Rows, of_p: Rows, size: float | Rows, v: Rows, p: Rows) -> Rows:
    """Cosines (b, s) of the last-layer gradients of flat labels over s sets, and of the posterior.

    `of_v` and `of_p` are the sums (b, s) of v and p over the sets, `size` how many classes each
    has. Where a set or the posterior is the surrogate's posterior there is no gradient: 0.
    """
    inner = of_v / size - (p * v).sum(axis=1, keepdims=True)
    squares = 1 / size - 2 * of_p / size + (p * p).sum(axis=1, keepdims=True)
    squares = np.where(squares > NOTHING, squares, 0.0) * (v * v).sum(axis=1, keepdims=True)
    lengths = np.sqrt(squares)
    found: Rows = np.divide(inner, lengths, out=np.zeros_like(inner), where=lengths > 0)
    return found
