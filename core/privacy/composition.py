"""Composition: what a sequence of answered queries reveals together, after each of them.

Two ways. `sum` adds the epsilon of every query as if it were alone, as the server of Dziedzic et
al. (ICLR 2022) does and as a ledger must, since it knows no order: (sum of epsilons, n delta).
`rdp` adds the Rényi DP curves and turns the total into epsilon once (Papernot et al., ICLR 2018,
section 3.4), which is far smaller and belongs to the sequence as a whole: offline analysis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.privacy.pate import (
    ORDERS,
    Reals,
    checked_votes,
    gnmax_logq,
    gnmax_rdp,
    rdp_to_epsilon,
    threshold_logp,
    threshold_rdp,
)

How = Literal["sum", "rdp"]

_ROWS = 4_096  # curves of 396 orders held at a time: 13 MB


@dataclass(frozen=True, slots=True, eq=False)
class Composition:
    """After each of b queries: epsilon at delta, and how it comes about."""

    epsilon: Reals  # (b,)
    order: Reals  # (b,) that attains it; for `sum` that of the query by itself
    answered: Reals  # (b,) expected number of queries that pass the threshold
    shares: Reals  # (b, 3) of epsilon: threshold, GNMax, delta

    def within(self, budget: float) -> int:
        """Number of queries, from the first on, whose epsilon stays within the budget."""
        if not budget >= 0:
            raise ValueError(f"budget is {budget!r}, expected an epsilon from 0")
        over: NDArray[np.intp] = np.flatnonzero(self.epsilon > budget)
        return int(over[0]) if len(over) else len(self.epsilon)


def compose(
    votes: ArrayLike,
    sigma: float,
    delta: float,
    *,
    how: How,
    threshold: float = 0.0,
    sigma_threshold: float = 0.0,
    teachers: int | None = None,
) -> Composition:
    """Composition over rows of votes (b, k) answered by (Confident) GNMax, one after another.

    A threshold of 0 with sigma 0 means that every query is answered. Raises ValueError for a way
    that is unknown and for votes, sigmas, thresholds or deltas that make no sense.
    """
    if how not in get_args(How):
        raise ValueError(f"composition {how!r} is unknown, expected sum or rdp")
    rows = checked_votes(votes, teachers)
    gnmax_logq(rows[:0], sigma)  # these two refuse bad numbers even where there are no votes
    rdp_to_epsilon(np.zeros((0, len(ORDERS))), ORDERS, delta)
    passed = np.exp(threshold_logp(rows, threshold, sigma_threshold))
    epsilon, order = np.empty(len(rows)), np.empty(len(rows))
    shares = np.empty((len(rows), 3))
    before = np.zeros((2, len(ORDERS)))
    for start in range(0, len(rows), _ROWS):
        part = slice(start, start + _ROWS)
        checking = threshold_rdp(rows[part], threshold, sigma_threshold)
        voting = passed[part, None] * gnmax_rdp(rows[part], sigma)
        if how == "rdp":
            checking = before[0] + np.cumsum(checking, axis=0)
            voting = before[1] + np.cumsum(voting, axis=0)
            before = np.stack([checking[-1], voting[-1]])
        epsilon[part], order[part] = rdp_to_epsilon(checking + voting, ORDERS, delta)
        best = np.searchsorted(ORDERS, order[part])[:, None]
        shares[part, 0] = np.take_along_axis(checking, best, axis=1)[:, 0]
        shares[part, 1] = np.take_along_axis(voting, best, axis=1)[:, 0]
    shares[:, 2] = epsilon - shares[:, 0] - shares[:, 1]
    if how == "sum":
        epsilon, shares = np.cumsum(epsilon), np.cumsum(shares, axis=0)
    return Composition(epsilon, order, np.cumsum(passed), shares / epsilon[:, None])
