"""What thieves do to a price, as costs: filler, unpaid batches, retries, steering under it.

Histories are costs (clients, queries); a trick returns what a useful query came to, in service
times.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from server.ledger import MAX_UNPAID
from server.pricing import BATCH
from server.pricing.vectorised import Floats, PriceList, Terms, batches, overheads, play, rounded


def mixed(honest: Floats, foreign: Floats, share: float, rng: np.random.Generator) -> Floats:
    """Histories in which each query is foreign with chance `share`: a thief among many users."""
    return np.where(rng.random(honest.shape) < share, foreign, honest)


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
    fill: NDArray[np.bool_],
    size: int,
) -> float:
    """Service times for a useful query, where queries `fill` (n, queries) are filler; all is paid.

    `useful` and `filler` are histories of the same shape.
    """
    images, found = overheads(prices, terms, np.where(fill, filler, useful), size)
    return float((found * np.array(images)[:, None]).sum() / (~fill).sum())


def blocks(shape: tuple[int, ...], useful: int, filler: int) -> NDArray[np.bool_]:
    """Where filler is (n, queries) if so many useful queries and so much filler take turns."""
    return np.broadcast_to(np.arange(shape[1]) % (useful + filler) >= useful, shape)


def unpaid(
    prices: PriceList, terms: Terms, useful: Floats, filler: Floats, each: int, size: int
) -> float:
    """Service times for a useful query, with `each` batches of filler, never paid, before each."""
    images, wanted = batches(prices.scores(useful), size)
    _, noise = batches(prices.scores(filler), size)
    steps, thieves = len(images) * (each + 1), wanted.shape[-1]
    scores, sizes = np.empty((steps, *wanted.shape[1:])), []
    paid = np.zeros((steps, thieves), dtype=bool)
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

    A row keeps the work it was first asked for, so a retry costs what the account looked like then;
    that is no less than with the earlier ones counted, paid or not.
    """
    images, scores = batches(prices.scores(useful), size)
    state = prices.start(scores.shape[-1])
    spent = 0.0
    for start in range(0, len(images), at_once):
        group = range(start, min(start + at_once, len(images)))
        counted = []
        waiting = state
        for step in group:
            counting = prices.counting(state, images[step], scores[step])
            waiting = prices.counting(waiting, images[step], scores[step])
            asked = np.maximum(prices.seconds(counting), prices.seconds(waiting))
            spent += float((images[step] * (1 + terms.work(asked))).sum())
            counted.append(prices.at_once(state, images[step], scores[step]))
            state = np.where(counted[-1], counting, state)
        for step, before in zip(group, counted, strict=True):
            counting = prices.counting(state, images[step], scores[step])
            state = np.where(before, state, counting)
    return spent / float(sum(images) * scores.shape[-1])


@dataclass(frozen=True, slots=True)
class Steering:
    """How a thief reacts to prices: useful queries while the last price is at most `bearable`.

    Else filler, until it is. With `leave`, a useful batch whose own price is above that is left
    unpaid, and its answer never read, as long as the ledger lets him: MAX_UNPAID batches of an
    account, whose challenges stay open longer than all his queries take.
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
    thieves = wanted.shape[-1]
    state = prices.start(thieves)
    last = np.full(thieves, terms.t_min)
    spent = got = 0.0
    open_batches = np.zeros(thieves)
    for want, fill in zip(wanted, calm, strict=True):
        tries = last <= limit
        score = np.where(tries, want, fill)
        counting = prices.counting(state, tactic.size, score)
        asked = rounded(prices.seconds(counting), terms.t_min, terms.t_max)
        left = tries & (asked > limit) & (open_batches < MAX_UNPAID) & tactic.leave
        open_batches += left
        counts = ~left | prices.at_once(state, tactic.size, score)
        state = np.where(counts, counting, state)
        spent += float((1 + np.where(left, 0.0, asked / terms.service)).sum())
        got += float((tries & ~left).sum())
        last = asked
    return spent / got if got else float("inf")


def reading(prices: PriceList, terms: Terms, past: Floats, quoted: Floats, size: int) -> float:
    """Rank correlation of price and cost over the batches a thief has priced and not paid for.

    A row of `past` (n, queries) and of `quoted` is a thief; the mean over thieves, 0 for one who
    sees equal prices only.
    """
    state = prices.start(len(past))
    if past.shape[1]:
        _, state = play(prices, *batches(prices.scores(past), BATCH))
    images, scores = batches(prices.scores(quoted), size)
    unpaid = np.zeros((len(images), len(quoted)), dtype=bool)
    seconds, _ = play(prices, images, scores, paid=unpaid, state=state)
    asked = stats.rankdata(rounded(seconds, terms.t_min, terms.t_max), axis=0)
    true = stats.rankdata(scores[:, 0], axis=0)
    asked, true = asked - asked.mean(axis=0), true - true.mean(axis=0)
    spread = np.sqrt((asked**2).sum(axis=0) * (true**2).sum(axis=0))
    together = (asked * true).sum(axis=0)
    found = np.divide(together, spread, out=np.zeros_like(together), where=spread > 0)
    return float(found.mean())


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
