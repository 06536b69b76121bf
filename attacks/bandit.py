"""A gradient bandit over k actions, with standardised rewards."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(slots=True)
class Moments:
    """Mean and variance of all values so far (Chan, Golub, LeVeque 1983)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0  # sum of squared distances from the mean

    def standardised(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Adds values; returns them in standard deviations from the mean, 0 if there are none."""
        count, mean = len(values), float(values.mean())
        gap, total = mean - self.mean, self.count + count
        self.squares += float(((values - mean) ** 2).sum()) + gap**2 * self.count * count / total
        self.mean += gap * count / total
        self.count = total
        spread = np.sqrt(self.squares / total)
        # What is constant up to rounding says nothing about its actions.
        if spread <= 1e-9 * max(1.0, abs(self.mean)):
            return np.zeros(count)
        scores: NDArray[np.float64] = (values - self.mean) / spread
        return scores


@dataclass(slots=True)
class Bandit:
    """Preferences over k actions (Sutton, Barto, 2018, section 2.8), step 1 / times drawn."""

    preference: NDArray[np.float64]  # (k,)
    drawn: NDArray[np.int64] = field(init=False)  # (k,), times each action was drawn

    def __post_init__(self) -> None:
        self.drawn = np.zeros(len(self.preference), np.int64)

    def policy(self, open_: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Probabilities (k,) of the actions that are open, 0 for the others."""
        shifted = np.where(open_, self.preference, -np.inf)
        weights = np.exp(shifted - shifted.max())  # at most 1: cannot overflow
        probabilities: NDArray[np.float64] = weights / weights.sum()
        return probabilities

    def reward(
        self,
        policy: NDArray[np.float64],
        actions: NDArray[np.int64],
        advantage: NDArray[np.float64],
    ) -> None:
        """One gradient step for each action (b,) drawn from a policy, and its advantage (b,)."""
        for action, gain in zip(actions, advantage, strict=True):
            self.drawn[action] += 1
            step = gain / self.drawn[action]
            self.preference -= step * policy
            self.preference[action] += step
