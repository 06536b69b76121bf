"""What clients send a gate, as costs: honest ones of several kinds, and thieves with their tricks.

Everything is drawn with replacement from recorded costs per image. Honest behaviours return costs
(clients, queries); a thief's tricks return what a useful query came to, in service times.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.price_lists import Floats, PriceList, play, rounded
from server.pricing import BATCH

SKEW = 1.0
"""Dirichlet concentration of the class mix of a skewed client: 1 makes every mix equally likely."""

DRIFT = 0.1
"""Standard deviation of the factor by which a drifted client's costs differ from the rest."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What turns seconds of work into multiples of the service time. Seconds are per 64 images."""

    service: float
    t_min: float
    t_max: float

    def work(self, seconds: Floats) -> Floats:
        """Work in service times, rounded up as a gate does."""
        return rounded(seconds, self.t_min, self.t_max) / self.service


def iid(costs: Floats, clients: int, queries: int, rng: np.random.Generator) -> Floats:
    """Clients that all draw from the same images."""
    drawn: Floats = costs[rng.integers(0, len(costs), (clients, queries))]
    return drawn


def skewed(
    costs: Floats,
    labels: NDArray[np.int64],
    clients: int,
    queries: int,
    rng: np.random.Generator,
) -> Floats:
    """Clients that each have a class mix of their own, drawn from a Dirichlet distribution."""
    classes = [costs[labels == label] for label in np.unique(labels)]
    sizes = np.array([len(part) for part in classes])
    starts = np.cumsum(sizes) - sizes
    ordered = np.concatenate(classes)
    out = np.empty((clients, queries))
    for client in range(clients):
        mix = rng.dirichlet(np.full(len(classes), SKEW))
        which = rng.choice(len(classes), size=queries, p=mix)
        out[client] = ordered[starts[which] + rng.integers(0, sizes[which])]
    return out


def drifted(costs: Floats, clients: int, queries: int, rng: np.random.Generator) -> Floats:
    """Clients whose images all cost more, or less, than others' by a factor of their own."""
    factor = np.maximum(0.0, 1 + DRIFT * rng.standard_normal((clients, 1)))
    return iid(costs, clients, queries, rng) * factor


def repeated(costs: Floats, clients: int, queries: int, rng: np.random.Generator) -> Floats:
    """Clients that send one image again and again, each its own."""
    return np.repeat(iid(costs, clients, 1, rng), queries, axis=1)


def mixed(honest: Floats, foreign: Floats, share: float, rng: np.random.Generator) -> Floats:
    """Histories in which each query is foreign with chance `share`: a thief among many users."""
    return np.where(rng.random(honest.shape) < share, foreign, honest)


def batches(scores: Floats, size: int) -> tuple[list[int], Floats]:
    """Images (t,) and summed scores (t, n) of histories (n, queries) cut into batches."""
    queries = scores.shape[1]
    starts = np.arange(0, queries, size)
    images = [min(size, queries - int(start)) for start in starts]
    return images, np.add.reduceat(scores, starts, axis=1).T.copy()


def overheads(
    prices: PriceList,
    terms: Terms,
    history: Floats,
    size: int,
    *,
    state: Floats | None = None,
) -> tuple[list[int], Floats]:
    """(service + work) / service (t, n) of each batch of clients that pay, and the images (t,)."""
    images, scores = batches(prices.scores(history), size)
    seconds, _ = play(prices, images, scores, state=state)
    return images, 1 + terms.work(seconds)


def mean_overhead(
    prices: PriceList,
    terms: Terms,
    history: Floats,
    size: int,
    *,
    state: Floats | None = None,
) -> float:
    """(service + work) / service over all queries of all clients."""
    images, found = overheads(prices, terms, history, size, state=state)
    return float(np.average(found.mean(axis=1), weights=images))


def filled(
    prices: PriceList,
    terms: Terms,
    useful: Floats,
    filler: Floats,
    share: float,
    size: int,
    rng: np.random.Generator,
) -> float:
    """Service times for a useful query, where `share` of all queries is filler, and all is paid.

    `useful` and `filler` are histories of one shape; filler is mixed into every batch.
    """
    fill = rng.random(useful.shape) < share
    images, found = overheads(prices, terms, np.where(fill, filler, useful), size)
    return float((found * np.array(images)[:, None]).sum() / (~fill).sum())


