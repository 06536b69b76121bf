"""The hoarder: asks while his account looks honest, pays nothing, and comes back for it all later.

He has foreign batches priced, leaves them until their challenges expire and they no longer wait for
payment, and goes on so until he has asked for everything. Then he retries every request id, and
pays what each costs by then. He is played against the gate's own ledger, under a clock that is
moved by hand: what he pays is what a gate would charge.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeVar

from experiments.prices.lists import PaperPrices
from pow.hashcash import CLOCK_SKEW
from server.ledger import DIGEST_BYTES, MAX_UNPAID, NANO, Batch, Charge, Ledger, Payment
from server.ledger.sqlite import SqliteLedger
from server.pricing import BATCH, PolicyTariff
from server.pricing.vectorised import Floats, PriceList, RatePrices, Terms
from server.puzzles import Puzzles

FLOOR = 1 << 20
"""Hashes that 64 images cost at t_min; any power of two says the same."""

DIGEST = bytes(32)
"""Of every request: no id is used for two."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Hoard:
    """How a hoarder asks."""

    size: int  # images a batch
    at_once: int  # batches open at a time, when he asks and when he retries


@dataclass(slots=True)
class MovedClock:
    """Unix seconds that only move when told to."""

    now: float = 1.8e9

    def __call__(self) -> float:
        return self.now


@dataclass(slots=True)
class Books:
    """A ledger that charges by a price list, and its clock."""

    ledger: Ledger
    tariff: PolicyTariff
    clock: MovedClock = field(default_factory=MovedClock)

    @classmethod
    def by(cls, prices: RatePrices | PaperPrices, terms: Terms) -> Books:
        """Empty books in memory. An account has paid its entry, or there is none."""
        tariff = PolicyTariff(prices.policy, FLOOR / terms.t_min, prices.honest, Puzzles("sha1"))
        clock = MovedClock()
        ledger = SqliteLedger(
            ":memory:", fingerprint="prices", tariff=tariff, clock=clock, retention=math.inf
        )
        return cls(ledger, tariff, clock)


def tactics() -> Iterator[Hoard]:
    """What is tried."""
    for size in (1, 4, 16):
        for at_once in (1, MAX_UNPAID):
            yield Hoard(size, at_once)


def hoarded(prices: RatePrices | PaperPrices, terms: Terms, useful: Floats, tactic: Hoard) -> float:
    """Service times for a useful query of hoarders, a row of `useful` (n, queries) each.

    Each query is computed twice: when it is asked, and when it is retried.
    """
    books = Books.by(prices, terms)
    try:
        return _played(books, prices, terms, useful, tactic)
    finally:
        books.ledger.close()


def _played(books: Books, prices: PriceList, terms: Terms, useful: Floats, tactic: Hoard) -> float:
    ledger, clock = books.ledger, books.clock
    costs = prices.scores(useful)[0]  # what the price list takes for the cost of an image
    batches = _batches(costs, tactic.size)
    asked = _groups(len(batches[0]), tactic.at_once)
    for group in asked:
        charges = _done(
            ledger.ask(f"thief-{thief}", f"{step}", DIGEST, mine[step])
            for step in group
            for thief, mine in enumerate(batches)
        )
        clock.now = max(charge.expires for charge in charges) + CLOCK_SKEW + 1
    spent = 0.0
    for group in asked:
        places = [(f"thief-{thief}", f"{step}") for step in group for thief in range(len(batches))]
        retried = _done(ledger.recall(client, request, DIGEST) for client, request in places)
        paid = []
        for (client, request), charge in zip(places, retried, strict=True):
            assert isinstance(charge, Charge)
            seconds = min(charge.work * BATCH / charge.images / books.tariff.rate, terms.t_max)
            spent += charge.images * (2 + seconds / terms.service)
            payment = Payment(ledger.books, request, DIGEST, charge.puzzle)
            paid.append(ledger.settle(client, payment))
        _done(paid)
    return spent / useful.size


def _batches(costs: Floats, size: int) -> list[list[Batch]]:
    """The batches of every thief; no image is ever shown twice."""
    found = []
    for row in costs:
        nano = [round(float(cost) * NANO) for cost in row]
        digests = [at.to_bytes(DIGEST_BYTES, "big") for at in range(len(nano))]
        found.append(
            [
                Batch(tuple(nano[at : at + size]), tuple(digests[at : at + size]))
                for at in range(0, len(nano), size)
            ]
        )
    return found


def _groups(steps: int, at_once: int) -> list[range]:
    return [range(at, min(at + at_once, steps)) for at in range(0, steps, at_once)]


def _done(futures: Iterable[Future[_T]]) -> list[_T]:
    """What was submitted at once, answered."""
    return [future.result() for future in list(futures)]
