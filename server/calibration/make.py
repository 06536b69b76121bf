"""Makes a calibration from held-out honest images that no client of an experiment ever sends.

Two parts in five give the mean and the band, two decide how steep the price may be, and on the last
the choice is checked. Honest images that drift are what the same images become.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from core import records
from core.arrays import to_float
from core.learning.datasets import Split
from core.learning.drift import drifted
from pow.rate import Rate as HashRate
from server.calibration import (
    LONGEST,
    Calibration,
    CalibrationError,
    Quantiles,
    power_of_two_seconds,
)
from server.calibration.fit import (
    CLIENTS,
    LONG_QUERIES,
    QUERIES,
    TooNoisy,
    fit,
    overhead,
    parts,
)
from server.calibration.service import measure_service
from server.calibration.targets import DEFAULT_TARGETS, Targets
from server.calibration.traffic import Sample, kinds
from server.measures import JUDGED
from server.model import Model
from server.pricing import BATCH, Rate
from server.pricing.vectorised import Floats, Terms

CAP = 8_000
"""Default t_max, in t_min."""

ENTRY = 500.0
"""Default work of entry, in prices of one honest query."""

PAPER_BASE = 1.0075


def calibrate(
    model: Model,
    measure: str,
    honest: Split,
    *,
    seed: int,
    t_max: float | None,
    rates: Mapping[str, HashRate],
    targets: Targets = DEFAULT_TARGETS,
    drifts: Sequence[str] = (),
    entry: float = ENTRY,
) -> Calibration:
    """Fits a calibration on honest images. `t_max` in seconds, default CAP * t_min.

    `drifts` are what honest users' images may do for no more than the targets allow;
    `entry` is the work of entry in prices of an honest query. Raises CalibrationError for too few
    images, or honest images that cost nothing or too unlike amounts.
    """
    if len(honest.images) < JUDGED:
        raise CalibrationError(
            f"{len(honest.images)} calibration images; expected at least {JUDGED}"
        )
    if not (math.isfinite(entry) and entry >= 0):
        raise CalibrationError(f"the entry is {entry} queries; expected a finite number from 0")
    shuffling, drifting, rng = np.random.default_rng(seed).spawn(3)
    sample = _sample(model, honest, drifts, drifting)
    seen, chosen, unseen = parts(sample, shuffling)
    mean = float(seen.costs.mean())
    if not mean > 0:
        raise CalibrationError(f"honest images cost {mean} on average; expected more than 0")
    slope, intercept = line(seen.costs)
    service = asyncio.run(measure_service(model, honest.images))
    t_min = targets.t_min(service)
    t_max = t_max or min(CAP * t_min, LONGEST)
    bearable = targets.overhead(service)
    hashes = rates["sha1"].hashes_per_second
    floor = power_of_two_seconds(t_min, hashes)
    terms = Terms(service, floor, max(floor, power_of_two_seconds(t_max, hashes)))
    try:
        rate = fit(seen, chosen, terms, bearable, rng)
    except TooNoisy as error:
        raise CalibrationError(str(error)) from error
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
    """Median and p99 overhead of every kind of client, and of those who ask for long."""
    return {
        f"{kind}{suffix}": overhead(rate, terms, history)
        for queries, suffix in ((QUERIES, ""), (LONG_QUERIES, ", long"))
        for kind, history in kinds(unseen, CLIENTS, queries, rng).items()
    }


def costs_of(model: Model, images: NDArray[np.uint8]) -> Floats:
    """Privacy cost (n,) of every image."""
    parts = []
    for start in range(0, len(images), BATCH):
        batch = to_float(images[start : start + BATCH])
        parts.append(model.measure.cost(batch, model.victim.answer(batch)))
    return np.concatenate(parts)


def line(costs: Floats) -> tuple[float, float]:
    """Slope and intercept of total cost against queries: least squares over ten stretches."""
    ends = np.unique(np.linspace(1, len(costs), 11).astype(int))[1:]
    slope, intercept = np.polyfit(ends, np.cumsum(costs)[ends - 1], 1)
    return float(slope), float(intercept)


def _sample(model: Model, honest: Split, drifts: Sequence[str], rng: np.random.Generator) -> Sample:
    """What the images cost as they are, and as each drift leaves them. Raises CalibrationError."""
    try:
        images = {name: drifted(name, honest.images, rng) for name in drifts}
    except ValueError as error:
        raise CalibrationError(str(error)) from error
    return Sample(
        costs_of(model, honest.images),
        honest.labels,
        {name: costs_of(model, changed) for name, changed in images.items()},
    )