def unpaid(
    prices: PriceList, terms: Terms, useful: Floats, filler: Floats, each: int, size: int
) -> float:
    """Service times for a useful query, with `each` batches of filler, never paid, before each."""
    images, wanted = batches(prices.scores(useful), size)
    _, noise = batches(prices.scores(filler), size)
    steps = len(images) * (each + 1)
    scores, sizes = np.empty((steps, wanted.shape[1])), []
    paid = np.zeros((steps, wanted.shape[1]), dtype=bool)
    for at in range(steps):
        mine = at % (each + 1) == each
        source = wanted if mine else noise
        scores[at], paid[at] = source[at // (each + 1)], mine
        sizes.append(images[at // (each + 1)])
    seconds, _ = play(prices, sizes, scores, paid=paid)
    weights = np.array(sizes)[:, None]
    total = float((weights * (1 + paid * terms.work(seconds))).sum())
    return total / float((weights * paid).sum())


def delayed(prices: PriceList, terms: Terms, useful: Floats, at_once: int, size: int) -> float:
    """Service times for a useful query of thieves that ask `at_once` batches, then retry and pay.

    A row keeps the work it was first asked for, so a retry costs what the account looked like then:
    with those of the earlier ones that did not count at once not yet counted.
    """
    images, scores = batches(prices.scores(useful), size)
    state = prices.start(scores.shape[1])
    spent = 0.0
    for start in range(0, len(images), at_once):
        group = range(start, min(start + at_once, len(images)))
        counted = []
        for step in group:
            counting = prices.counting(state, images[step], scores[step])
            spent += float((images[step] * (1 + terms.work(prices.seconds(counting)))).sum())
            counted.append(prices.at_once(state, images[step], scores[step]))
            state = np.where(counted[-1], counting, state)
        for step, before in zip(group, counted, strict=True):
            counting = prices.counting(state, images[step], scores[step])
            state = np.where(before, state, counting)
    return spent / float(sum(images) * scores.shape[1])


@dataclass(frozen=True, slots=True)
class Steering:
    """How a thief reacts to prices: useful queries while the last price is at most `bearable`.

    Else filler, until it is. With `leave`, a useful batch whose own price is above that is left
    unpaid, too: its answer is never read.
    """

    bearable: float  # in t_min
    leave: bool
    size: int  # images a batch


def tactics() -> Iterator[Steering]:
    """What is tried."""
    for bearable in (1.0, 4.0, 32.0, 256.0):
        for leave in (False, True):
            for size in (4, 64):
                yield Steering(bearable, leave, size)


def steered(
    prices: PriceList, terms: Terms, useful: Floats, filler: Floats, tactic: Steering
) -> float:
    """Service times for a useful query of thieves that read the price; inf where they get none.

    A column of `useful` and `filler` is a thief; it goes on for the whole history.
    """
    _, wanted = batches(prices.scores(useful), tactic.size)
    _, calm = batches(prices.scores(filler), tactic.size)
    limit = tactic.bearable * terms.t_min
    state = prices.start(wanted.shape[1])
    last = np.full(wanted.shape[1], terms.t_min)
    spent = got = 0.0
    for want, fill in zip(wanted, calm, strict=True):
        tries = last <= limit
        score = np.where(tries, want, fill)
        counting = prices.counting(state, tactic.size, score)
        asked = rounded(prices.seconds(counting), terms.t_min, terms.t_max)
        left = tries & (asked > limit) if tactic.leave else np.zeros_like(tries)
        counts = ~left | prices.at_once(state, tactic.size, score)
        state = np.where(counts, counting, state)
        spent += float((1 + np.where(left, 0.0, asked / terms.service)).sum())
        got += float((tries & ~left).sum())
        last = asked
    return spent / got if got else float("inf")


def recovery(
    prices: PriceList, terms: Terms, before: Floats, bad: Floats, after: Floats, size: int
) -> Floats:
    """Honest queries (n,) after one bad batch until the overhead is at most 2 for good.

    Within `after`; clients that do not get there have all its queries.
    """
    images, scores = batches(prices.scores(before), BATCH)
    _, state = play(prices, images, scores)
    images, scores = batches(prices.scores(bad), bad.shape[1])
    _, state = play(prices, images, scores, state=state)
    images, found = overheads(prices, terms, after, size, state=state)
    dear = found > 2
    last = len(images) - np.argmax(dear[::-1], axis=0)
    return np.where(dear.any(axis=0), np.minimum(last, len(images)), 0) * float(size)
