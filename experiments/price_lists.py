"""Prices of many accounts at once: the gate's own policies, vectorised, and rivals to them.

A price list keeps a state (k, n), one column an account, and turns it into seconds of work per 64
images (n,). `WindowPrices` is `Account.counting` with `Rate.price`, and `PaperPrices` the same with
`Paper.price`: a test holds them against those step by step. The others are candidates, not what a
gate charges.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from server.ledger import WINDOWS
from server.pricing import Paper, Rate

Floats = NDArray[np.float64]

_WINDOWS = np.array(WINDOWS, dtype=np.float64)[:, None]
_KEEP = 1 - 1 / _WINDOWS
COUNTED, COST, SUMS = 0, 1, 2
"""Rows of a window state; the sums of all windows come last."""

TAIL = math.log(10)
"""A tail score counts what lies above it: one honest image in ten does."""


class PriceList(Protocol):
    """A policy over a state (k, n) of n accounts."""

    @property
    def honest(self) -> float:
        """Mean score of an honest image."""
        ...

    def scores(self, costs: Floats) -> Floats:
        """What counts of each cost, of the same shape."""
        ...

    def start(self, accounts: int) -> Floats:
        """The state (k, accounts) of accounts that never asked."""
        ...

    def counting(self, state: Floats, images: int, score: Floats) -> Floats:
        """The state after `images` images each, of together `score` (n,), count, too."""
        ...

    def at_once(self, state: Floats, images: int, score: Floats) -> NDArray[np.bool_]:
        """Whether a batch (n,) counts before it is paid for."""
        ...

    def seconds(self, state: Floats) -> Floats:
        """Seconds (n,) of work per 64 images."""
        ...


def start_windows(accounts: int) -> Floats:
    """The state of empty accounts: images, cost, and the forgetting sums."""
    return np.zeros((SUMS + len(WINDOWS), accounts))


def count_windows(state: Floats, images: int, score: Floats) -> Floats:
    """`server.ledger.Account.counting`, for every column."""
    kept = _KEEP**images
    return np.concatenate(
        [
            state[COUNTED : COUNTED + 1] + images,
            state[COST : COST + 1] + score,
            state[SUMS:] * kept + (score / images) * (_WINDOWS * (1 - kept)),
        ]
    )


@dataclass(frozen=True, slots=True)
class PaperPrices:
    """`server.pricing.Paper`, for every column."""

    policy: Paper
    honest: float

    def scores(self, costs: Floats) -> Floats:
        return costs

    def start(self, accounts: int) -> Floats:
        return start_windows(accounts)

    def counting(self, state: Floats, images: int, score: Floats) -> Floats:
        return count_windows(state, images, score)

    def at_once(self, state: Floats, images: int, score: Floats) -> NDArray[np.bool_]:
        return score > self.honest * images

    def seconds(self, state: Floats) -> Floats:
        line = self.policy.slope * state[COUNTED] + self.policy.intercept
        exponent = np.abs(state[COST] - line) * math.log(self.policy.base)
        seconds = np.exp(np.minimum(exponent, math.log(self.policy.t_max)))
        clipped: Floats = np.clip(seconds, self.policy.t_min, self.policy.t_max)
        return clipped


@dataclass(frozen=True, slots=True)
class WindowPrices:
    """`server.pricing.Rate`, for every column; over tail scores, or with a band from quantiles.

    With `band`, (windows, grid) quantiles of honest window means after `grid` images, the excess
    is measured from there instead of from z standard errors above the mean. With `only_raising`, an
    unpaid batch counts only where that raises the excess: one that is dearer than an honest one may
    still lower a thief's.
    """

    policy: Rate
    tail: bool = False
    grid: tuple[int, ...] = ()
    band: tuple[tuple[float, ...], ...] = ()
    only_raising: bool = False

    @property
    def honest(self) -> float:
        return self.policy.honest

    def scores(self, costs: Floats) -> Floats:
        return np.maximum(costs - TAIL, 0.0) if self.tail else costs

    def start(self, accounts: int) -> Floats:
        return start_windows(accounts)

    def counting(self, state: Floats, images: int, score: Floats) -> Floats:
        return count_windows(state, images, score)

    def at_once(self, state: Floats, images: int, score: Floats) -> NDArray[np.bool_]:
        dear: NDArray[np.bool_] = score > self.honest * images
        if self.only_raising:
            dear &= self.excess(self.counting(state, images, score)) > self.excess(state)
        return dear

    def excess(self, state: Floats) -> Floats:
        """How far the dearest window (n,) lies above the band, in honest means."""
        policy, counted = self.policy, state[COUNTED]
        kept = _KEEP**counted
        empty = counted == 0
        weight = np.where(empty, 1.0, _WINDOWS * (1 - kept))
        mean = state[SUMS:] / weight
        if self.band:
            where = np.log(np.maximum(counted, 1))
            grid = np.log(np.array(self.grid))
            limit = np.stack([np.interp(where, grid, quantiles) for quantiles in self.band])
        else:
            error = policy.spread * np.sqrt((1 - kept * kept) / (1 - _KEEP * _KEEP)) / weight
            limit = policy.honest + policy.z * error
        above = (mean - limit) / policy.honest - policy.tolerance
        worst: Floats = np.where(empty, 0.0, np.maximum(above.max(axis=0), 0.0))
        return worst

    def seconds(self, state: Floats) -> Floats:
        return exponential(self.policy.kappa * self.excess(state), self.policy)


@dataclass(frozen=True, slots=True)
class CusumPrices:
    """A sum of what exceeds the dearest honest clients' mean, never below 0 nor above what caps.

    Page, Biometrika 1954: g = max(0, g + score - reference); seconds = t_min e^(kappa (g - h) / G),
    with h what honest clients reach and G = 64 honest images. Capped, so that an account that turns
    honest again is forgiven.
    """

    policy: Rate  # its mean, kappa, floor and cap
    reference: float  # score of an image that leaves the sum where it is
    reached: float  # h
    tail: bool = False

    @property
    def honest(self) -> float:
        return self.policy.honest

    @property
    def _cap(self) -> float:
        steps = math.log(self.policy.t_max / self.policy.t_min) / self.policy.kappa
        return self.reached + steps * 64 * self.honest

    def scores(self, costs: Floats) -> Floats:
        return np.maximum(costs - TAIL, 0.0) if self.tail else costs

    def start(self, accounts: int) -> Floats:
        return np.zeros((1, accounts))

    def counting(self, state: Floats, images: int, score: Floats) -> Floats:
        return np.clip(state + score - images * self.reference, 0.0, self._cap)

    def at_once(self, state: Floats, images: int, score: Floats) -> NDArray[np.bool_]:
        return score > max(self.honest, self.reference) * images

    def seconds(self, state: Floats) -> Floats:
        above = np.maximum(state[0] - self.reached, 0.0) / (64 * self.honest)
        return exponential(self.policy.kappa * above, self.policy)


def exponential(exponent: Floats, policy: Rate) -> Floats:
    """min(t_min * e^exponent, t_max) seconds, without overflow."""
    most = math.log(policy.t_max / policy.t_min)
    capped = policy.t_min * np.exp(np.minimum(exponent, most))
    seconds: Floats = np.where(exponent >= most, policy.t_max, capped)
    return seconds


def rounded(seconds: Floats, t_min: float, t_max: float) -> Floats:
    """Rounded up to the next power of two above the floor, as work in hashes is; not beyond t_max.

    The floor of a calibration is a power of two in hashes, so it stays what it is.
    """
    steps = np.ceil(np.log2(seconds / t_min) - 1e-9)
    return np.minimum(t_min * np.exp2(np.maximum(steps, 0.0)), t_max)


def play(
    prices: PriceList,
    images: Sequence[int],
    scores: Floats,
    *,
    paid: NDArray[np.bool_] | None = None,
    state: Floats | None = None,
) -> tuple[Floats, Floats]:
    """Seconds (t, n) per 64 images that n clients are asked for at t batches, and the state after.

    `scores` (t, n) of whole batches. A batch that is not `paid` (t, n) counts at once where
    `at_once` says so (in the ledger: where it is dearer than an honest one), and never otherwise.
    """
    state = prices.start(scores.shape[1]) if state is None else state
    seconds = np.empty_like(scores)
    for step, (size, score) in enumerate(zip(images, scores, strict=True)):
        counting = prices.counting(state, size, score)
        seconds[step] = prices.seconds(counting)
        if paid is None:
            state = counting
        else:
            counts = paid[step] | prices.at_once(state, size, score)
            state = np.where(counts, counting, state)
    return seconds, state
