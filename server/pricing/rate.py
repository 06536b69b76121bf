"""The default price: exponential in how far recent costs lie above what honest clients show.

One-sided, relative, and over windows that forget, because a lifetime total can be laundered with
typical images, front-loaded with honest ones, or split over accounts. What honest clients show at
a sample size is a band of quantiles, not a number of standard errors: clients differ from each
other by more than chance (docs/pricing.md).
"""

import math
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar

from pydantic import Field

from server.ledger import NANO, WINDOWS, Account

STEEPEST = 64.0
"""Largest kappa."""

LEAST = 1e-12
"""Least mean cost of honest images that a price can rest on."""

MOST = 1e9
"""Largest privacy cost of an image: a ledger counts nano-units in 64 bits."""

Cost = Annotated[float, Field(ge=0, le=MOST)]
Mean = Annotated[float, Field(ge=LEAST, le=MOST)]


@dataclass(frozen=True, slots=True)
class Band:
    """What honest window means stay under: `limits` (windows, grid) after `images` (grid,) images.

    In between it is linear in the logarithm of the number of images, beyond the ends constant.
    Raises ValueError for a band that no price can rest on.
    """

    images: tuple[int, ...]
    limits: tuple[tuple[Cost, ...], ...]  # privacy cost of an image, a row for each window

    def __post_init__(self) -> None:
        if not self.images or self.images[0] < 1 or any(a >= b for a, b in pairwise(self.images)):
            raise ValueError(f"the band is given at {self.images} images; expected rising from 1")
        lengths = [len(row) for row in self.limits]
        if lengths != [len(self.images)] * len(WINDOWS):
            raise ValueError(
                f"the band has {lengths} limits; "
                f"expected {len(self.images)} for each of {len(WINDOWS)} windows"
            )

    def after(self, images: int) -> tuple[float, ...]:
        """The limit of every window after `images` images, at least one."""
        at = bisect_right(self.images, images)
        if at == 0:
            return tuple(row[0] for row in self.limits)
        if at == len(self.images):
            return tuple(row[-1] for row in self.limits)
        low, high = self.images[at - 1], self.images[at]
        share = math.log(images / low) / math.log(high / low)
        return tuple(row[at - 1] + share * (row[at] - row[at - 1]) for row in self.limits)


@dataclass(frozen=True, slots=True)
class Score:
    """What of each image's cost counts, what honest clients show of it, and how steep it is priced.

    Only what lies above `threshold` counts. The whole cost (0) notices a small shift of all images;
    the tail alone cannot be diluted with cheap ones.
    """

    threshold: Cost  # of an image
    honest: Mean  # of an honest image
    band: Band
    kappa: Annotated[float, Field(ge=0, le=STEEPEST)]


@dataclass(frozen=True, slots=True)
class Rate:
    """min(t_min * e^r, t_max) seconds per 64 images, r = excess(account).

    The first score is the whole cost.
    """

    name: ClassVar[str] = "rate"

    scores: tuple[Score, ...]
    tolerance: float  # beyond the band, in honest means
    t_min: float  # seconds
    t_max: float  # seconds

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Of the scores besides the cost."""
        return tuple(score.threshold for score in self.scores[1:])

    def excess(self, account: Account) -> float:
        """How far the worst window of a score lies above its band, in honest means, times kappa.

        0.0 within the bands. A window over m images with a = 1 - 1/window has weight
        window * (1 - a^m).
        """
        counted = account.counted
        if counted == 0:
            return 0.0
        worst = 0.0
        weights = [window * (1 - (1 - 1 / window) ** counted) for window in WINDOWS]
        for at, score in enumerate(self.scores):
            sums = account.sums[at * len(WINDOWS) : (at + 1) * len(WINDOWS)]
            for total, weight, limit in zip(sums, weights, score.band.after(counted), strict=True):
                above = (total / NANO / weight - limit) / score.honest - self.tolerance
                worst = max(worst, score.kappa * above)
        return worst

    def price(self, account: Account) -> float:
        """Seconds of work per 64 images."""
        excess = self.excess(account)
        # Compared as logarithms: the exponential overflows long after the cap.
        if excess >= math.log(self.t_max / self.t_min):
            return self.t_max
        return self.t_min * math.exp(excess)
