"""The ledger in SQLite: WAL, one writer thread, group commit, charges with `synchronous=FULL`.

Callers queue; the writer takes all that is waiting, runs it in one transaction, commits, and only
then answers, so one disk flush serves many callers. No crash can take back what was acknowledged,
and no power failure a charge; a settlement that the power took may be asked for again, and until
then only raises the price. Several processes may share a file: transactions are IMMEDIATE. `path`
":memory:" keeps the books in memory, for tests.
"""

import hashlib
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from pow.hashcash import CLOCK_SKEW
from pow.puzzle import LONGEST
from server.ledger import MAX_RETRIES, Account, Batch, Charge, Payment, Tariff, rows
from server.ledger.rows import Key, Row
from server.ledger.rules import check_room, expiry, price, settled
from server.ledger.writer import Writer
from server.refusals import NothingToRedeem, RequestIdReused, RetriesExhausted

RETENTION = 7 * 86_400.0
"""Seconds for which a charge is kept after its challenge expired."""

LEAST_RETENTION = LONGEST + CLOCK_SKEW
"""As long as any challenge may be open: a request id means the same request for that long."""

PRUNE_SECONDS = 60.0
"""Between two looks for charges to delete."""

_T = TypeVar("_T")


class SqliteLedger:
    """A `Ledger` in one SQLite file, for one calibration fingerprint and its tariff.

    Charges are deleted `retention` seconds after they expired, paid or not; accounts stay. Raises
    LedgerUnavailable from the constructor where the file cannot be opened as a ledger, ValueError
    for a retention shorter than LEAST_RETENTION.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        fingerprint: str,
        tariff: Tariff,
        clock: Callable[[], float],
        retention: float = RETENTION,
    ) -> None:
        if not retention >= LEAST_RETENTION:
            raise ValueError(
                f"retention is {retention:g} s; expected at least {LEAST_RETENTION:g} s, the "
                "longest that a challenge is open"
            )
        self.books = hashlib.sha256(fingerprint.encode()).hexdigest()[:16]
        self._tariff = tariff
        self._clock = clock
        self._retention = retention
        self._writer = Writer(path, upkeep=self._is_behind, upkeep_seconds=PRUNE_SECONDS)
        thresholds = tuple(tariff.thresholds)

        def name(db: sqlite3.Connection) -> str:
            rows.name_books(db, self.books, fingerprint, thresholds)
            return rows.ledger_id(db)

        self.id = self._submit(name).result()

    def recall(self, client: str, request_id: str, digest: bytes) -> Future[Charge | Account]:
        key = Key(client, self.books, request_id)

        def run(db: sqlite3.Connection) -> Charge | Account:
            now = self._clock()
            row = _find(db, key, digest)
            if row is None:
                return self._account(db, client)
            if row.retries >= MAX_RETRIES:
                raise RetriesExhausted(
                    f"request {request_id} was retried {row.retries} times; "
                    f"at most {MAX_RETRIES} retries are served"
                )
            if not row.paid and not row.open_at(now):
                row = self._take_place_again(db, key, row)
            row = replace(row, retries=row.retries + 1, issued=now, expires=expiry(row.puzzle, now))
            rows.store(db, key, row)
            return row.charge(self._account(db, client))

        return self._submit(run)

    def ask(self, client: str, request_id: str, digest: bytes, batch: Batch) -> Future[Charge]:
        key = Key(client, self.books, request_id)

        def run(db: sqlite3.Connection) -> Charge:
            now = self._clock()
            known = _find(db, key, digest)
            if known is not None:
                return known.charge(self._account(db, client))
            before = self._account(db, client)
            asked = price(before, self._waiting(db, client), batch, self._tariff)
            puzzle = self._tariff.puzzle(asked.work, len(batch), before)
            row = Row(
                digest=digest,
                images=len(batch),
                cost=batch.cost,
                work=asked.work,
                puzzle=puzzle,
                retries=0,
                waiting=None if asked.counts else batch,
                paid=asked.work == 0,
                issued=now,
                expires=expiry(puzzle, now),
            )
            rows.store(db, key, row)
            after = replace(asked.account, charged=before.charged + len(batch))
            rows.store_account(db, client, self.books, after)
            return row.charge(replace(after, unpaid=before.unpaid + (not row.paid)))

        return self._submit(run)

    def settle(self, client: str, payment: Payment) -> Future[bool]:
        key = Key(client, payment.books, payment.request_id)

        def run(db: sqlite3.Connection) -> bool:
            row = rows.find(db, key)
            if row is None or row.digest != payment.digest:
                raise NothingToRedeem(
                    f"no charge is known for request {payment.request_id} and its inputs"
                )
            if row.paid:
                return False
            if row.puzzle != payment.puzzle:
                raise NothingToRedeem(
                    f"request {payment.request_id} has another price by now; ask for it again"
                )
            rows.store(db, key, replace(row, paid=True, waiting=None))
            thresholds = rows.thresholds_of(db, key.books)
            account = rows.account(db, client, key.books, self._clock())
            rows.store_account(db, client, key.books, settled(account, row.waiting, thresholds))
            return True

        return self._submit(run, durable=False)

    def account(self, client: str) -> Future[Account]:
        return self._submit(lambda db: self._account(db, client))

    def prune(self) -> Future[int]:
        return self._submit(self._prune)

    def close(self) -> None:
        self._writer.close()

    def _submit(
        self, run: Callable[[sqlite3.Connection], _T], *, durable: bool = True
    ) -> "Future[_T]":
        return self._writer.submit(run, durable=durable)

    def _account(self, db: sqlite3.Connection, client: str) -> Account:
        return rows.account(db, client, self.books, self._clock())

    def _waiting(self, db: sqlite3.Connection, client: str) -> list[Batch]:
        return rows.waiting(db, client, self.books, self._clock())

    def _take_place_again(self, db: sqlite3.Connection, key: Key, row: Row) -> Row:
        """An unpaid charge whose challenge expired, as it stands now.

        One that counts was priced with everything before it and keeps its price. One that does not
        is priced again: its old price is that of an account which is no longer.
        """
        before = self._account(db, key.client)
        if row.waiting is None:
            check_room(before)
            return row
        now = price(
            before,
            self._waiting(db, key.client),
            row.waiting,
            self._tariff,
            at_least=row.work,
        )
        if now.counts:
            rows.store_account(db, key.client, key.books, now.account)
        return replace(
            row,
            work=now.work,
            puzzle=self._tariff.puzzle(now.work, row.images, before),
            waiting=None if now.counts else row.waiting,
        )

    def _prune(self, db: sqlite3.Connection) -> int:
        return rows.prune(db, self._clock() - self._retention)

    def _is_behind(self, db: sqlite3.Connection) -> bool:
        """Prunes; whether there may be more to delete."""
        return self._prune(db) == rows.PRUNED


def _find(db: sqlite3.Connection, key: Key, digest: bytes) -> Row | None:
    """The charge of a request. Raises RequestIdReused where it was for other inputs."""
    row = rows.find(db, key)
    if row is not None and row.digest != digest:
        raise RequestIdReused(
            f"request id {key.request_id} was used before for other inputs; expected a new UUID"
        )
    return row
