"""MAD that keeps the top class: answers move towards flat distributions over sets that hold it.

Orekondy, Schiele, Fritz, *Prediction Poisoning*, ICLR 2020 (MAD-argmax). The angle has
a closed form for last-layer gradients, as in `server.defences.mad`; for a set S it is, with
v = y - p,

    cos_S = (mean_S v - <p, v>) / (|1_S/|S| - p| |v|).

Up to ten classes all sets are tried, beyond that a set grows by the best class until none helps.
Differs from the paper: the closed form instead of back-propagation, and no limit on the growth.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from server.defences import (
    Context,
    Posterior,
    check_budget,
    check_posterior,
    mad,
    needed,
    towards,
)
from server.defences.mad import check_surrogate

ALL_SETS = 10
"""Classes up to which every set is tried: 2^(k - 1) of them."""

MARGIN = 1e-5
"""What the top class gets beyond its share of a set, so that it stays the top."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(mad.Config):
    """Those of `mad`."""

    def perturb(
        self, posterior: Posterior, images: NDArray[np.float32], context: Context
    ) -> Posterior:
        surrogate = needed(context, "mad_argmax").posterior(images)
        return poisoned_below_top(posterior, surrogate, self.epsilon)


def poisoned_below_top(posterior: Posterior, surrogate: Posterior, epsilon: float) -> Posterior:
    """Probabilities (b, k), `epsilon` nearer in L1 to a flat set, or on it; same top class.

    Raises ValueError for posteriors that are none or do not fit, or a budget outside [0, 2].
    """
    check_budget(epsilon)
    exact, p = check_posterior(posterior), check_surrogate(surrogate, posterior)
    rows, top = np.arange(len(exact)), exact.argmax(axis=1)
    members = _tried(exact, p, top) if exact.shape[1] <= ALL_SETS else _grown(exact, p, top)
    flat = members / members.sum(axis=1, keepdims=True) * (1 - MARGIN)
    flat[rows, top] += MARGIN
    return towards(exact, flat, epsilon).astype(posterior.dtype)


def _cosines(
    of_v: NDArray[np.float64],
    of_p: NDArray[np.float64],
    size: NDArray[np.float64],
    v: NDArray[np.float64],
    p: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Cosines (b, s) up to the factor |v| of a row: sums (b, s) of v and p over sets of `size`."""
    inner = of_v / size - (p * v).sum(axis=1, keepdims=True)
    squared = 1 / size - 2 * of_p / size + (p * p).sum(axis=1, keepdims=True)
    # A set that is the surrogate's posterior gives no gradient: it turns nothing away.
    cosines: NDArray[np.float64] = np.divide(
        inner, np.sqrt(np.maximum(squared, 0)), out=np.zeros_like(inner), where=squared > 1e-18
    )
    return cosines


@cache
def _sets(k: int) -> NDArray[np.float64]:
    """All sets (2^(k-1), k) with class 0 in them."""
    codes = np.arange(2 ** (k - 1))[:, None] >> np.arange(k - 1) & 1
    return np.hstack([np.ones((len(codes), 1)), codes])


def _tried(
    posterior: NDArray[np.float64], p: NDArray[np.float64], top: NDArray[np.int64]
) -> NDArray[np.float64]:
    rows, sets = np.arange(len(top)), _sets(posterior.shape[1])
    order = np.argsort(np.arange(posterior.shape[1]) != top[:, None], axis=1, kind="stable")
    v, q = np.take_along_axis(posterior - p, order, 1), np.take_along_axis(p, order, 1)
    best = _cosines(v @ sets.T, q @ sets.T, sets.sum(axis=1), v, q).argmin(axis=1)
    members = np.empty_like(posterior)
    members[rows[:, None], order] = sets[best]
    return members


def _grown(
    posterior: NDArray[np.float64], p: NDArray[np.float64], top: NDArray[np.int64]
) -> NDArray[np.float64]:
    rows, v = np.arange(len(top)), posterior - p
    members = np.zeros_like(posterior)
    members[rows, top] = 1.0
    of_v, of_p, size = v[rows, top][:, None], p[rows, top][:, None], np.ones((len(top), 1))
    least = _cosines(of_v, of_p, size, v, p)
    for _ in range(posterior.shape[1] - 1):
        found = _cosines(of_v + v, of_p + p, size + 1, v, p)
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
