"""GNMax accounting: what noisily aggregated teacher votes would reveal, as Rényi DP and epsilon.

Papernot et al., *Scalable Private Learning with PATE*, ICLR 2018: proposition 7 (RDP of GNMax),
theorem 6 (data-dependent bound), proposition 10 (Confident GNMax). Natural logarithms, float64.
Axes: b queries, k classes, a orders. Votes count teachers per class; sigma is the standard
deviation of the noise on each count.

In powgate these numbers are scores of how unusual a query is, not guarantees: the answers a victim
gives carry no such noise.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_ndtr

Reals = NDArray[np.float64]

# The grid of the paper's code: 2, 2.5, ..., 99.5, then 200 orders from 100 to 1 000.
ORDERS: Reals = np.concatenate([np.arange(2, 100, 0.5), np.logspace(2, 3, 200)])
ORDERS.setflags(write=False)

_COARSE = 20  # 396 orders in 20 strides of 20: the fewest evaluations for a search in two passes
_STEPS = np.arange(1 - _COARSE, _COARSE)


def gnmax_logq(votes: ArrayLike, sigma: float) -> Reals:
    """Log probability (b,) that noise changes the winner of each row of votes (b, k).

    A union bound over the losers (proposition 7), never above that of a uniform draw, 1 - 1/k.
    """
    return _logq(checked_votes(votes), _positive("sigma", sigma))


def gnmax_rdp(votes: ArrayLike, sigma: float, orders: ArrayLike = ORDERS) -> Reals:
    """Rényi DP (b, a) of answering each row of votes (b, k) by GNMax, at each order (a,)."""
    return _gaussian_rdp(gnmax_logq(votes, sigma), sigma, _checked_orders(orders))


def gnmax_epsilon(
    votes: ArrayLike, sigma: float, delta: float, *, teachers: int | None = None
) -> Reals:
    """Privacy cost (b,): epsilon at delta of each row of votes (b, k), as a query of its own.

    `teachers` is what each row must sum to, where that is known.

    The minimum over ORDERS of RDP - ln(delta) / (order - 1) (Mironov 2017, proposition 3). As a
    function of the order, the data-dependent part is (g(t) + c) / t with t = order - 1 and g
    convex, hence quasi-convex: its minimum over the grid lies next to the minimum over every
    twentieth order, and only those orders are evaluated.
    """
    rows = checked_votes(votes, teachers)
    sigma, delta = _positive("sigma", sigma), _checked_delta(delta)
    logq, cost = _logq(rows, sigma), -np.log(delta)
    epsilon = np.full(len(rows), _independent_epsilon(sigma, delta))
    epsilon[np.isneginf(logq)] = cost / (ORDERS[-1] - 1)  # certain: RDP 0 at every order
    bound = _DataDependent.where_it_holds(logq, sigma)
    if len(bound.rows):
        t = ORDERS - 1
        coarse = np.arange(0, len(ORDERS), _COARSE)
        best = coarse[np.argmin(bound.epsilon(t[None, coarse], cost), axis=1)]
        near = np.clip(best[:, None] + _STEPS, 0, len(ORDERS) - 1)
        found = bound.epsilon(t[near], cost).min(axis=1)
        epsilon[bound.rows] = np.minimum(epsilon[bound.rows], found)
    return epsilon


def confident_gnmax_rdp(
    votes: ArrayLike,
    threshold: float,
    sigma_threshold: float,
    sigma: float,
    orders: ArrayLike = ORDERS,
) -> Reals:
    """Expected Rényi DP (b, a) of Confident GNMax: a noisy threshold, then GNMax if it is passed.

    RDP of the threshold + P(answered) x RDP of GNMax (proposition 10). Threshold and its sigma
    both 0 mean that every query is answered.
    """
    rows, grid = checked_votes(votes), _checked_orders(orders)
    passed = np.exp(threshold_logp(rows, threshold, sigma_threshold))[:, None]
    checked = threshold_rdp(rows, threshold, sigma_threshold, grid)
    return checked + passed * gnmax_rdp(rows, sigma, grid)


def threshold_logp(votes: ArrayLike, threshold: float, sigma_threshold: float) -> Reals:
    """Log probability (b,) that the largest count of a row, with noise, reaches the threshold."""
    rows = checked_votes(votes)
    if not _has_threshold(threshold, sigma_threshold):
        return np.zeros(len(rows))
    log_tail: Reals = log_ndtr((np.rint(rows.max(axis=1)) - threshold) / sigma_threshold)
    return log_tail


def threshold_rdp(
    votes: ArrayLike, threshold: float, sigma_threshold: float, orders: ArrayLike = ORDERS
) -> Reals:
    """Rényi DP (b, a) of comparing the largest noisy count with the threshold.

    One count changes by one, not two, so the noise weighs as sqrt(2) sigma_threshold in GNMax.
    """
    rows, grid = checked_votes(votes), _checked_orders(orders)
    if not _has_threshold(threshold, sigma_threshold):
        return np.zeros((len(rows), len(grid)))
    gap = (threshold - np.rint(rows.max(axis=1))) / sigma_threshold
    rarer = np.minimum(log_ndtr(gap), log_ndtr(-gap))
    return _gaussian_rdp(rarer, float(np.sqrt(2) * sigma_threshold), grid)


def rdp_to_epsilon(rdp: ArrayLike, orders: ArrayLike, delta: float) -> tuple[Reals, Reals]:
    """Epsilon (b,) at delta and the order that attains it, of RDP curves (b, a).

    RDP adds up over queries: the epsilon of a sequence is that of the sum of its curves.
    """
    grid, delta = _checked_orders(orders), _checked_delta(delta)
    curves = np.atleast_2d(np.asarray(rdp, np.float64))
    if curves.shape[1:] != grid.shape or np.isnan(curves).any() or (curves < 0).any():
        raise ValueError(
            f"rdp has shape {curves.shape}, expected (b, {len(grid)}) of values that are not "
            "negative, one for each order"
        )
    epsilon = curves - np.log(delta) / (grid - 1)
    best = np.argmin(epsilon, axis=1)
    return epsilon[np.arange(len(curves)), best], grid[best]


def checked_votes(votes: ArrayLike, teachers: int | None = None) -> Reals:
    """Votes (b, k) as float64; with `teachers`, each row sums to it. Raises ValueError."""
    given: NDArray[Any] = np.asarray(votes)
    if given.dtype.kind not in "iuf":
        raise ValueError(f"votes have dtype {given.dtype}, expected counts")
    if given.ndim != 2 or given.shape[1] < 2:
        raise ValueError(f"votes have shape {given.shape}, expected (b, k) with at least 2 classes")
    rows = given.astype(np.float64)
    wrong = rows[~(np.isfinite(rows) & (rows >= 0))]
    if len(wrong):
        raise ValueError(f"votes contain {wrong[0]:g}, expected counts from 0")
    sums = rows.sum(axis=1)
    if (sums == 0).any():
        raise ValueError("votes contain a row without any vote, expected at least one teacher")
    if teachers is not None and (sums != teachers).any():
        row = int(np.argmax(sums != teachers))
        raise ValueError(
            f"votes of row {row} sum to {sums[row]:g}, expected {teachers}, one of each teacher"
        )
    return rows


class _DataDependent:
    """Theorem 6 for the rows where its conditions hold, all but the one on the order.

    With t = order - 1 the bound is log(exp(u + t a) + exp(v + t c)) / t, for t < m2.
    """

    def __init__(self, rows: NDArray[np.intp], logq: Reals, m2: Reals, sigma: float) -> None:
        self.rows = rows
        e1, e2 = (m2 + 1) / sigma**2, m2 / sigma**2
        self.m2 = m2[:, None]
        self.u = _log1mexp(logq)[:, None]
        self.v = logq[:, None]
        self.a = self.u - _log1mexp((logq + e2) * (m2 - 1) / m2)[:, None]
        self.c = (e1 - logq / m2)[:, None]

    @classmethod
    def where_it_holds(cls, logq: Reals, sigma: float) -> _DataDependent:
        rows = np.flatnonzero(np.isfinite(logq) & (logq < 0))
        some = logq[rows]
        m2 = sigma * np.sqrt(-some)
        e2 = m2 / sigma**2
        with np.errstate(divide="ignore", invalid="ignore"):  # m2 <= 1, refused by the first term
            room = (m2 - 1) * e2 - m2 * (np.log1p(1 / m2) + np.log1p(1 / (m2 - 1)))
            holds = (m2 > 1) & (some <= room)  # -log q > e2, the theorem's other one, is m2 > 1
        return cls(rows[holds], some[holds], m2[holds], sigma)

    def epsilon(self, t: Reals, cost: float) -> Reals:
        """RDP + cost / t at t = order - 1, (rows, a); infinite where the order is too high.

        For epsilon, cost = -ln(delta).
        """
        moment = np.logaddexp(self.u + t * self.a, self.v + t * self.c)
        total: Reals = (np.where(t < self.m2, moment, np.inf) + cost) / t
        return total


def _logq(votes: Reals, sigma: float) -> Reals:
    rows, k = np.arange(len(votes)), votes.shape[1]
    winner = np.argmax(votes, axis=1)
    gaps = votes[rows, winner][:, None] - votes
    logs = log_ndtr(-gaps / (sigma * np.sqrt(2)))
    logs[rows, winner] = -np.inf
    top = logs.max(axis=1)
    with np.errstate(invalid="ignore"):  # -inf - -inf where no loser can win: top stays -inf
        total = top + np.log(np.exp(logs - top[:, None]).sum(axis=1))
    union: Reals = np.minimum(np.where(np.isneginf(top), top, total), np.log1p(-1 / k))
    return union


def _gaussian_rdp(logq: Reals, sigma: float, orders: Reals) -> Reals:
    rdp = np.repeat((orders / sigma**2)[None], len(logq), axis=0)
    bound = _DataDependent.where_it_holds(logq, sigma)
    t = (orders - 1)[None]
    rdp[bound.rows] = np.minimum(rdp[bound.rows], bound.epsilon(t, 0.0))
    rdp[np.isneginf(logq)] = 0.0
    return rdp


@lru_cache(maxsize=64)
def _independent_epsilon(sigma: float, delta: float) -> float:
    return float((ORDERS / sigma**2 - np.log(delta) / (ORDERS - 1)).min())


def _log1mexp(x: Reals) -> Reals:
    """log(1 - e^x) for x < 0, in the branch that keeps its digits (Maechler 2012)."""
    with np.errstate(divide="ignore"):
        out: Reals = np.where(x < -1, np.log1p(-np.exp(x)), np.log(-np.expm1(x)))
    return out


def _checked_orders(orders: ArrayLike) -> Reals:
    grid = np.asarray(orders, np.float64)
    if grid.ndim != 1 or not len(grid) or not (np.isfinite(grid) & (grid > 1)).all():
        raise ValueError("orders must be a list of finite numbers above 1")
    return grid


def _checked_delta(delta: float) -> float:
    if not 0 < delta < 1:
        raise ValueError(f"delta is {delta!r}, expected a probability between 0 and 1")
    return float(delta)


def _positive(name: str, value: float) -> float:
    if not 1e-90 <= value <= 1e90:  # its square must be a float64 too
        raise ValueError(f"{name} is {value!r}, expected a number above 0 (1e-90 to 1e90)")
    return float(value)


def _has_threshold(threshold: float, sigma_threshold: float) -> bool:
    if threshold == 0 and sigma_threshold == 0:
        return False
    if not 0 <= threshold < np.inf:
        raise ValueError(f"threshold is {threshold!r}, expected a finite number from 0")
    _positive("sigma_threshold", sigma_threshold)
    return True
