"""The paper's price: exponential in how far the total cost is from the honest line, either way.

Dziedzic, Kaleem, Lu, Papernot, ICLR 2022, section 4. Differs from the released code: cost and
queries are kept for every client, and the cap is a cap (the released code crashes there).
"""

import math
from dataclasses import dataclass
from typing import ClassVar

from server.ledger import NANO, Account


@dataclass(frozen=True, slots=True)
class Paper:
    """clip(base^|cost - (slope * queries + intercept)|, t_min, t_max) seconds per 64 images."""

    name: ClassVar[str] = "paper"
    thresholds: ClassVar[tuple[float, ...]] = ()

    base: float
    slope: float  # expected privacy cost of one more honest query
    intercept: float
    t_min: float  # seconds
    t_max: float  # seconds

    def seconds(self, queries: float, cost: float) -> float:
        """Seconds per 64 images after `queries` images of together `cost`.

        Raises ValueError for a cost or a count that is negative or not finite.
        """
        for name, value in (("queries", queries), ("cost", cost)):
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} is {value}; expected a finite number >= 0")
        distance = self._distance(queries, cost)
        # Compared as logarithms: base ** distance overflows long after the cap.
        if distance * math.log(self.base) >= math.log(self.t_max):
            return self.t_max
        return max(self.t_min, math.exp(distance * math.log(self.base)))

    def price(self, account: Account) -> float:
        """Seconds of work per 64 images."""
        return self.seconds(account.counted, account.cost / NANO)

    def excess(self, account: Account) -> float:
        """How far the account is from the honest line, in units of privacy cost."""
        return self._distance(account.counted, account.cost / NANO)

    def _distance(self, queries: float, cost: float) -> float:
        return abs(cost - (self.slope * queries + self.intercept))
