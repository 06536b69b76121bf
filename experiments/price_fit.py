"""Price lists from honest traffic: the gate's policies with the constants `calibrate` would fit.

`rate` as the gate fits it: the largest kappa up to 12 under which the p99 overhead of honest
clients of 640 queries, iid or skewed, is at most 2. Its rivals are fitted to drifted clients and to
images turned by 15 degrees, too, to histories so long that no window remembers how they began, and
to bootstrap resamples of the images; kappa may be up to 48; and an unpaid batch counts only where
that raises the price.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from experiments.price_lists import (
    TAIL,
    CusumPrices,
    Floats,
    PaperPrices,
    PriceList,
    WindowPrices,
    count_windows,
    start_windows,
)
from experiments.price_traffic import Terms, drifted, iid, overheads, skewed
from server.calibration import KAPPAS, OVERHEAD_P99, PAPER_BASE, TOLERANCE, Z
from server.ledger import WINDOWS
from server.pricing import Paper, Rate

CLIENTS = 100
"""Simulated honest clients of each kind."""

QUERIES = 640
SIZES = (1, 16, 64)
LONG_QUERIES = 12_288
"""Queries after which the widest window has forgotten how it began."""

BAND_CLIENTS = 400
BAND_QUANTILE = 0.99
RESAMPLES = 20
"""Bootstrap resamples of the calibration images behind the clients of a strict fit."""

STEEPNESSES = np.arange(48.0, 0.0, -0.25)
"""Tried for the rivals: the gate stops at 12."""

GRID = (1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096, 8192)
"""Images after which honest window means are looked at; beyond the last, the band stays."""

Traffic = Mapping[str, Floats]


def traffic(
    costs: Floats,
    labels: NDArray[np.int64],
    clients: int,
    queries: int,
    rng: np.random.Generator,
    *,
    drift: bool,
) -> dict[str, Floats]:
    """Honest histories (clients, queries) by kind of client."""
    kinds = {
        "iid": iid(costs, clients, queries, rng),
        "skewed": skewed(costs, labels, clients, queries, rng),
    }
    if drift:
        kinds["drifted"] = drifted(costs, clients, queries, rng)
    return kinds


def resampled(
    costs: Floats,
    labels: NDArray[np.int64],
    turned: Floats,
    clients: int,
    queries: int,
    rng: np.random.Generator,
) -> dict[str, Floats]:
    """Honest histories whose clients draw from bootstrap resamples of the images.

    They differ by as much as these images may differ from those of clients to come. `turned`: costs
    of honest images turned a little, for clients who send only such ones.
    """
    parts = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(0, len(costs), len(costs))
        each = max(1, clients // RESAMPLES)
        parts.append(traffic(costs[drawn], labels[drawn], each, queries, rng, drift=True))
        if len(turned):
            again = turned[rng.integers(0, len(turned), len(turned))]
            parts[-1]["turned"] = iid(again, each, queries, rng)
    return {kind: np.concatenate([part[kind] for part in parts]) for kind in parts[0]}


def steepest(
    make: Callable[[float], PriceList],
    terms: Terms,
    honest: Traffic,
    kappas: Floats = KAPPAS,
) -> tuple[PriceList, float]:
    """The price list with the largest kappa that honest clients can bear, and that kappa.

    Raises ValueError where there is none.
    """
    found: tuple[PriceList, float] | None = None
    low, high = 0, len(kappas)  # everything from `high` on is bearable
    while low < high:
        middle = (low + high) // 2
        prices = make(float(kappas[middle]))
        if all(_bears(prices, terms, history) for history in honest.values()):
            found, high = (prices, float(kappas[middle])), middle
        else:
            low = middle + 1
    if found is None:
        raise ValueError(
            f"honest clients would pay more than {OVERHEAD_P99} times the service time even at "
            f"kappa {kappas[-1]}"
        )
    return found


def fit(
    costs: Floats,
    labels: NDArray[np.int64],
    turned: Floats,
    terms: Terms,
    *,
    surprisal: bool,
    rng: np.random.Generator,
) -> dict[str, tuple[PriceList, dict[str, float]]]:
    """Price lists by name, with their constants, from honest costs and their labels.

    One half gives means and spreads, the other, unseen, decides about kappa. Tail scores need a
    `surprisal`. A rival that honest clients cannot bear at any kappa is left out.
    """
    turned_seen, turned_unseen = np.array_split(rng.permutation(turned), 2)
    order = rng.permutation(len(costs))
    seen, unseen = np.array_split(order, 2)
    kinds = traffic(costs[unseen], labels[unseen], CLIENTS, QUERIES, rng, drift=False)
    judges = {"as the gate": kinds}
    kinds = resampled(costs[unseen], labels[unseen], turned_unseen, CLIENTS, QUERIES, rng)
    longer = resampled(costs[unseen], labels[unseen], turned_unseen, CLIENTS, LONG_QUERIES, rng)
    judges["strict"] = kinds | {f"{kind}, long": history for kind, history in longer.items()}
    everyone = resampled(costs[seen], labels[seen], turned_seen, BAND_CLIENTS, GRID[-1], rng)
    ends = np.unique(np.linspace(1, len(seen), 11).astype(int))[1:]
    slope, intercept = np.polyfit(ends, np.cumsum(costs[seen])[ends - 1], 1)
    paper = Paper(PAPER_BASE, float(slope), float(intercept), terms.t_min, terms.t_max)
    mean = float(costs[seen].mean())
    found: dict[str, tuple[PriceList, dict[str, float]]] = {
        "paper": (PaperPrices(paper, mean), {"slope": float(slope), "intercept": float(intercept)})
    }
    for tail in (False, True) if surprisal else (False,):
        scores = np.maximum(costs[seen] - TAIL, 0.0) if tail else costs[seen]
        rate = Rate(
            honest=float(scores.mean()),
            spread=float(scores.std()),
            kappa=1.0,
            tolerance=TOLERANCE,
            z=Z,
            t_min=terms.t_min,
            t_max=terms.t_max,
        )
        named = "tail" if tail else "rate"
        windows = WindowPrices(rate, tail=tail)
        stricter = replace(windows, only_raising=True)
        quantiles = band(windows, everyone)
        banded = WindowPrices(rate, tail, GRID, quantiles, only_raising=True)
        reference, reached = levels(windows, everyone)
        cusum = CusumPrices(rate, reference, reached, tail=tail)
        facts = {"mean": rate.honest, "spread": rate.spread}
        rivals: list[tuple[str, WindowPrices | CusumPrices, str]] = [
            ("tail" if tail else "rate, fitted longer", stricter, "strict"),
            (f"{named}, band", banded, "strict"),
            (f"{named}, cusum", cusum, "strict"),
        ]
        if not tail:
            rivals.insert(0, (named, windows, "as the gate"))
        for name, candidate, judge in rivals:
            try:
                prices, kappa = steepest(
                    partial(_with_kappa, candidate),
                    terms,
                    judges[judge],
                    KAPPAS if judge == "as the gate" else STEEPNESSES,
                )
            except ValueError:
                if name == "rate":
                    raise
                continue
            found[name] = (prices, {**facts, "kappa": kappa})
            if isinstance(candidate, CusumPrices):
                found[name][1].update(reference=reference, reached=reached)
    return found


def band(prices: WindowPrices, honest: Traffic) -> tuple[tuple[float, ...], ...]:
    """Window means (windows, GRID) that BAND_QUANTILE of each kind of client stay under."""
    worst = np.zeros((len(WINDOWS), len(GRID)))
    windows = np.array(WINDOWS, dtype=np.float64)[:, None]
    for history in honest.values():
        scores = prices.scores(history)
        state, before = start_windows(len(scores)), 0
        for at, until in enumerate(GRID):
            state = count_windows(state, until - before, scores[:, before:until].sum(axis=1))
            means = state[2:] / (windows * (1 - (1 - 1 / windows) ** until))
            worst[:, at] = np.maximum(worst[:, at], np.quantile(means, BAND_QUANTILE, axis=1))
            before = until
    return tuple(tuple(float(limit) for limit in row) for row in worst)


def levels(prices: WindowPrices, honest: Traffic) -> tuple[float, float]:
    """Reference and threshold of a CUSUM.

    The mean that BAND_QUANTILE of each kind of client stay under, and the sum that as many of all
    batches of 64 do.
    """
    scores = [prices.scores(history) for history in honest.values()]
    reference = max(float(np.quantile(part.mean(axis=1), BAND_QUANTILE)) for part in scores)
    reached = 0.0
    for part in scores:
        sums = part.reshape(len(part), -1, 64).sum(axis=2) - 64 * reference
        level = np.zeros(len(part))
        levels = np.empty_like(sums)
        for at in range(sums.shape[1]):
            level = np.maximum(0.0, level + sums[:, at])
            levels[:, at] = level
        reached = max(reached, float(np.quantile(levels, BAND_QUANTILE)))
    return reference, reached


def _with_kappa(prices: WindowPrices | CusumPrices, kappa: float) -> PriceList:
    return replace(prices, policy=replace(prices.policy, kappa=kappa))


def _bears(prices: PriceList, terms: Terms, history: Floats) -> bool:
    sizes = SIZES if history.shape[1] <= QUERIES else SIZES[-1:]
    found = [overheads(prices, terms, history, size)[1].ravel() for size in sizes]
    return bool(np.quantile(np.concatenate(found), 0.99) <= OVERHEAD_P99)
