"""What a query costs, from recorded costs and without a network: policy x behaviour x accounts.

Costs of honest images come from splits that neither victim nor measure was trained on:
`calibration` fits the policies, `honest` plays honest users, `pool` an attacker that has the right
data. Foreign images are those that `python -m experiments measures` recorded. Every figure is
(service + work) / service, an attacker's over the queries it wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from core.learning import artifacts, datasets
from core.learning.drift import DRIFTS, drifted
from experiments.studies import HONEST, INSIDE, NATURAL, NEAR, NOISE, sources
from experiments.studies.price_attacks import Market, PaperPrices, Steering
from experiments.studies.sources import costs_file, model_name
from server import measures, model
from server.calibration import traffic
from server.calibration.fit import QUERIES, SIZES, fit, parts
from server.calibration.make import OVERHEAD_P99, PAPER_BASE, line
from server.calibration.traffic import Sample
from server.ledger import MAX_UNPAID
from server.pricing.paper import Paper
from server.pricing.vectorised import Floats, RatePrices, Terms, batches, overheads, play
from server.puzzles import BATCH

SHARES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Of filler among all queries."""

POOL_IMAGES = 4_000
TYPICAL_IMAGES = 100
"""Cheapest honest images that an attacker dilutes with: more than a ledger remembers."""

