"""Makes a calibration from held-out honest images that no client of an experiment ever sends.

Two parts in five give the mean and the band, two decide how steep the price may be, and on the last
the choice is checked. Honest images that drift are what the same images become.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from core import records
from core.learning.datasets import Split
from core.learning.drift import drifted
from pow.rate import Rate as HashRate
from server.calibration import LONGEST, Calibration, Quantiles, power_of_two_seconds
from server.calibration.fit import CLIENTS, LONG_QUERIES, QUERIES, fit, overhead, parts
from server.calibration.service import measure_service
from server.calibration.traffic import Sample, kinds
from server.measures import JUDGED, costs_of
from server.model import Model
from server.pricing.rate import Rate
from server.pricing.vectorised import Floats, Terms

CAP = 8_000
"""Default t_max, in t_min."""

ENTRY = 500.0
"""Default work of entry, in prices of one honest query."""

PAPER_BASE = 1.0075

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
        """Seconds of work per 64 images that every client can be asked."""
        return min((self.median - 1) * service, self.seconds or math.inf)

    def overhead(self, service: float) -> float:
        """Overhead that 99 in 100 batches may have."""
        return min(self.p99, 1 + (self.seconds or math.inf) / service)


def calibrate(
    model: Model,
    measure: str,
    honest: Split,
    *,
    seed: int,
    t_max: float | None,
    rates: Mapping[str, HashRate],
    targets: Targets | None = None,
    drifts: Sequence[str] = (),
    entry: float = ENTRY,
) -> Calibration:
    """Fits a calibration on honest images. `t_max` in seconds, default CAP * t_min.

    `drifts` are what honest users' images may do for no more than the targets allow;
    `entry` is the work of entry in prices of an honest query. Raises ValueError for too few
    images, or honest images that cost nothing or too unlike amounts.
    """
    targets = targets or Targets()
    if len(honest.images) < JUDGED:
        raise ValueError(f"{len(honest.images)} calibration images; expected at least {JUDGED}")
    if not (math.isfinite(entry) and entry >= 0):
        raise ValueError(f"the entry is {entry} queries; expected a finite number from 0")
    shuffling, drifting, rng = np.random.default_rng(seed).spawn(3)
    costs = partial(costs_of, model.measure, model.victim)
    changed = {name: costs(drifted(name, honest.images, drifting)) for name in drifts}
    sample = Sample(costs(honest.images), honest.labels, changed)
    seen, chosen, unseen = parts(sample, shuffling)
    mean = float(seen.costs.mean())
    if not mean > 0:
        raise ValueError(f"honest images cost {mean} on average; expected more than 0")
    slope, intercept = line(seen.costs)
    service = asyncio.run(measure_service(model, honest.images))
    t_min = targets.t_min(service)
    t_max = t_max or min(CAP * t_min, LONGEST)
    bearable = targets.overhead(service)
    hashes = rates["sha1"].hashes_per_second
    floor = power_of_two_seconds(t_min, hashes)
    terms = Terms(service, floor, max(floor, power_of_two_seconds(t_max, hashes)))
    rate = fit(seen, chosen, terms, bearable, rng)
    return Calibration(
        model=model.name,
        measure=measure,
        fingerprint=model.fingerprint,
        mean=mean,
        spread=float(seen.costs.std()),
        slope=slope,
        intercept=intercept,
        service=service,
        rates=dict(rates),
        t_min=t_min,
        t_max=t_max,
        scores=rate.scores,
        tolerance=rate.tolerance,
        entry=entry,
        base=PAPER_BASE,
        images={
            "fitted": len(seen.costs),
            "chosen": len(chosen.costs),
            "checked": len(unseen.costs),
            "outliers": len(sample.costs) - sum(len(p.costs) for p in (seen, chosen, unseen)),
        },
        overhead=check(rate, terms, unseen, rng),
        bearable=bearable,
        provenance=records.provenance(seed),
    )


def check(
    rate: Rate, terms: Terms, unseen: Sample, rng: np.random.Generator
) -> dict[str, Quantiles]:
    """Median and p99 overhead of every kind of client, and over long histories."""
    return {
        f"{kind}{suffix}": overhead(rate, terms, history)
        for queries, suffix in ((QUERIES, ""), (LONG_QUERIES, ", long"))
        for kind, history in kinds(unseen, CLIENTS, queries, rng).items()
    }


def line(costs: Floats) -> tuple[float, float]:
    """Slope and intercept of total cost against queries: least squares over ten stretches."""
    ends = np.unique(np.linspace(1, len(costs), 11).astype(int))[1:]
    slope, intercept = np.polyfit(ends, np.cumsum(costs)[ends - 1], 1)
    return float(slope), float(intercept)
