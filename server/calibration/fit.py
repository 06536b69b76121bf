"""The price `rate` from honest costs: bands that honest clients fill, and how steep beyond them.

One sample gives means and bands, another, unseen, decides how steep the price may be.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from server.calibration import Quantiles
from server.calibration.traffic import Sample, Traffic, resampled
from server.ledger import WINDOWS
from server.pricing.rate import STEEPEST, Band, Rate, Score
from server.pricing.vectorised import (
    Floats,
    RatePrices,
    Terms,
    batches,
    count,
    exponential,
    start,
    window_means,
)

CLIENTS = 100
"""Simulated honest clients of each kind."""

QUERIES = 640
SIZES = (1, 16, 64)
"""Images a batch."""

LONG_QUERIES = 12_288
"""Queries after which the widest window has forgotten how it began."""

BAND_CLIENTS = 400
BAND_QUANTILE = 0.99
GRID = (1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096, 8192)
"""Images after which honest window means are looked at; beyond the last, the band stays."""

TAIL_FROM = 0.9
"""Quantile of honest costs above which the tail begins."""

SURE = 0.995
"""Batches that each score lets through, so that both let 99 in 100 through."""

KAPPAS = np.arange(STEEPEST, 0.0, -0.25)
"""Steepnesses tried, from the largest."""

TOLERANCE = 0.05
OUTLIER = 3.0
"""An outlier lies this many times as far above the 99 % quantile as that above the median."""


class TooNoisy(ValueError):
    """Honest clients cannot bear the price at any steepness."""


def ordinary(costs: Floats) -> NDArray[np.bool_]:
    """Which costs (n,) are no outliers: a corrupt image or two must not widen the band.

    Costs that merely have a long tail stay: what honest clients send now and then they will go on
    sending.
    """
    median, high = np.quantile(costs, (0.5, 0.99))
    usual: NDArray[np.bool_] = costs <= high + OUTLIER * (high - median)
    return usual


def parts(sample: Sample, rng: np.random.Generator) -> tuple[Sample, Sample, Sample]:
    """Two fifths to find bands on and two to choose kappa with, trimmed; one to check."""
    place = rng.permutation(len(sample.costs)) / len(sample.costs)
    usual = ordinary(sample.costs)
    return (
        sample.part((place < 0.4) & usual),
        sample.part((place >= 0.4) & (place < 0.8) & usual),
        sample.part(place >= 0.8),
    )


def fit(
    seen: Sample, unseen: Sample, terms: Terms, bearable: float, rng: np.random.Generator
) -> Rate:
    """The price whose bands `seen` fills, as steep as clients of `unseen` can bear.

    `bearable` is the overhead that 99 in 100 batches of every kind of client may have. A tail that
    honest clients have not enough of to judge by is left out. Raises TooNoisy.
    """
    floor = 1 + float(terms.work(np.array(terms.t_min)))
    if floor > bearable:
        raise TooNoisy(
            f"the least work that can be asked is an overhead of {floor:.3g}, more than the "
            f"{bearable:.3g} that is allowed: allow more (--seconds, --overhead-p99)"
        )
    honest_clients = resampled(seen, BAND_CLIENTS, GRID[-1], rng)
    judges = [
        history
        for queries in (QUERIES, LONG_QUERIES)
        for history in resampled(unseen, CLIENTS, queries, rng).values()
    ]
    scores = []
    for threshold in (0.0, float(np.quantile(seen.costs, TAIL_FROM))):
        honest = float(np.maximum(seen.costs - threshold, 0.0).mean())
        if honest == 0.0:
            continue
        score = Score(threshold, honest, band(honest_clients, threshold), 1.0)
        rate = Rate((score,), TOLERANCE, terms.t_min, terms.t_max)
        kappa = _steepest(rate, terms, judges, bearable)
        if kappa is not None:
            scores.append(replace(score, kappa=kappa))
        elif not scores:
            raise TooNoisy(
                f"honest clients would wait more than {bearable:.3g} times the service time even "
                f"at kappa {KAPPAS[-1]}: this measure is too noisy for this data"
            )
    if not scores:
        raise TooNoisy("honest images cost nothing: there is nothing to compare with")
    return Rate(tuple(scores), TOLERANCE, terms.t_min, terms.t_max)


def _steepest(rate: Rate, terms: Terms, judges: list[Floats], bearable: float) -> float | None:
    """The largest kappa that honest clients bear, by bisection: overhead grows with it."""
    found = [excesses(rate, history) for history in judges]
    low, high = 0, len(KAPPAS)  # everything from `high` on is bearable
    while low < high:
        middle = (low + high) // 2
        if all(
            _overhead(rate, terms, KAPPAS[middle] * excess, SURE)[0] <= bearable for excess in found
        ):
            high = middle
        else:
            low = middle + 1
    return float(KAPPAS[high]) if high < len(KAPPAS) else None


def band(honest: Traffic, threshold: float = 0.0) -> Band:
    """Window means that BAND_QUANTILE of each kind of client stay under, after GRID images.

    Means of what lies above the threshold.
    """
    worst = np.zeros((len(WINDOWS), len(GRID)))
    for history in honest.values():
        scores = np.maximum(history - threshold, 0.0)[None]
        state, before = start(len(history), 1), 0
        for at, until in enumerate(GRID):
            state = count(state, until - before, scores[:, :, before:until].sum(axis=2))
            limits = np.quantile(window_means(state)[0], BAND_QUANTILE, axis=1)
            worst[:, at] = np.maximum(worst[:, at], limits)
            before = until
    return Band(GRID, tuple(tuple(float(limit) for limit in row) for row in worst))


def excesses(rate: Rate, history: Floats) -> Floats:
    """Excess of every batch of every client; long histories are asked by 64."""
    sizes = SIZES if history.shape[1] <= QUERIES else SIZES[-1:]
    prices, found = RatePrices(rate), []
    for size in sizes:
        state = start(len(history), len(rate.scores))
        for images, score in zip(*batches(prices.scores(history), size), strict=True):
            state = count(state, images, score)
            found.append(prices.excess(state))
    return np.concatenate(found)


def overhead(rate: Rate, terms: Terms, history: Floats) -> Quantiles:
    """Median and p99 over batches of (service + work) / service."""
    return Quantiles(*_overhead(rate, terms, excesses(rate, history), 0.5, 0.99))


def _overhead(rate: Rate, terms: Terms, excess: Floats, *quantiles: float) -> list[float]:
    seconds = exponential(np.quantile(excess, quantiles), rate.t_min, rate.t_max)
    return [float(found) for found in 1 + terms.work(seconds)]
