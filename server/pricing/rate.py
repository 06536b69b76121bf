"""The default price: exponential in how far the recent mean cost lies above the honest mean.

One-sided, relative, and over windows that forget, because a lifetime total can be laundered with
typical images, front-loaded with honest ones, or split over accounts.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

from server.ledger import NANO, WINDOWS, Account


@dataclass(frozen=True, slots=True)
class Rate:
    """min(t_min * e^(kappa * r), t_max) seconds per 64 images, r = excess(account)."""

    name: ClassVar[str] = "rate"

    honest: float  # mean privacy cost of an honest image
    spread: float  # its standard deviation over images
    kappa: float
    tolerance: float  # of the mean, in honest means
    z: float  # width of the band that honest clients may fill, in standard errors
    t_min: float  # seconds
    t_max: float  # seconds

    def excess(self, account: Account) -> float:
        """How far the dearest window lies above honest, in honest means; 0.0 within the band.

        A window over m images with a = 1 - 1/window has weight N = window * (1 - a^m), and its mean
        the standard error spread * sqrt(Q) / N with Q = (1 - a^2m) / (1 - a^2).
        """
        worst = 0.0
        for window, total in zip(WINDOWS, account.sums, strict=True):
            if account.counted == 0:
                continue
            a = 1 - 1 / window
            kept = a**account.counted
            weight = window * (1 - kept)
            mean = total / NANO / weight
            error = self.spread * math.sqrt((1 - kept * kept) / (1 - a * a)) / weight
            above = (mean - self.honest - self.z * error) / self.honest - self.tolerance
            worst = max(worst, above)
        return worst

    def price(self, account: Account) -> float:
        """Seconds of work per 64 images."""
        return self.seconds(self.excess(account))

    def seconds(self, excess: float) -> float:
        """Seconds of work per 64 images of an account with this excess."""
        exponent = self.kappa * excess
        # Compared as logarithms: the exponential overflows long after the cap.
        if exponent >= math.log(self.t_max / self.t_min):
            return self.t_max
        return self.t_min * math.exp(exponent)
