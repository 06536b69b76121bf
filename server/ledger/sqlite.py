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

from server.ledger import Account, Batch, Charge, Payment, Tariff, rows, rules
from server.ledger.rows import Key
from server.ledger.writer import Writer

RETENTION = 7 * 86_400.0
"""Seconds for which a charge is kept after its challenge expired."""

PRUNE_SECONDS = 60.0
"""Between two looks for charges to delete."""


class SqliteLedger:
    """A `Ledger` in one SQLite file, for one calibration fingerprint and its tariff.

    Charges are deleted `retention` seconds after they expired, paid or not; accounts stay. Raises
    LedgerUnavailable from the constructor where the file cannot be opened as a ledger, ValueError
    for a retention shorter than `rules.LEAST_RETENTION`.
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
        rules.check_retention(retention)
        self.books = books = rules.books_name(fingerprint)
        self._tariff = tariff
        self._clock = clock
        self._retention = retention
        self._writer = Writer(path, upkeep=self._is_behind, upkeep_seconds=PRUNE_SECONDS)
        self._submit = self._writer.submit
        thresholds = tuple(tariff.thresholds)
        opened = self._submit(lambda db: rows.open_books(db, books, fingerprint, thresholds))
        self.id = opened.result()

    def recall(self, client: str, request_id: str, digest: bytes) -> Future[Charge | Account]:
        key = Key(client, self.books, request_id)

        def run(db: sqlite3.Connection) -> Charge | Account:
            now = self._clock()
            known = rows.find(db, key, now)
            if known is None:
                return rows.account(db, key, now)
            again = rules.retry(known, rows.waiting(db, key, now), digest, self._tariff, now=now)
            rows.store(db, key, again)
            return again

        return self._submit(run)

    def ask(self, client: str, request_id: str, digest: bytes, batch: Batch) -> Future[Charge]:
        key = Key(client, self.books, request_id)

        def run(db: sqlite3.Connection) -> Charge:
            now = self._clock()
            known = rows.find(db, key, now)
            if known is not None:
                rules.check_same(known, digest)
                return known
            before, waiting = rows.account(db, key, now), rows.waiting(db, key, now)
            new = rules.charge(
                before,
                waiting,
                batch,
                self._tariff,
                request_id=request_id,
                digest=digest,
                now=now,
            )
            rows.store(db, key, new)
            return new

        return self._submit(run)

    def settle(self, client: str, payment: Payment) -> Future[bool]:
        key = Key(client, payment.books, payment.request_id)

        def run(db: sqlite3.Connection) -> bool:
            known = rows.find(db, key, self._clock())
            after = rules.settle(known, payment, rows.thresholds_of(db, key.books))
            if after is known:
                return False
            rows.store(db, key, after)
            return True

        return self._submit(run, durable=False)

    def account(self, client: str) -> Future[Account]:
        key = Key(client, self.books, "")
        return self._submit(lambda db: rows.account(db, key, self._clock()))

    def prune(self) -> Future[int]:
        return self._submit(self._prune)

    def close(self) -> None:
        self._writer.close()

    def _prune(self, db: sqlite3.Connection) -> int:
        return rows.prune(db, self._clock() - self._retention)

    def _is_behind(self, db: sqlite3.Connection) -> bool:
        """Prunes; whether there may be more to delete."""
        return self._prune(db) == rows.PRUNED
