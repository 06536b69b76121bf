"""What a query costs, from recorded costs and without a network: policy x behaviour x accounts.

Costs of honest images come from splits that neither victim nor measure was trained on:
`calibration` fits the policies, `honest` plays honest users, `pool` a thief who has the right data.
Foreign images are those that `python -m experiments measures` recorded. Every figure is
(service + work) / service, a thief's over the queries it wanted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.learning import artifacts, datasets
from core.learning.drift import DRIFTS, drifted
from experiments.measures import costs_file, costs_of, model_name
from experiments.prices import fit as price_fit
from experiments.prices import hoarder
from experiments.prices import traffic as price_traffic
from experiments.prices.lists import PaperPrices
from experiments.prices.tables import (
    ACCOUNTS,
    BUDGET,
    INSIDE,
    LONG,
    NATURAL,
    NEAR,
    NOISE,
    TINY,
    Row,
    goals,
)
from server import measures, model
from server.calibration import traffic
from server.calibration.fit import QUERIES, SIZES, parts
from server.calibration.make import CAP
from server.calibration.targets import SERVICE_SHARE
from server.calibration.traffic import Sample
from server.ledger import MAX_UNPAID
from server.pricing import BATCH
from server.pricing.vectorised import Floats, PriceList, RatePrices, Terms, batches, overheads, play

_LOG = logging.getLogger(__name__)

SHARES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
BLOCKS = ((32, 96), (64, 64), (64, 128), (64, 192), (128, 128), (512, 512))
"""Useful images in a row, and filler in a row after them."""

POOL_IMAGES = 4_000
TRICK_QUERIES = 4_096
"""Queries of a thief with a trick."""

READERS = 200
"""Thieves who read prices."""

HOARDERS, HOARDED = 5, 320
"""Thieves who let what they asked expire, and queries of each."""

RECORDED_HONEST = "in-distribution"
TYPICAL_IMAGES = 100
"""Cheapest honest images that a thief dilutes with: more than a ledger remembers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to simulate."""

    dataset: str
    measure: str
    seed: int
    service: float  # seconds per 64 images
    entry: float  # entry work, in prices of one honest query
    clients: int
    home: Path
    data: Path | None

    def __post_init__(self) -> None:
        """Raises ValueError for what cannot be simulated."""
        measures.parse(self.measure)
        for name in ("service", "entry"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0) or (name == "service" and value == 0):
                raise ValueError(f"--{name} is {value}; expected a finite number above 0")
        if self.clients < 10:
            raise ValueError(f"--clients is {self.clients}; expected at least 10")
        if self.seed < 0:
            raise ValueError(f"--seed is {self.seed}; expected a number from 0")

    @property
    def terms(self) -> Terms:
        """The design's: a floor of a quarter of the service time, a cap of 8 000 floors."""
        t_min = SERVICE_SHARE * self.service
        return Terms(self.service, t_min, CAP * t_min)


@dataclass(frozen=True, slots=True)
class Costs:
    """Recorded costs (n,) per image, and labels where classes matter."""

    calibration: Sample
    honest: Sample
    foreign: Mapping[str, Floats]  # by source; the thief's right data is INSIDE


