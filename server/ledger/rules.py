"""The charging rules: pure functions of a charge, its account and a tariff, for every back end.

A back end reads an account and what waits for payment on it, calls one of these in a transaction,
and stores the charge and the account that it gets back. Nothing here knows how they are stored.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from pow.hashcash import CLOCK_SKEW
from pow.puzzle import LONGEST, Puzzle, lifetime
from server.ledger import MAX_RETRIES, MAX_UNPAID, Account, Batch, Charge, Payment, Tariff
from server.refusals import NothingToRedeem, RequestIdReused, RetriesExhausted, TooManyUnpaid

LEAST_RETENTION = LONGEST + CLOCK_SKEW
"""As long as any challenge may be open: a request id means the same request for that long."""


def charge(
    account: Account,
    waiting: Iterable[Batch],
    batch: Batch,
    tariff: Tariff,
    *,
    request_id: str,
    digest: bytes,
    now: float,
) -> Charge:
    """A new request, priced for an account on which the batches `waiting` do not count yet.

    Charge and account come back together, so work that an account has prepaid fits in without
    another signature: a balance is one more field of the account, and where it covers the price it
    is taken here, and the charge is `_paid` at once, as one without work is. Raises TooManyUnpaid.
    """
    _check_room(account)
    work, at_once = _price(account, waiting, batch, tariff)
    puzzle = tariff.puzzle(work, len(batch), account)
    new = Charge(
        request_id=request_id,
        digest=digest,
        images=len(batch),
        cost=batch.cost,
        work=work,
        puzzle=puzzle,
        waiting=batch,
        issued=now,
        expires=_expiry(puzzle, now),
        account=replace(account, charged=account.charged + len(batch)),
    )
    if work == 0:
        return _paid(new, tariff.thresholds)
    new = _with_place(new)
    return _counted(new, tariff.thresholds) if at_once else new


def retry(
    known: Charge, waiting: Iterable[Batch], digest: bytes, tariff: Tariff, *, now: float
) -> Charge:
    """The charge of a request that is asked again: its challenge is issued anew.

    One whose challenge expired unpaid takes a place among the unpaid again, and is priced again;
    `waiting` is looked at only then. Raises RequestIdReused, RetriesExhausted, TooManyUnpaid.
    """
    check_same(known, digest)
    if known.retries >= MAX_RETRIES:
        raise RetriesExhausted(
            f"request {known.request_id} was retried {known.retries} times; "
            f"at most {MAX_RETRIES} retries are served"
        )
    latest_issue, earliest_expiry = period(now)
    is_open = known.issued <= latest_issue and known.expires >= earliest_expiry
    if not (known.paid or is_open):
        _check_room(known.account)
        known = _with_place(reprice(known, waiting, tariff))
    return replace(known, retries=known.retries + 1, issued=now, expires=_expiry(known.puzzle, now))


def reprice(known: Charge, waiting: Iterable[Batch], tariff: Tariff) -> Charge:
    """An expired, unpaid charge at the price of now, never below the old one.

    One that counts was priced with everything before it and keeps its price. One that does not is
    priced again: its old price is that of an account which is no longer.
    """
    if known.waiting is None:
        return known
    work, at_once = _price(known.account, waiting, known.waiting, tariff)
    work = max(work, known.work)
    puzzle = tariff.puzzle(work, known.images, known.account)
    known = replace(known, work=work, puzzle=puzzle)
    return _counted(known, tariff.thresholds) if at_once else known


def settle(known: Charge | None, payment: Payment, thresholds: Sequence[int]) -> Charge:
    """The charge after a payment; the same object where it was paid before.

    `thresholds` are those of the tariff it was charged by. Raises NothingToRedeem where there is no
    charge, or for a payment of other inputs or another price.
    """
    if known is None or known.digest != payment.digest:
        raise NothingToRedeem(f"no charge is known for request {payment.request_id} and its inputs")
    if known.paid:
        return known
    if known.puzzle != payment.puzzle:
        raise NothingToRedeem(
            f"request {payment.request_id} has another price by now; ask for it again"
        )
    return _paid(known, thresholds)


def check_same(known: Charge, digest: bytes) -> None:
    """Raises RequestIdReused where a request id was used for other inputs before."""
    if known.digest != digest:
        raise RequestIdReused(
            f"request id {known.request_id} was used before for other inputs; expected a new UUID"
        )


def _price(
    account: Account, waiting: Iterable[Batch], batch: Batch, tariff: Tariff
) -> tuple[int, bool]:
    """Expected hashes that a batch costs now, and whether it counts before it is paid for."""
    counting = account.with_batch(batch, tariff.thresholds)
    # Those that wait for their payment may raise this price, too; or of several that are asked
    # before any is paid for, each would be priced as if it were alone.
    waited = account
    for other in waiting:
        waited = waited.with_batch(other, tariff.thresholds)
    afterwards = (counting, waited.with_batch(batch, tariff.thresholds))
    work = max(tariff.work(after, len(batch)) for after in afterwards)
    return work, tariff.counts_at_once(account, counting)


def _check_room(account: Account) -> None:
    if account.unpaid >= MAX_UNPAID:
        raise TooManyUnpaid(
            f"{account.unpaid} batches are unpaid; redeem one before asking for more "
            f"(at most {MAX_UNPAID})"
        )


def _with_place(known: Charge) -> Charge:
    """The charge as one of the unpaid ones."""
    return replace(known, account=replace(known.account, unpaid=known.account.unpaid + 1))


def _counted(known: Charge, thresholds: Sequence[int]) -> Charge:
    """The charge after its images count on its account, if they did not before."""
    if known.waiting is None:
        return known
    account = known.account.with_batch(known.waiting, thresholds)
    return replace(known, waiting=None, account=account)


def _paid(known: Charge, thresholds: Sequence[int]) -> Charge:
    """The charge after it is paid for; with work, the account has entered."""
    known = _counted(known, thresholds)
    entered = known.account.entered or known.work > 0
    return replace(known, paid=True, account=replace(known.account, entered=entered))


def _expiry(puzzle: Puzzle, now: float) -> int:
    """Unix seconds at which a challenge issued now expires."""
    return math.floor(now + lifetime(puzzle.work, puzzle.algorithm))


def period(now: float) -> tuple[float, float]:
    """Latest issue and earliest expiry, Unix seconds, of a challenge that can be redeemed now.

    What was issued later comes from a clock that has been set back: it takes no place.
    """
    return now + CLOCK_SKEW, now - CLOCK_SKEW


def books_name(fingerprint: str) -> str:
    """16 hex digits that stand for the books of one calibration fingerprint."""
    return hashlib.sha256(fingerprint.encode()).hexdigest()[:16]


def check_retention(seconds: float) -> None:
    """Raises ValueError where a charge would be deleted while it can be redeemed."""
    if not seconds >= LEAST_RETENTION:
        raise ValueError(
            f"retention is {seconds:g} s; expected at least {LEAST_RETENTION:g} s, the longest "
            "that a challenge is open"
        )
