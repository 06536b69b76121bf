"""The charging rules: pure functions of an account, a batch and a tariff, for every back end."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pow.hashcash import CLOCK_SKEW
from pow.puzzle import Puzzle, lifetime
from server.ledger import MAX_UNPAID, Account, Batch, Tariff
from server.refusals import TooManyUnpaid


@dataclass(frozen=True, slots=True)
class Price:
    """What a batch costs an account now."""

    work: int  # expected hashes
    counts: bool  # at once; otherwise when it is paid for
    account: Account  # with the batch counted, where it counts at once


def price(
    before: Account,
    waiting: Iterable[Batch],
    batch: Batch,
    tariff: Tariff,
    *,
    at_least: int = 0,
) -> Price:
    """The price of a batch for an account on which the batches `waiting` do not count yet.

    `at_least` is a price it had before, in expected hashes. Raises TooManyUnpaid.
    """
    check_room(before)
    thresholds = tariff.thresholds
    counting = before.with_batch(batch, thresholds)
    # Those that wait for their payment may raise this price, too; or of several that are asked
    # before any is paid for, each would be priced as if it were alone.
    waited = before
    for other in waiting:
        waited = waited.with_batch(other, thresholds)
    work = max(
        at_least,
        *(
            tariff.work(account, len(batch))
            for account in (counting, waited.with_batch(batch, thresholds))
        ),
    )
    new = batch.beyond(before.recent)
    counts = work == 0 or (
        tariff.is_expensive(len(new), new.cost) and tariff.raises(before, counting)
    )
    return Price(work, counts, counting if counts else before)


def settled(account: Account, batch: Batch | None, thresholds: Sequence[int]) -> Account:
    """The account after a charge is paid; `batch` where it did not count before."""
    if batch is not None:
        account = account.with_batch(batch, thresholds)
    return replace(account, entered=True)


def expiry(puzzle: Puzzle, now: float) -> int:
    """Unix seconds at which a challenge issued now expires."""
    return math.floor(now + lifetime(puzzle.work, puzzle.algorithm))


def period(now: float) -> tuple[float, float]:
    """Latest issue and earliest expiry, Unix seconds, of a challenge that can be redeemed now.

    What was issued later comes from a clock that has been set back: it takes no place.
    """
    return now + CLOCK_SKEW, now - CLOCK_SKEW


def check_room(account: Account) -> None:
    """Raises TooManyUnpaid where one more batch is too many."""
    if account.unpaid >= MAX_UNPAID:
        raise TooManyUnpaid(
            f"{account.unpaid} batches are unpaid; redeem one before asking for more "
            f"(at most {MAX_UNPAID})"
        )