def record(plan: Plan) -> Costs:
    """Costs of this model's images, kept beside it.

    Raises ValueError where `experiments measures` has not been here, DatasetError, ArtifactError.
    """
    name = model_name(plan.dataset, plan.seed)
    file = costs_file(plan.home, name, plan.measure)
    if not file.exists():
        raise ValueError(
            f"{file} is missing; run `python -m experiments measures` for {plan.dataset}, "
            f"measure {plan.measure}, seed {plan.seed}"
        )
    prepared = model.load(plan.home, name, plan.measure)
    arrays, meta = artifacts.load(file)
    if meta.get("model") != prepared.fingerprint:
        raise ValueError(f"{file} is of another model; run `python -m experiments measures` again")
    splits = datasets.load(plan.dataset, home=plan.home, data=plan.data).splits
    calibration = measures.reserve(plan.measure, splits["calibration"])[1]
    honest = splits["honest"]
    own = file.with_name(file.name.replace("costs-", "costs-honest-"))
    if not own.exists() or artifacts.load(own)[1].get("model") != prepared.fingerprint:
        victim, rng = prepared.victim, np.random.default_rng(plan.seed)
        pools = {INSIDE: splits["pool"].images[:POOL_IMAGES]}
        for key, split in (("calibration", calibration), ("honest", honest)):
            pools[key] = split.images
            for drift in DRIFTS:
                pools[f"{key} {drift}"] = drifted(drift, split.images, rng)
        found = {key: costs_of(prepared.measure, victim, images) for key, images in pools.items()}
        try:
            artifacts.save(own, found, {"kind": "costs", "model": prepared.fingerprint})
        except artifacts.ArtifactError as error:
            _LOG.warning("costs are computed anew every time: %s", error)
        kept = found
    else:
        kept, _ = artifacts.load(own)
    samples = {
        key: Sample(kept[key], split.labels, {drift: kept[f"{key} {drift}"] for drift in DRIFTS})
        for key, split in (("calibration", calibration), ("honest", honest))
    }
    foreign = {
        source: cost
        for source, cost in arrays.items()
        if source != RECORDED_HONEST and source not in DRIFTS
    }
    return Costs(**samples, foreign={**foreign, INSIDE: kept[INSIDE]})


def simulate(plan: Plan, costs: Costs) -> dict[str, Any]:
    """Policies with their constants, rows, and goals. Raises ValueError."""
    rng = np.random.default_rng(plan.seed)
    seen, unseen, _ = parts(costs.calibration, rng)
    fitted = price_fit.price_lists(seen, unseen, plan.terms, rng=rng)
    rows: list[Row] = []
    for behaviour, accounts, figures in behaviours(plan, costs, rng):
        values = {name: figures(prices) for name, (prices, _) in fitted.items()}
        for figure in next(iter(values.values())):
            own = {name: value[figure] for name, value in values.items() if figure in value}
            rows.append(Row(behaviour, accounts, figure, own))
    return {
        "dataset": plan.dataset,
        "measure": plan.measure,
        "seed": plan.seed,
        "entry": plan.entry,
        "service": plan.service,
        "policies": {name: constants for name, (_, constants) in fitted.items()},
        "goals": goals(rows),
        "rows": [asdict(row) for row in rows],
    }


Figures = Callable[[PriceList], dict[str, float]]


