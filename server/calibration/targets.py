"""What honest users may be asked to bear."""

import math
from dataclasses import dataclass

SERVICE_SHARE = 0.25
"""Default t_min, as a share of the service time."""

OVERHEAD_P99 = 2.0
"""Default overhead that 99 in 100 honest batches must stay under."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """Bounds on what honest users wait; the strictest holds. Raises ValueError."""

    median: float = 1 + SERVICE_SHARE  # overhead, (service + work) / service, of most batches
    p99: float = OVERHEAD_P99  # of 99 in 100 batches
    seconds: float | None = None  # of work per 64 images, for 99 in 100 batches

    def __post_init__(self) -> None:
        if not (math.isfinite(self.median) and self.median > 1):
            raise ValueError(f"the median overhead is {self.median}; expected more than 1")
        if not (math.isfinite(self.p99) and self.p99 >= self.median):
            raise ValueError(f"the p99 overhead is {self.p99}; expected the median's or more")
        if self.seconds is not None and not (math.isfinite(self.seconds) and self.seconds > 0):
            raise ValueError(f"the seconds allowed are {self.seconds}; expected more than 0")

    def t_min(self, service: float) -> float:
        """Seconds of work per 64 images that everyone can be asked."""
        return min((self.median - 1) * service, self.seconds or math.inf)

    def overhead(self, service: float) -> float:
        """Overhead that 99 in 100 batches may have."""
        return min(self.p99, 1 + (self.seconds or math.inf) / service)


DEFAULT_TARGETS = Targets()
