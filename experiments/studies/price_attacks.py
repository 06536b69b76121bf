"""What attackers do to a price, as costs: filler, unpaid batches, retries, steering, hoarding.

Histories are costs (clients, queries); each function gives what a useful query came to, in service
times. A hoarder asks while its account looks honest, pays nothing, and comes back for everything
once the challenges have expired: it is played against the gate's own ledger, under a clock that is
moved by hand.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pow.hashcash import CLOCK_SKEW
from server.ledger import DIGEST_BYTES, MAX_UNPAID, NANO, Batch, Charge, Payment
from server.ledger.sqlite import SqliteLedger
from server.pricing import PolicyTariff
from server.pricing.paper import Paper
from server.pricing.vectorised import (
    COST,
    COUNTED,
    Floats,
    Prices,
    RatePrices,
    Terms,
    batches,
    count,
    overheads,
    play,
    rounded,
    start,
)
from server.puzzles import BATCH, Puzzles

FLOOR = 1 << 20
"""Hashes that 64 images cost at t_min; any power of two says the same."""

DIGEST = bytes(32)
"""Of every request: no id is used for two."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class PaperPrices(Prices):
    """`server.pricing.Paper`, for every column."""

    policy: Paper
    honest: float

    def scores(self, costs: Floats) -> Floats:
        return costs[None]

    def excess(self, state: Floats) -> Floats:
        line = self.policy.slope * state[COUNTED] + self.policy.intercept
        distance: Floats = np.abs(state[COST] - line)
        return distance

    def seconds(self, state: Floats) -> Floats:
        exponent = self.excess(state) * math.log(self.policy.base)
        seconds = np.exp(np.minimum(exponent, math.log(self.policy.t_max)))
        clipped: Floats = np.clip(seconds, self.policy.t_min, self.policy.t_max)
        return clipped


@dataclass(frozen=True, slots=True)
class Steering:
    """How an attacker reacts to prices: useful queries while the last is at most `bearable`.

    Else filler, until it is. With `leave`, a useful batch whose own price is above that is left
    unpaid, and its answer never read, as long as the ledger allows: MAX_UNPAID batches of an
    account, whose challenges stay open longer than all its queries take.
    """

    bearable: float  # in t_min
    leave: bool
    size: int  # images a batch


