"""MAD that keeps the top class: answers move towards flat distributions over sets that hold it.

Orekondy, Schiele, Fritz, *Prediction Poisoning*, ICLR 2020 (MAD-argmax). The angle has a closed
form for last-layer gradients, that of `server.defences.mad`.
Up to ten classes all sets are tried, beyond that a set grows by the best class until none helps.
Differs from the paper: the closed form instead of back-propagation, and no limit on the growth.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.defences import Context, Rows, mad, towards
from server.defences.mad import cosines

ALL_SETS = 10
"""Classes up to which every set is tried: 2^(k - 1) of them."""

MARGIN = 1e-5
"""What the top class gets beyond its share of a set, so that it stays the top."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(mad.Config):
    """Those of `mad`."""

    def perturb(self, posterior: Rows, inputs: NDArray[Any], context: Context) -> Rows:
        return poisoned_below_top(posterior, context.needed().posterior(inputs), self.epsilon)


def poisoned_below_top(posterior: Rows, p: Rows, epsilon: float) -> Rows:
    """Probabilities (b, k), `epsilon` nearer in L1 to a flat set, or on it; same top class.

    `p` is the surrogate's posterior.
    """
    rows, top = np.arange(len(posterior)), posterior.argmax(axis=1)
    members = (
        _tried(posterior, p, top) if posterior.shape[1] <= ALL_SETS else _grown(posterior, p, top)
    )
    flat = members / members.sum(axis=1, keepdims=True) * (1 - MARGIN)
    flat[rows, top] += MARGIN
    return towards(posterior, flat, epsilon)


@cache
def _sets(k: int) -> Rows:
    """All sets (2^(k-1), k) with class 0 in them."""
    codes = np.arange(2 ** (k - 1))[:, None] >> np.arange(k - 1) & 1
    return np.hstack([np.ones((len(codes), 1)), codes])


def _tried(posterior: Rows, p: Rows, top: NDArray[np.int64]) -> Rows:
    rows, sets = np.arange(len(top)), _sets(posterior.shape[1])
    order = np.argsort(np.arange(posterior.shape[1]) != top[:, None], axis=1, kind="stable")
    v, q = np.take_along_axis(posterior - p, order, 1), np.take_along_axis(p, order, 1)
    best = cosines(v @ sets.T, q @ sets.T, sets.sum(axis=1), v, q).argmin(axis=1)
    members = np.empty_like(posterior)
    members[rows[:, None], order] = sets[best]
    return members


def _grown(posterior: Rows, p: Rows, top: NDArray[np.int64]) -> Rows:
    rows, v = np.arange(len(top)), posterior - p
    members = np.zeros_like(posterior)
    members[rows, top] = 1.0
    of_v, of_p, size = v[rows, top][:, None], p[rows, top][:, None], np.ones((len(top), 1))
    least = cosines(of_v, of_p, size, v, p)
    for _ in range(posterior.shape[1] - 1):
        found = cosines(of_v + v, of_p + p, size + 1, v, p)
        found[members > 0] = np.inf
        best = found.argmin(axis=1)
        helps = found[rows, best] < least[:, 0]
        if not helps.any():
            break
        at = rows[helps], best[helps]
        members[at] = 1.0
        of_v[helps, 0] += v[at]
        of_p[helps, 0] += p[at]
        size[helps] += 1
        least[helps, 0] = found[at]
    return members
