"""What attackers do to a price, as costs: filler, unpaid batches, retries, steering, hoarding.

Histories are costs (clients, queries); each function gives what a useful query came to, in service
times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.ledger import MAX_UNPAID
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
from server.puzzles import BATCH


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

    def late(
        self, useful: Floats, size: int = BATCH, at_once: int = MAX_UNPAID, *, expired: bool = False
    ) -> float:
        """Of attackers that ask for so many batches at once and pay for them afterwards.

        With `expired` they ask for everything so, pay nothing, and ask again once all challenges
        have expired: hoarders, each of whose queries is computed twice. What counts by then keeps
        its price (`server.ledger.rules`), the rest costs at least as much as before.
        """
        images, scores = batches(self.prices.scores(useful), size)
        state = start(scores.shape[-1], scores.shape[1])
        seconds = np.zeros((len(images), len(useful)))
        counted = np.zeros(seconds.shape, dtype=bool)
        for pays in (False, True) if expired else (True,):
            for first in range(0, len(images), at_once):
                group = range(len(images))[first : first + at_once]
                waiting = state
                for step in group:
                    batch, before = (images[step], scores[step]), counted[step]
                    alone, behind = count(state, *batch), count(waiting, *batch)
                    asked = np.maximum(self.prices.seconds(alone), self.prices.seconds(behind))
                    seconds[step] = np.where(
                        before, seconds[step], np.maximum(seconds[step], asked)
                    )
                    counts = ~before & self.prices.at_once(state, *batch)
                    waiting = np.where(before, waiting, behind)
                    state = np.where(counts, alone, state)
                    counted[step] |= counts
                for step in group if pays else ():
                    state = np.where(counted[step], state, count(state, images[step], scores[step]))
        computed = 1 + expired + self.terms.work(seconds)
        return float((np.array(images)[:, None] * computed).sum() / useful.size)

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
