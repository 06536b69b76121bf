"""Price lists beside the gate's own `rate`: the paper's, and rivals that no gate charges.

`PaperPrices` is `Account.counting` with `Paper.price`: a test holds one against the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.pricing import Paper
from server.pricing.vectorised import (
    COST,
    COUNTED,
    Floats,
    count_windows,
    exponential,
    start_windows,
)


@dataclass(frozen=True, slots=True)
class PaperPrices:
    """`server.pricing.Paper`, for every column."""

    policy: Paper
    honest: float

    def scores(self, costs: Floats) -> Floats:
        return costs[None]

    def start(self, accounts: int) -> Floats:
        return start_windows(accounts, 1)

    def counting(self, state: Floats, images: int, score: Floats) -> Floats:
        return count_windows(state, images, score)

    def at_once(self, state: Floats, images: int, score: Floats) -> NDArray[np.bool_]:
        dear: NDArray[np.bool_] = score[0] > self.honest * images
        after = self.counting(state, images, score)
        return dear & (self._distance(after) > self._distance(state))

    def _distance(self, state: Floats) -> Floats:
        line = self.policy.slope * state[COUNTED] + self.policy.intercept
        distance: Floats = np.abs(state[COST] - line)
        return distance

    def seconds(self, state: Floats) -> Floats:
        exponent = self._distance(state) * math.log(self.policy.base)
        seconds = np.exp(np.minimum(exponent, math.log(self.policy.t_max)))
        clipped: Floats = np.clip(seconds, self.policy.t_min, self.policy.t_max)
        return clipped


@dataclass(frozen=True, slots=True)
class CusumPrices:
    """A sum of what exceeds the dearest honest clients' mean, never below 0 nor above what caps.

    Page, Biometrika 1954: g = max(0, g + score - reference); seconds = t_min e^(kappa (g - h) / G),
    with h what honest clients reach and G = 64 honest images. Capped, so that an account that turns
    honest again is forgiven.
    """

    honest: float  # mean cost of an honest image
    kappa: float
    t_min: float  # seconds
    t_max: float
    reference: float  # score of an image that leaves the sum where it is
    reached: float  # h

    @property
    def _cap(self) -> float:
        steps = math.log(self.t_max / self.t_min) / self.kappa
        return self.reached + steps * 64 * self.honest

    def scores(self, costs: Floats) -> Floats:
        return costs[None]

    def start(self, accounts: int) -> Floats:
        return np.zeros((1, accounts))

    def counting(self, state: Floats, images: int, score: Floats) -> Floats:
        return np.clip(state + score[:1] - images * self.reference, 0.0, self._cap)

    def at_once(self, state: Floats, images: int, score: Floats) -> NDArray[np.bool_]:
        dear: NDArray[np.bool_] = score[0] > max(self.honest, self.reference) * images
        return dear

    def seconds(self, state: Floats) -> Floats:
        above = np.maximum(state[0] - self.reached, 0.0) / (64 * self.honest)
        return exponential(self.kappa * above, self.t_min, self.t_max)