def behaviours(
    plan: Plan, costs: Costs, rng: np.random.Generator
) -> Iterator[tuple[str, str, Figures]]:
    """Behaviour, accounts, and what computes its figures; all policies see the same histories."""
    yield from honest_behaviours(plan, costs, rng)
    terms = plan.terms
    for source, cost in costs.foreign.items():
        for accounts in ACCOUNTS:
            queries = BUDGET // accounts
            history = traffic.iid(cost, _columns(accounts), queries, rng)
            yield source, f"{accounts} of {queries}", _cheapest(terms, history)
        for queries in TINY:
            history = traffic.iid(cost, 400, queries, rng)
            entry = plan.entry * SERVICE_SHARE / queries
            yield source, f"many of {queries}", _cheapest(terms, history, entry=entry)
    past = traffic.iid(costs.honest.costs, 20, LONG, rng)
    for source in (NATURAL, NEAR, NOISE, INSIDE):
        if source not in costs.foreign:
            continue
        cost = costs.foreign[source]
        history = traffic.iid(cost, 20, BUDGET, rng)
        yield f"{source}, after {LONG} honest", "1", _after(terms, past, history)
        for accounts in (1, 100):
            named = f"{accounts} of {BUDGET // accounts}"
            drawn = traffic.iid(cost, _columns(accounts), BUDGET // accounts, rng)
            yield f"{source}, lowest cost first", named, _cheapest(terms, np.sort(drawn, axis=1))
            tenth = np.sort(cost)[: max(1, len(cost) // 10)]
            drawn = traffic.iid(tenth, _columns(accounts), BUDGET // accounts, rng)
            yield f"{source}, cheapest tenth only", named, _cheapest(terms, drawn)
        if source == INSIDE:
            continue
        hoards = traffic.iid(cost, HOARDERS, HOARDED, np.random.default_rng(plan.seed))
        yield f"{source}, hoarding", "1", _hoarding(terms, hoards)
        useful = traffic.iid(cost, 20, TRICK_QUERIES, rng)
        fillers = {
            "honest": traffic.iid(costs.honest.costs, 20, TRICK_QUERIES, rng),
            "typical images": traffic.iid(
                np.sort(costs.honest.costs)[:TYPICAL_IMAGES], 20, TRICK_QUERIES, rng
            ),
            "images a little dear": np.full(useful.shape, 1.02 * np.mean(costs.calibration.costs)),
        }
        for kind, filler in fillers.items():
            yield f"{source}, filler: {kind}", "1", _filler(terms, useful, filler, rng)
            yield f"{source}, steering, filler: {kind}", "1", _steering(terms, useful, filler)
            yield f"{source}, retries, filler: {kind}", "1", _retries(terms, useful, filler)
    for source in (INSIDE, NATURAL, NEAR):
        if source in costs.foreign:
            yield from reading_behaviours(terms, costs, source, rng)


def reading_behaviours(
    terms: Terms, costs: Costs, source: str, rng: np.random.Generator
) -> Iterator[tuple[str, str, Figures]]:
    """Thieves who have as many batches priced as may stay unpaid, and pay for none."""
    for paid in (0, QUERIES):
        past = traffic.iid(costs.honest.costs, READERS, paid, rng)
        for size in (1, BATCH):
            quoted = traffic.iid(costs.foreign[source], READERS, MAX_UNPAID * size, rng)

            def figures(
                prices: PriceList, past: Floats = past, quoted: Floats = quoted, size: int = size
            ) -> dict[str, float]:
                found = price_traffic.reading(prices, terms, past, quoted, size)
                return {"rank correlation": found}

            kind = f"{source}, reading prices of {size} after {paid} honest"
            yield kind, f"{READERS} of {MAX_UNPAID * size}", figures


def honest_behaviours(
    plan: Plan, costs: Costs, rng: np.random.Generator
) -> Iterator[tuple[str, str, Figures]]:
    """What honest clients do, and what is done to them."""
    n, terms, entry = plan.clients, plan.terms, plan.entry * SERVICE_SHARE
    for queries in (QUERIES, LONG):
        for kind, history in traffic.kinds(costs.honest, n, queries, rng).items():
            sizes = SIZES if queries == QUERIES else (BATCH,)
            yield f"honest {kind}", f"1 of {queries}", _honest(terms, history, sizes, entry)
    foreign = costs.foreign
    # A ledger counts an image once, so whoever repeats it goes on paying what the first one cost.
    once = traffic.iid(costs.honest.costs, 100 * n, 1, rng)
    yield "honest repeated image", "1 of any", _honest(terms, once, (1,), 0.0)
    for source in (NATURAL, NOISE):
        if source not in foreign:
            continue
        honest = traffic.iid(costs.honest.costs, n, 8192, rng)
        for share in (0.01, 0.1):
            both = price_traffic.mixed(
                honest, traffic.iid(foreign[source], n, 8192, rng), share, rng
            )
            kind = f"shared key, {share:.0%} {source}"
            yield kind, "1 of 8192", _honest(terms, both, (16,), entry)
        for size in (64, 256):
            bad = traffic.iid(foreign[source], n, size, rng)
            yield f"bad batch of {size}, {source}", "1", _recovery(terms, honest, bad)


def _columns(accounts: int) -> int:
    return {1: 20, 10: 60}.get(accounts, 200)


def _cheapest(terms: Terms, history: Floats, *, entry: float = 0.0) -> Figures:
    """The mean overhead with the size of batch that suits the thief best."""
    queries = history.shape[1]
    sizes = [size for size in (1, 4, 16, 64) if size <= queries and queries / size <= 640]

    def figures(prices: PriceList) -> dict[str, float]:
        found = (price_traffic.mean_overhead(prices, terms, history, size) for size in sizes)
        return {"per query": min(found) + entry}

    return figures


def _after(terms: Terms, past: Floats, history: Floats) -> Figures:
    def figures(prices: PriceList) -> dict[str, float]:
        images, scores = batches(prices.scores(past), BATCH)
        _, state = play(prices, images, scores)
        found = (
            price_traffic.mean_overhead(prices, terms, history, size, state=state)
            for size in (16, 64)
        )
        return {"per query": min(found)}

    return figures


def _honest(terms: Terms, history: Floats, sizes: Sequence[int], entry: float) -> Figures:
    def figures(prices: PriceList) -> dict[str, float]:
        found, clients = [], []
        for size in sizes:
            images, overhead = overheads(prices, terms, history, size)
            found.append(overhead.ravel())
            clients.append(np.average(overhead, axis=0, weights=images))
        median, p99 = np.quantile(np.concatenate(found), (0.5, 0.99))
        with_entry = np.concatenate(clients) + entry / history.shape[1]
        whole = np.quantile(with_entry, 0.99)
        return {
            "median": float(median),
            "p99": float(p99),
            "p99 over clients, entry included": float(whole),
        }

    return figures


def _recovery(terms: Terms, honest: Floats, bad: Floats) -> Figures:
    def figures(prices: PriceList) -> dict[str, float]:
        queries = price_traffic.recovery(prices, terms, honest[:, :4096], bad, honest[:, 4096:], 16)
        return {"queries, p99": float(np.quantile(queries, 0.99))}

    return figures


def _filler(terms: Terms, useful: Floats, filler: Floats, rng: np.random.Generator) -> Figures:
    seed = int(rng.integers(2**32))

    def figures(prices: PriceList) -> dict[str, float]:
        own = np.random.default_rng(seed)  # the same for every policy
        best = {
            share: price_traffic.filled(
                prices, terms, useful, filler, own.random(useful.shape) < share, BATCH
            )
            for share in SHARES
        }
        share = min(best, key=lambda share: best[share])
        in_blocks = min(
            price_traffic.filled(
                prices, terms, useful, filler, price_traffic.blocks(useful.shape, *block), size
            )
            for block in BLOCKS
            for size in (8, BATCH)
        )
        return {
            "per useful query, paid": best[share],
            "best share": share,
            "per useful query, paid, in blocks": in_blocks,
        }

    return figures


def _steering(terms: Terms, useful: Floats, filler: Floats) -> Figures:
    def figures(prices: PriceList) -> dict[str, float]:
        found = (
            price_traffic.steered(prices, terms, useful, filler, tactic)
            for tactic in price_traffic.tactics()
        )
        return {"per useful query": min(found)}

    return figures


def _retries(terms: Terms, useful: Floats, filler: Floats) -> Figures:
    def figures(prices: PriceList) -> dict[str, float]:
        none = price_traffic.mean_overhead(prices, terms, useful, BATCH)
        left = price_traffic.unpaid(prices, terms, useful, filler, 1, BATCH)
        later = price_traffic.delayed(prices, terms, useful, MAX_UNPAID, BATCH)
        return {"unpaid, ratio": left / none, "retried, ratio": later / none}

    return figures


def _hoarding(terms: Terms, useful: Floats) -> Figures:
    def figures(prices: PriceList) -> dict[str, float]:
        if not isinstance(prices, RatePrices | PaperPrices):
            return {}  # no gate can charge by it
        paid, ratios = [], []
        for tactic in hoarder.tactics():
            paid.append(hoarder.hoarded(prices, terms, useful, tactic))
            directly = price_traffic.mean_overhead(prices, terms, useful, tactic.size)
            ratios.append(paid[-1] / directly)
        return {"per useful query": min(paid), "hoarded, ratio": min(ratios)}

    return figures
