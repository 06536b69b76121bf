"""Composition: what a sequence of answered queries reveals together, after each of them.

Adding up the epsilon of every query as if it were alone is what the server of Dziedzic et al.
(ICLR 2022) does, and a ledger must, since it knows no order. Adding the Rényi DP curves and turning
the total into epsilon once (Papernot et al., ICLR 2018, section 3.4) gives far less, and belongs to
the sequence as a whole: offline analysis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from core.privacy.pate import (
    ORDERS,
    Reals,
    checked_votes,
    confident_gnmax_rdp,
    rdp_to_epsilon,
    threshold_logp,
)

_ROWS = 4_096  # curves of 396 orders held at a time: 13 MB


@dataclass(frozen=True, slots=True, eq=False)
class Composition:
    """What b queries cost, one after another."""

    single: Reals  # (b,) epsilon at delta of each query by itself
    epsilon: Reals  # (b,) epsilon at delta of the queries so far
    order: Reals  # (b,) that attains it
    answered: Reals  # (b,) queries so far that are expected to pass the threshold


def compose(
    votes: ArrayLike,
    sigma: float,
    delta: float,
    *,
    threshold: float = 0.0,
    sigma_threshold: float = 0.0,
    teachers: int | None = None,
) -> Composition:
    """Composition over rows of votes (b, k) answered by (Confident) GNMax.

    A threshold of 0 with sigma 0 means that every query is answered. Raises ValueError for votes,
    sigmas, thresholds or deltas that make no sense.
    """
    rows = checked_votes(votes, teachers)
    single, epsilon, order = (np.empty(len(rows)) for _ in range(3))
    total = np.zeros(len(ORDERS))
    for start in range(0, max(len(rows), 1), _ROWS):  # bad numbers are refused without votes, too
        part = slice(start, start + _ROWS)
        curves = confident_gnmax_rdp(rows[part], threshold, sigma_threshold, sigma)
        single[part], _ = rdp_to_epsilon(curves, ORDERS, delta)
        curves = np.cumsum(np.vstack([total, curves]), axis=0)[1:]
        epsilon[part], order[part] = rdp_to_epsilon(curves, ORDERS, delta)
        total = curves[-1] if len(curves) else total
    passed = np.exp(threshold_logp(rows, threshold, sigma_threshold))
    return Composition(single, epsilon, order, np.cumsum(passed))