Prices = dict[str, RatePrices | PaperPrices]
Found = dict[str, float]
Figures = Callable[[Market], Found]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Queries: of an attacker over all its accounts, of a long history, of tricks and hoarders."""

    budget: int = 10_000
    long: int = 50_000
    tricks: int = 4_096
    hoarded: int = 320
    tiny: tuple[int, ...] = (1, 4, 16, 64)  # of an account, for attackers that open many
    steering: tuple[Steering, ...] = tuple(
        Steering(bearable, leave, size)
        for bearable in (1.0, 4.0, 32.0, 256.0)
        for leave in (False, True)
        for size in (4, 64)
    )
    hoarding: tuple[tuple[int, int], ...] = tuple(
        (size, at_once) for size in (1, 4, 16) for at_once in (1, MAX_UNPAID)
    )


@dataclass(frozen=True, slots=True)
class Costs:
    """Recorded costs (n,) per image, and labels where classes matter."""

    calibration: Sample
    honest: Sample
    foreign: Mapping[str, Floats]  # by source; the attacker's right data is INSIDE


def record(dataset: str, measure: str, seed: int, home: Path, data: Path | None) -> Costs:
    """Costs of this model's images, kept beside it.

    Raises ValueError where `experiments measures` has not been here, DatasetError, ArtifactError.
    """
    name = model_name(dataset, seed)
    file = costs_file(home, name, measure)
    if not file.exists():
        raise ValueError(
            f"{file} is missing; run `python -m experiments measures` for {dataset}, "
            f"measure {measure}, seed {seed}"
        )
    served = model.load(home, name, measure)
    recorded, meta = artifacts.load(file)
    if meta.get("model") != served.fingerprint:
        raise ValueError(f"{file} is of another model; run `python -m experiments measures` again")
    splits = datasets.load(dataset, home=home, data=data).splits
    honest = {
        "calibration": measures.reserve(measure, splits["calibration"])[1],
        "honest": splits["honest"],
    }
    rng = np.random.default_rng(seed)
    pictures = {INSIDE: splits["pool"].images[:POOL_IMAGES]}
    for key, split in honest.items():
        pictures[key] = split.images
        pictures |= {f"{key} {drift}": drifted(drift, split.images, rng) for drift in DRIFTS}
    kept = sources.costs(served, costs_file(home, name, measure, "costs-honest"), pictures)
    samples = {
        key: Sample(kept[key], split.labels, {drift: kept[f"{key} {drift}"] for drift in DRIFTS})
        for key, split in honest.items()
    }
    foreign = {key: cost for key, cost in recorded.items() if key not in (HONEST, *DRIFTS)}
    return Costs(**samples, foreign={**foreign, INSIDE: kept[INSIDE]})


def price_lists(
    seen: Sample, unseen: Sample, terms: Terms, rng: np.random.Generator
) -> tuple[Prices, dict[str, dict[str, float]]]:
    """Price lists and their constants by name: the gate's two, and each score of `rate` by itself.

    They are fitted as `calibrate` fits them. Raises TooNoisy where honest clients cannot bear
    `rate`.
    """
    slope, intercept = line(seen.costs)
    paper = Paper(PAPER_BASE, slope, intercept, terms.t_min, terms.t_max)
    rate = fit(seen, unseen, terms, OVERHEAD_P99, rng)
    found: Prices = {"paper": PaperPrices(paper, rate.scores[0].honest), "rate": RatePrices(rate)}
    constants = {
        "paper": {"slope": slope, "intercept": intercept},
        "rate": {f"kappa above {score.threshold:.4g}": score.kappa for score in rate.scores},
    }
    for name, score in zip(("cost", "tail"), rate.scores, strict=False):
        found[name] = RatePrices(replace(rate, scores=(score,)))
        constants[name] = {"mean": score.honest, "kappa": score.kappa}
    return found, constants


def simulate(
    costs: Costs, terms: Terms, *, entry: float, clients: int, seed: int, scale: Scale
) -> tuple[dict[str, dict[str, float]], list[dict[str, Any]]]:
    """The constants of each policy, and rows. Raises TooNoisy.

    `entry` is the entry work in service times, `clients` the number of each honest kind.
    """
    rng = np.random.default_rng(seed)
    seen, unseen, _ = parts(costs.calibration, rng)
    fitted, constants = price_lists(seen, unseen, terms, rng)
    markets = {name: Market(prices, terms) for name, prices in fitted.items()}
    rows: list[dict[str, Any]] = []
    for behaviour, accounts, figures in chain(
        honest_behaviours(costs, entry, clients, rng, scale),
        attacks_by_accounts(costs, entry, rng, scale),
        tricks(costs, rng, scale),
    ):
        # All policies see the same histories.
        values = {name: figures(market) for name, market in markets.items()}
        for figure in values["rate"]:
            own = {name: value[figure] for name, value in values.items()}
            about = {"behaviour": behaviour, "accounts": accounts, "figure": figure}
            rows.append({**about, "values": own})
    return constants, rows


def honest_behaviours(
    costs: Costs, entry: float, n: int, rng: np.random.Generator, scale: Scale
) -> Iterator[tuple[str, str, Figures]]:
    """What honest clients do, and what a bad batch does to them."""
    for queries, sizes in ((QUERIES, SIZES), (scale.long, (BATCH,))):
        for kind, history in traffic.kinds(costs.honest, n, queries, rng).items():
            yield f"honest {kind}", f"1 of {queries}", partial(_honest, history, sizes, entry)
    # A ledger counts an image once, so whoever repeats it goes on paying what the first one cost.
    once = traffic.iid(costs.honest.costs, 100 * n, 1, rng)
    yield "honest repeated image", "1 of any", partial(_honest, once, (1,), 0.0)
    for source in (NATURAL, NOISE):
        if source in costs.foreign:
            honest = traffic.iid(costs.honest.costs, n, 2 * scale.tricks, rng)
            bad = traffic.iid(costs.foreign[source], n, BATCH, rng)
            yield f"bad batch of {BATCH}, {source}", "1", partial(_recovery, honest, bad)


def attacks_by_accounts(
    costs: Costs, entry: float, rng: np.random.Generator, scale: Scale
) -> Iterator[tuple[str, str, Figures]]:
    """Foreign images, asked with one account or many, or after an honest past."""
    past = traffic.iid(costs.honest.costs, 20, scale.long, rng)
    for source, cost in costs.foreign.items():
        for accounts, columns in ((1, 20), (100, 200)):
            queries = scale.budget // accounts
            history = traffic.iid(cost, columns, queries, rng)
            yield source, f"{accounts} of {queries}", partial(_cheapest, history, 0.0, None)
        for queries in scale.tiny:
            history = traffic.iid(cost, 400, queries, rng)
            yield source, f"many of {queries}", partial(_cheapest, history, entry / queries, None)
        if source in (NATURAL, NEAR, NOISE, INSIDE):
            history = traffic.iid(cost, 20, scale.budget, rng)
            after = partial(_cheapest, history, 0.0, past)
            yield f"{source}, after {scale.long} honest", "1", after


def tricks(
    costs: Costs, rng: np.random.Generator, scale: Scale
) -> Iterator[tuple[str, str, Figures]]:
    """Filler, steering, retries and hoarding."""
    calm, shape = costs.honest.costs, (20, scale.tricks)
    for source in (NATURAL, NEAR, NOISE):
        if source not in costs.foreign:
            continue
        cost = costs.foreign[source]
        hoards = traffic.iid(cost, 5, scale.hoarded, rng)
        yield f"{source}, hoarding", "1", partial(_hoarding, hoards, scale)
        useful = traffic.iid(cost, *shape, rng)
        fillers = {
            "honest": traffic.iid(calm, *shape, rng),
            "typical images": traffic.iid(np.sort(calm)[:TYPICAL_IMAGES], *shape, rng),
            "images a little above the mean": np.full(shape, 1.02 * costs.calibration.costs.mean()),
        }
        for kind, filler in fillers.items():
            chance = rng.random(shape)  # the same for every policy
            yield f"{source}, filler: {kind}", "1", partial(_filler, useful, filler, chance)
            yield f"{source}, steering: {kind}", "1", partial(_steering, useful, filler, scale)
            yield f"{source}, retries: {kind}", "1", partial(_retries, useful, filler)


def _honest(history: Floats, sizes: Sequence[int], entry: float, market: Market) -> Found:
    found, clients = [], []
    for size in sizes:
        images, overhead = overheads(market.prices, market.terms, history, size)
        found.append(overhead.ravel())
        clients.append(np.average(overhead, axis=0, weights=images))
    median, p99 = np.quantile(np.concatenate(found), (0.5, 0.99))
    whole = np.quantile(np.concatenate(clients) + entry / history.shape[1], 0.99)
    values = {"median": median, "p99": p99, "p99 over clients, entry included": whole}
    return {name: float(value) for name, value in values.items()}


def _recovery(honest: Floats, bad: Floats, market: Market) -> Found:
    before, after = np.split(honest, 2, axis=1)
    queries = market.recovery(before, bad, after, 16)
    return {"queries, p99": float(np.quantile(queries, 0.99))}


def _cheapest(history: Floats, entry: float, past: Floats | None, market: Market) -> Found:
    """The mean overhead with the size of batch that suits the attacker best."""
    queries = history.shape[1]
    sizes = [size for size in (1, 4, 16, 64) if size <= queries <= 640 * size]
    state = None
    if past is not None:
        _, state = play(market.prices, *batches(market.prices.scores(past), BATCH))
    found = (market.mean_overhead(history, size, state) for size in sizes)
    return {"per query": min(found) + entry}


def _filler(useful: Floats, filler: Floats, chance: Floats, market: Market) -> Found:
    found = (market.filled(useful, filler, chance < share) for share in SHARES)
    return {"per useful query, paid": min(found)}


def _steering(useful: Floats, filler: Floats, scale: Scale, market: Market) -> Found:
    found = (market.steered(useful, filler, tactic) for tactic in scale.steering)
    return {"per useful query": min(found)}


def _retries(useful: Floats, filler: Floats, market: Market) -> Found:
    none = market.mean_overhead(useful, BATCH)
    left, later = market.unpaid(useful, filler), market.late(useful)
    return {"unpaid, ratio": left / none, "retried, ratio": later / none}


def _hoarding(useful: Floats, scale: Scale, market: Market) -> Found:
    paid, ratios = [], []
    for size, at_once in scale.hoarding:
        paid.append(market.late(useful, size, at_once, expired=True))
        ratios.append(paid[-1] / market.mean_overhead(useful, size))
    return {"per useful query": min(paid), "hoarded, ratio": min(ratios)}