@dataclass(frozen=True, slots=True)
class Market:
    """A price list, and the terms on which its seconds become service times."""

    prices: RatePrices | PaperPrices
    terms: Terms

    def mean_overhead(self, history: Floats, size: int, state: Floats | None = None) -> float:
        """(service + work) / service over all queries of all clients."""
        images, found = overheads(self.prices, self.terms, history, size, state=state)
        return float(np.average(found.mean(axis=1), weights=images))

    def filled(self, useful: Floats, filler: Floats, fill: NDArray[np.bool_]) -> float:
        """With filler in the places of `fill` (n, queries); all is paid, in batches of 64."""
        images, found = overheads(self.prices, self.terms, np.where(fill, filler, useful), BATCH)
        return float((found * np.array(images)[:, None]).sum() / (~fill).sum())

    def unpaid(self, useful: Floats, filler: Floats) -> float:
        """With a batch of filler that is never paid before each of 64."""
        images, wanted = batches(self.prices.scores(useful), BATCH)
        _, noise = batches(self.prices.scores(filler), BATCH)
        scores = np.stack([noise, wanted], axis=1).reshape(-1, *wanted.shape[1:])
        sizes = np.repeat(images, 2)
        paid = np.zeros((len(sizes), wanted.shape[-1]), dtype=bool)
        paid[1::2] = True
        seconds, _ = play(self.prices, [int(size) for size in sizes], scores, paid=paid)
        total = float((sizes[:, None] * (1 + paid * self.terms.work(seconds))).sum())
        return total / float((sizes[:, None] * paid).sum())

    def delayed(self, useful: Floats) -> float:
        """Of attackers that ask as many batches as may be unpaid, then retry and pay.

        A row keeps the work it was first asked for, so a retry costs what the account looked like
        then; that is no less than with the earlier ones counted, paid or not.
        """
        images, scores = batches(self.prices.scores(useful), BATCH)
        state = start(scores.shape[-1], scores.shape[1])
        spent = 0.0
        for first in range(0, len(images), MAX_UNPAID):
            group = range(first, min(first + MAX_UNPAID, len(images)))
            counted = []
            waiting = state
            for step in group:
                counting = count(state, images[step], scores[step])
                waiting = count(waiting, images[step], scores[step])
                asked = np.maximum(self.prices.seconds(counting), self.prices.seconds(waiting))
                spent += float((images[step] * (1 + self.terms.work(asked))).sum())
                counted.append(self.prices.at_once(state, images[step], scores[step]))
                state = np.where(counted[-1], counting, state)
            for step, before in zip(group, counted, strict=True):
                counting = count(state, images[step], scores[step])
                state = np.where(before, state, counting)
        return spent / float(sum(images) * scores.shape[-1])

    def steered(self, useful: Floats, filler: Floats, tactic: Steering) -> float:
        """Of attackers that read the price; inf where they get nothing.

        A row of `useful` and `filler` is an attacker; it goes on for the whole history.
        """
        _, wanted = batches(self.prices.scores(useful), tactic.size)
        _, calm = batches(self.prices.scores(filler), tactic.size)
        limit = tactic.bearable * self.terms.t_min
        attackers = wanted.shape[-1]
        state = start(attackers, wanted.shape[1])
        last = np.full(attackers, self.terms.t_min)
        spent = got = 0.0
        open_batches = np.zeros(attackers)
        for want, fill in zip(wanted, calm, strict=True):
            tries = last <= limit
            score = np.where(tries, want, fill)
            counting = count(state, tactic.size, score)
            asked = rounded(self.prices.seconds(counting), self.terms.t_min, self.terms.t_max)
            left = tries & (asked > limit) & (open_batches < MAX_UNPAID) & tactic.leave
            open_batches += left
            counts = ~left | self.prices.at_once(state, tactic.size, score)
            state = np.where(counts, counting, state)
            spent += float((1 + np.where(left, 0.0, asked / self.terms.service)).sum())
            got += float((tries & ~left).sum())
            last = asked
        return spent / got if got else float("inf")

    def recovery(self, before: Floats, bad: Floats, after: Floats, size: int) -> Floats:
        """Honest queries (n,) after one bad batch until the overhead is at most 2 for good.

        Within `after`; clients that do not get there have all its queries.
        """
        _, state = play(self.prices, *batches(self.prices.scores(before), BATCH))
        _, state = play(self.prices, *batches(self.prices.scores(bad), bad.shape[1]), state=state)
        images, found = overheads(self.prices, self.terms, after, size, state=state)
        expensive = found > 2
        last = len(images) - np.argmax(expensive[::-1], axis=0)
        return np.where(expensive.any(axis=0), np.minimum(last, len(images)), 0) * float(size)

    def hoarded(self, useful: Floats, size: int, at_once: int) -> float:
        """Of hoarders, a row of `useful` each, with so many batches of `size` open at a time.

        Each query is computed twice: when it is asked, and when it is retried. An account has paid
        its entry, or there is none.
        """
        now = [1.8e9]  # Unix seconds that only move when told to
        tariff = PolicyTariff(
            self.prices.policy, FLOOR / self.terms.t_min, self.prices.honest, Puzzles("sha1")
        )
        ledger = SqliteLedger(
            ":memory:",
            fingerprint="prices",
            tariff=tariff,
            clock=lambda: now[0],
            retention=math.inf,
        )
        costs = self.prices.scores(useful)[0]  # what the price list takes for the cost of an image
        hoards = [_cut(row, size) for row in costs]
        steps = range(len(hoards[0]))
        groups = [steps[at : at + at_once] for at in range(0, len(steps), at_once)]
        spent = 0.0
        try:
            for group in groups:
                charges = _done(
                    ledger.ask(f"{who}", f"{step}", DIGEST, hoard[step])
                    for step in group
                    for who, hoard in enumerate(hoards)
                )
                now[0] = max(charge.expires for charge in charges) + CLOCK_SKEW + 1
            for group in groups:
                places = [(f"{who}", f"{step}") for step in group for who in range(len(hoards))]
                retried = _done(ledger.recall(who, step, DIGEST) for who, step in places)
                paid = []
                for (who, step), charge in zip(places, retried, strict=True):
                    assert isinstance(charge, Charge)
                    seconds = min(
                        charge.work * BATCH / charge.images / tariff.rate, self.terms.t_max
                    )
                    spent += charge.images * (2 + seconds / self.terms.service)
                    payment = Payment(ledger.books, step, DIGEST, charge.puzzle)
                    paid.append(ledger.settle(who, payment))
                _done(paid)
        finally:
            ledger.close()
        return spent / useful.size


def _cut(costs: Floats, size: int) -> list[Batch]:
    """The batches of one attacker; no image is ever shown twice."""
    nano = [round(float(cost) * NANO) for cost in costs]
    digests = [at.to_bytes(DIGEST_BYTES, "big") for at in range(len(nano))]
    starts = range(0, len(nano), size)
    return [Batch(tuple(nano[at : at + size]), tuple(digests[at : at + size])) for at in starts]


def _done(futures: Iterable[Future[_T]]) -> list[_T]:
    """What was submitted at once, answered."""
    return [future.result() for future in list(futures)]
