"""The ledger in SQLite: WAL, one writer thread, group commit, charges with `synchronous=FULL`.

Callers queue; the writer takes all that is waiting, runs it in one transaction, commits, and only
then answers, so one disk flush serves many callers. No crash can take back what was acknowledged,
and no power failure a charge; a settlement that the power took may be asked for again, and until
then only raises the price. Several processes may share a file: transactions are IMMEDIATE. `path`
":memory:" keeps the books in memory, for tests.
"""

import sqlite3
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from server.ledger import Account, Batch, Charge, Payment, Tariff, rows
from server.ledger.rows import Key
from server.ledger.rules import (
    books_name,
    charge,
    check_retention,
    check_same,
    nothing_to_redeem,
    retry,
    settle,
)
from server.ledger.writer import Writer

RETENTION = 7 * 86_400.0
"""Seconds for which a charge is kept after its challenge expired."""

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
        check_retention(retention)
        self.books = books_name(fingerprint)
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
            known = rows.find(db, key, now)
            if known is None:
                return rows.account(db, client, self.books, now)
            check_same(known, digest, request_id)
            waiting = rows.waiting(db, client, self.books, now)
            again = retry(known, waiting, self._tariff, now=now)
            rows.store(db, key, again)
            return again

        return self._submit(run)

    def ask(self, client: str, request_id: str, digest: bytes, batch: Batch) -> Future[Charge]:
        key = Key(client, self.books, request_id)

        def run(db: sqlite3.Connection) -> Charge:
            now = self._clock()
            known = rows.find(db, key, now)
            if known is not None:
                check_same(known, digest, request_id)
                return known
            before = rows.account(db, client, self.books, now)
            waiting = rows.waiting(db, client, self.books, now)
            new = charge(before, waiting, batch, self._tariff, digest=digest, now=now)
            rows.store(db, key, new)
            return new

        return self._submit(run)

    def settle(self, client: str, payment: Payment) -> Future[bool]:
        key = Key(client, payment.books, payment.request_id)

        def run(db: sqlite3.Connection) -> bool:
            known = rows.find(db, key, self._clock())
            if known is None:
                raise nothing_to_redeem(payment)
            after = settle(known, payment, rows.thresholds_of(db, key.books))
            if after is known:
                return False
            rows.store(db, key, after)
            return True

        return self._submit(run, durable=False)

    def account(self, client: str) -> Future[Account]:
        return self._submit(lambda db: rows.account(db, client, self.books, self._clock()))

    def prune(self) -> Future[int]:
        return self._submit(self._prune)

    def close(self) -> None:
        self._writer.close()

    def _submit(
        self, run: Callable[[sqlite3.Connection], _T], *, durable: bool = True
    ) -> "Future[_T]":
        return self._writer.submit(run, durable=durable)

    def _prune(self, db: sqlite3.Connection) -> int:
        return rows.prune(db, self._clock() - self._retention)

    def _is_behind(self, db: sqlite3.Connection) -> bool:
        """Prunes; whether there may be more to delete."""
        return self._prune(db) == rows.PRUNED
