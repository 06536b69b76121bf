"""Price lists from honest costs: the gate's own, fitted as `calibrate` fits it, and its rivals.

Rivals: `cost` and `tail` are the two scores of `rate` by themselves; `errors` measures the excess
of the cost from z standard errors above the mean, with kappa up to 12, fitted to 640 queries of iid
and skewed clients; `cusum` is a capped sum of what exceeds the dearest honest clients (Page,
Biometrika 1954).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from experiments.prices.lists import CusumPrices, PaperPrices
from server.calibration.fit import (
    BAND_CLIENTS,
    BAND_QUANTILE,
    CLIENTS,
    GRID,
    KAPPAS,
    LONG_QUERIES,
    QUERIES,
    SIZES,
    TooNoisy,
    fit,
)
from server.calibration.make import PAPER_BASE, line
from server.calibration.targets import OVERHEAD_P99
from server.calibration.traffic import Sample, Traffic, kinds, resampled
from server.ledger import WINDOWS
from server.pricing import Band, Paper, Score
from server.pricing.vectorised import Floats, PriceList, RatePrices, Terms, overheads

Z = 3.0
GENTLE = KAPPAS[KAPPAS <= 12]
"""What `errors` may have as kappa."""

Rival = RatePrices | CusumPrices
"""What `steepest` can make steeper."""

Fitted = dict[str, tuple[PriceList, dict[str, float]]]
"""Price lists by name, with their constants."""


def price_lists(seen: Sample, unseen: Sample, terms: Terms, *, rng: np.random.Generator) -> Fitted:
    """Price lists by name; a rival that honest clients cannot bear at any kappa is left out.

    Raises TooNoisy where they cannot bear `rate`.
    """
    slope, intercept = line(seen.costs)
    paper = Paper(PAPER_BASE, slope, intercept, terms.t_min, terms.t_max)
    rate = fit(seen, unseen, terms, OVERHEAD_P99, rng)
    honest = rate.scores[0].honest
    found: Fitted = {
        "paper": (PaperPrices(paper, honest), {"slope": slope, "intercept": intercept}),
        "rate": (
            RatePrices(rate),
            {f"kappa above {score.threshold:.4g}": score.kappa for score in rate.scores},
        ),
    }
    for name, score in zip(("cost", "tail"), rate.scores, strict=False):
        alone = replace(rate, scores=(score,))
        found[name] = (RatePrices(alone), {"mean": score.honest, "kappa": score.kappa})
    early = {
        kind: history
        for kind, history in kinds(unseen, CLIENTS, QUERIES, rng).items()
        if kind in ("iid", "skewed")
    }
    late = resampled(unseen, CLIENTS, LONG_QUERIES, rng)
    everyone = resampled(seen, BAND_CLIENTS, GRID[-1], rng)
    errors = Score(0.0, honest, errors_band(honest, float(seen.costs.std())), 1.0)
    cusum = CusumPrices(honest, 1.0, terms.t_min, terms.t_max, *levels(everyone))
    rivals: list[tuple[str, Rival, Traffic, Floats]] = [
        ("errors", RatePrices(replace(rate, scores=(errors,))), early, GENTLE),
        ("cusum", cusum, late, KAPPAS),
    ]
    for name, rival, judges, kappas in rivals:
        try:
            prices, kappa = steepest(rival, terms, judges, kappas)
        except TooNoisy:
            continue
        found[name] = (prices, {"mean": honest, "kappa": kappa})
    return found


def errors_band(mean: float, spread: float) -> Band:
    """Z standard errors above the mean: after m images of a window with a = 1 - 1/window,

    spread sqrt((1 - a^2m) / (1 - a^2)) / (window (1 - a^m)).
    """
    limits = []
    for window in WINDOWS:
        a = 1 - 1 / window
        errors = [
            spread * math.sqrt((1 - a ** (2 * m)) / (1 - a * a)) / (window * (1 - a**m))
            for m in GRID
        ]
        limits.append(tuple(mean + Z * error for error in errors))
    return Band(GRID, tuple(limits))


def levels(honest: Traffic) -> tuple[float, float]:
    """Reference and threshold of a CUSUM.

    The mean that BAND_QUANTILE of each kind of client stay under, and the sum that as many of all
    batches of 64 do.
    """
    reference = max(
        float(np.quantile(part.mean(axis=1), BAND_QUANTILE)) for part in honest.values()
    )
    reached = 0.0
    for part in honest.values():
        sums = part.reshape(len(part), -1, 64).sum(axis=2) - 64 * reference
        level, seen = np.zeros(len(part)), np.empty_like(sums)
        for at in range(sums.shape[1]):
            level = np.maximum(0.0, level + sums[:, at])
            seen[:, at] = level
        reached = max(reached, float(np.quantile(seen, BAND_QUANTILE)))
    return reference, reached


def steepest(rival: Rival, terms: Terms, honest: Traffic, kappas: Floats) -> tuple[Rival, float]:
    """The price list with the largest kappa that honest clients can bear. Raises TooNoisy."""
    found: tuple[Rival, float] | None = None
    low, high = 0, len(kappas)  # everything from `high` on is bearable
    while low < high:
        middle = (low + high) // 2
        prices = _with_kappa(rival, float(kappas[middle]))
        if all(_bears(prices, terms, history) for history in honest.values()):
            found, high = (prices, float(kappas[middle])), middle
        else:
            low = middle + 1
    if found is None:
        raise TooNoisy(f"honest clients cannot bear it even at kappa {kappas[-1]}")
    return found


def _with_kappa(prices: Rival, kappa: float) -> Rival:
    if isinstance(prices, CusumPrices):
        return replace(prices, kappa=kappa)
    scores = tuple(replace(score, kappa=kappa) for score in prices.policy.scores)
    return replace(prices, policy=replace(prices.policy, scores=scores))


def _bears(prices: PriceList, terms: Terms, history: Floats) -> bool:
    sizes = SIZES if history.shape[1] <= QUERIES else SIZES[-1:]
    found = [overheads(prices, terms, history, size)[1].ravel() for size in sizes]
    return bool(np.quantile(np.concatenate(found), 0.99) <= OVERHEAD_P99)
