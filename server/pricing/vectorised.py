"""Prices of many accounts at once: the price `rate` on arrays, for calibration and simulation.

A state (k, n) has one column for each account; prices turn it into seconds of work per 64 images
(n,). `count` is `Account.counting` and `RatePrices` is `Rate`: a test holds one against the
other step by step. Histories are costs (clients, queries); scores have one more axis before, s.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.ledger import WINDOWS
from server.pricing.rate import Rate

Floats = NDArray[np.float64]

_WINDOWS = np.array(WINDOWS, dtype=np.float64)[:, None]
_KEEP = 1 - 1 / _WINDOWS
COUNTED, COST, SUMS = 0, 1, 2
"""Rows of a window state; the sums of all windows come last."""


def start(accounts: int, scores: int) -> Floats:
    """The state of empty accounts: images, cost, and the forgetting sums of every score."""
    return np.zeros((SUMS + scores * len(WINDOWS), accounts))


def count(state: Floats, images: int, score: Floats) -> Floats:
    """`server.ledger.Account.counting`: after `images` images of together `score` (s, n)."""
    kept = _KEEP**images
    sums = state[SUMS:].reshape(len(score), len(WINDOWS), -1)
    added = (score / images)[:, None] * (_WINDOWS * (1 - kept))
    return np.concatenate(
        [
            state[COUNTED : COUNTED + 1] + images,
            state[COST : COST + 1] + score[0],
            (sums * kept + added).reshape(state[SUMS:].shape),
        ]
    )


def window_means(state: Floats) -> Floats:
    """Forgetting means (s, windows, n); 0 for an account without images."""
    counted = state[COUNTED]
    weight = np.where(counted == 0, 1.0, _WINDOWS * (1 - _KEEP**counted))
    means: Floats = state[SUMS:].reshape(-1, len(WINDOWS), len(counted)) / weight
    return means


class Prices(ABC):
    """A policy over a state (k, n) of n accounts."""

    honest: float
    """Mean cost of an honest image."""

    @abstractmethod
    def scores(self, costs: Floats) -> Floats:
        """What counts of costs (n, queries): scores (s, n, queries); index 0 is the full cost."""

    @abstractmethod
    def excess(self, state: Floats) -> Floats:
        """`Policy.excess` (n,)."""

    @abstractmethod
    def seconds(self, state: Floats) -> Floats:
        """Seconds (n,) of work per 64 images."""

    def at_once(self, state: Floats, images: int, score: Floats) -> NDArray[np.bool_]:
        """Whether a batch (n,), of together `score` (s, n), counts before it is paid for."""
        expensive: NDArray[np.bool_] = score[0] > self.honest * images
        return expensive & (self.excess(count(state, images, score)) > self.excess(state))


class RatePrices(Prices):
    """`server.pricing.Rate`, for every column."""

    def __init__(self, policy: Rate) -> None:
        self.policy, self.honest = policy, policy.scores[0].honest

    def scores(self, costs: Floats) -> Floats:
        return np.stack([np.maximum(costs - s.threshold, 0.0) for s in self.policy.scores])

    def excess(self, state: Floats) -> Floats:
        counted = state[COUNTED]
        worst = np.zeros(len(counted))
        where = np.log(np.maximum(counted, 1))
        for score, means in zip(self.policy.scores, window_means(state), strict=True):
            grid = np.log(score.band.images)
            limits = np.stack([np.interp(where, grid, row) for row in score.band.limits])
            above = (means - limits).max(axis=0) / score.honest - self.policy.tolerance
            worst = np.maximum(worst, score.kappa * above)
        excess: Floats = np.where(counted == 0, 0.0, worst)
        return excess

    def seconds(self, state: Floats) -> Floats:
        return exponential(self.excess(state), self.policy.t_min, self.policy.t_max)


@dataclass(frozen=True, slots=True)
class Terms:
    """What turns seconds of work into multiples of the service time. Seconds are per 64 images."""

    service: float
    t_min: float
    t_max: float

    def work(self, seconds: Floats) -> Floats:
        """Work in service times, rounded up as a gate does."""
        return rounded(seconds, self.t_min, self.t_max) / self.service


def exponential(exponent: Floats, t_min: float, t_max: float) -> Floats:
    """min(t_min * e^exponent, t_max) seconds, without overflow."""
    most = math.log(t_max / t_min)
    capped = t_min * np.exp(np.minimum(exponent, most))
    seconds: Floats = np.where(exponent >= most, t_max, capped)
    return seconds


def rounded(seconds: Floats, t_min: float, t_max: float) -> Floats:
    """Rounded up to the next power of two above the floor, as work in hashes is; not beyond t_max.

    The floor of a calibration is a power of two in hashes, so it stays what it is.
    """
    steps = np.ceil(np.log2(seconds / t_min) - 1e-9)
    return np.minimum(t_min * np.exp2(np.maximum(steps, 0.0)), t_max)


def batches(scores: Floats, size: int) -> tuple[list[int], Floats]:
    """Images (t,) and summed scores (t, s, n) of scores (s, n, queries) cut into batches."""
    queries = scores.shape[-1]
    starts = np.arange(0, queries, size)
    images = [min(size, queries - int(start)) for start in starts]
    return images, np.moveaxis(np.add.reduceat(scores, starts, axis=-1), -1, 0).copy()


def play(
    prices: Prices,
    images: Sequence[int],
    scores: Floats,
    *,
    paid: NDArray[np.bool_] | None = None,
    state: Floats | None = None,
) -> tuple[Floats, Floats]:
    """Seconds (t, n) per 64 images that n clients are asked for at t batches, and the state after.

    `scores` (t, s, n) of whole batches. A batch that is not `paid` (t, n) counts at once where
    `at_once` says so, and never otherwise.
    """
    state = start(scores.shape[-1], scores.shape[1]) if state is None else state
    seconds = np.empty((len(scores), scores.shape[-1]))
    for step, (size, score) in enumerate(zip(images, scores, strict=True)):
        after = count(state, size, score)
        seconds[step] = prices.seconds(after)
        counts = True if paid is None else paid[step] | prices.at_once(state, size, score)
        state = np.where(counts, after, state)
    return seconds, state


def overheads(
    prices: Prices,
    terms: Terms,
    history: Floats,
    size: int,
    *,
    state: Floats | None = None,
) -> tuple[list[int], Floats]:
    """Images (t,), and (service + work) / service (t, n) of each batch of clients that pay."""
    images, scores = batches(prices.scores(history), size)
    seconds, _ = play(prices, images, scores, state=state)
    return images, 1 + terms.work(seconds)
