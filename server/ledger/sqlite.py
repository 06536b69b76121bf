"""The ledger in SQLite: WAL, one writer thread, group commit, charges with `synchronous=FULL`.

Callers queue; the writer takes all that is waiting, runs it in one transaction, commits, and only
then answers, so one disk flush serves many callers. No crash can take back what was acknowledged,
and no power failure a charge; a settlement that the power took may be asked for again, and until
then only raises the price. Several processes may share a file: transactions are IMMEDIATE. `path`
":memory:" keeps the books in memory, for tests.
"""

import contextlib
import json
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from server.ledger import (
    DIGEST_BYTES,
    MAX_RETRIES,
    MAX_UNPAID,
    Account,
    Batch,
    Charge,
    Tariff,
)
from server.ledger.schema import SCHEMA, check_version, cut, packed, unpacked, write_ahead
from server.refusals import (
    LedgerUnavailable,
    NothingToRedeem,
    RequestIdReused,
    RetriesExhausted,
    TooManyUnpaid,
)

GROUP = 256
"""Most operations in one transaction: bounds how long the first of them waits."""

BUSY_SECONDS = 5.0
"""How long to wait for another process's transaction before refusing."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Job:
    run: Callable[[sqlite3.Connection], Any]
    future: "Future[Any]"
    durable: bool  # on disk before it is answered, even if the power fails


class SqliteLedger:
    """A `Ledger` in one SQLite file, for one calibration fingerprint and its tariff.

    Raises LedgerUnavailable from the constructor where the file cannot be opened as a ledger.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        fingerprint: str,
        tariff: Tariff,
        clock: Callable[[], float],
    ) -> None:
        self._fingerprint = fingerprint
        self._tariff = tariff
        self._clock = clock
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._closing = threading.Lock()
        opened: Future[None] = Future()
        self._writer = threading.Thread(
            target=self._write, args=(str(path), opened), name="ledger", daemon=True
        )
        self._writer.start()
        opened.result()

    def recall(self, client: str, request_id: str, digest: bytes) -> Future[Charge | Account]:
        def run(db: sqlite3.Connection) -> Charge | Account:
            charge = self._find(db, client, request_id, digest)
            if charge is None:
                return self._account(db, client)
            if charge.retries >= MAX_RETRIES:
                raise RetriesExhausted(
                    f"request {request_id} was retried {charge.retries} times; "
                    f"at most {MAX_RETRIES} retries are served"
                )
            key = self._key(client, request_id)
            (place_lost,) = db.execute(
                "SELECT paid = 0 AND expires <= ? FROM charges"
                " WHERE client = ? AND fingerprint = ? AND request_id = ?",
                (self._clock(), *key),
            ).fetchone()
            if place_lost:
                _check_room(charge.account)
            db.execute(
                "UPDATE charges SET retries = retries + 1, expires = ?"
                " WHERE client = ? AND fingerprint = ? AND request_id = ?",
                (self._clock() + self._tariff.lifetime(charge.work), *key),
            )
            return replace(charge, retries=charge.retries + 1, account=self._account(db, client))

        return self._submit(run)

    def ask(self, client: str, request_id: str, digest: bytes, batch: Batch) -> Future[Charge]:
        def run(db: sqlite3.Connection) -> Charge:
            known = self._find(db, client, request_id, digest)
            if known is not None:
                return known
            before = self._account(db, client)
            _check_room(before)
            thresholds = self._tariff.thresholds
            counting = before.with_batch(batch, thresholds)
            # Those that wait for their payment may raise this price, too; or of several that are
            # asked before any is paid for, each would be priced as if it were alone.
            waiting = before
            for other in self._waiting(db, client):
                waiting = waiting.with_batch(other, thresholds)
            work = max(
                self._tariff.work(account, len(batch))
                for account in (counting, waiting.with_batch(batch, thresholds))
            )
            paid = work == 0
            new = batch.beyond(before.recent)
            counts = paid or (
                self._tariff.is_dear(len(new), new.cost) and self._tariff.raises(before, counting)
            )
            after = replace(
                counting if counts else before,
                charged=before.charged + len(batch),
                unpaid=before.unpaid + (not paid),
            )
            db.execute(
                "INSERT INTO charges VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?)",
                (
                    *self._key(client, request_id),
                    digest,
                    len(batch),
                    batch.cost,
                    work,
                    b"" if counts else packed(batch),
                    paid,
                    self._clock() + self._tariff.lifetime(work),
                ),
            )
            self._store(db, client, after)
            return Charge(len(batch), batch.cost, work, 0, after)

        return self._submit(run)

    def settle(self, client: str, request_id: str) -> Future[None]:
        def run(db: sqlite3.Connection) -> None:
            row = db.execute(
                "SELECT waiting, paid FROM charges"
                " WHERE client = ? AND fingerprint = ? AND request_id = ?",
                self._key(client, request_id),
            ).fetchone()
            if row is None:
                raise NothingToRedeem(f"no charge is known for request {request_id}")
            waiting, paid = row
            if paid:
                return
            db.execute(
                "UPDATE charges SET paid = 1, waiting = x''"
                " WHERE client = ? AND fingerprint = ? AND request_id = ?",
                self._key(client, request_id),
            )
            account = self._account(db, client)
            if waiting:
                account = account.with_batch(unpacked(waiting), self._tariff.thresholds)
            self._store(db, client, replace(account, entered=True))

        return self._submit(run, durable=False)

    def account(self, client: str) -> Future[Account]:
        return self._submit(lambda db: self._account(db, client))

    def close(self) -> None:
        with self._closing:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
        self._writer.join()

    def _key(self, client: str, request_id: str) -> tuple[str, str, str]:
        return client, self._fingerprint, request_id

    def _submit(
        self, run: Callable[[sqlite3.Connection], _T], *, durable: bool = True
    ) -> "Future[_T]":
        future: Future[_T] = Future()
        with self._closing:
            if self._closed or not self._writer.is_alive():
                future.set_exception(LedgerUnavailable("the ledger is closed"))
            else:
                self._jobs.put(_Job(run, future, durable))
        return future

    def _find(
        self, db: sqlite3.Connection, client: str, request_id: str, digest: bytes
    ) -> Charge | None:
        row = db.execute(
            "SELECT digest, images, cost, work, retries FROM charges"
            " WHERE client = ? AND fingerprint = ? AND request_id = ?",
            self._key(client, request_id),
        ).fetchone()
        if row is None:
            return None
        if row[0] != digest:
            raise RequestIdReused(
                f"request id {request_id} was used before for other inputs; expected a new UUID"
            )
        images, cost, work, retries = row[1:]
        return Charge(images, cost, work, retries, self._account(db, client))

    def _account(self, db: sqlite3.Connection, client: str) -> Account:
        row = db.execute(
            "SELECT charged, counted, cost, sums, entered, recent FROM accounts"
            " WHERE client = ? AND fingerprint = ?",
            (client, self._fingerprint),
        ).fetchone()
        if row is None:
            return Account()
        (unpaid,) = db.execute(
            "SELECT count(*) FROM charges"
            " WHERE client = ? AND fingerprint = ? AND expires > ? AND paid = 0",
            (client, self._fingerprint, self._clock()),
        ).fetchone()
        charged, counted, cost, sums, entered, recent = row
        return Account(
            charged,
            unpaid,
            counted,
            cost,
            tuple(json.loads(sums)),
            bool(entered),
            tuple(cut(recent, DIGEST_BYTES)),
        )

    def _waiting(self, db: sqlite3.Connection, client: str) -> list[Batch]:
        """Batches that can still be paid for and do not count yet."""
        rows = db.execute(
            "SELECT waiting FROM charges"
            " WHERE client = ? AND fingerprint = ? AND expires > ? AND paid = 0 AND waiting <> x''",
            (client, self._fingerprint, self._clock()),
        )
        return [unpacked(waiting) for (waiting,) in rows]

    def _store(self, db: sqlite3.Connection, client: str, account: Account) -> None:
        db.execute(
            "INSERT OR REPLACE INTO accounts VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                client,
                self._fingerprint,
                account.charged,
                account.counted,
                account.cost,
                json.dumps(account.sums),
                account.entered,
                b"".join(account.recent),
            ),
        )

    def _write(self, path: str, opened: "Future[None]") -> None:
        """The writer thread: owns the connection from first to last."""
        try:
            # Transactions are begun and ended by hand: isolation_level None.
            db = sqlite3.connect(path, isolation_level=None, timeout=BUSY_SECONDS)
            write_ahead(db, BUSY_SECONDS)
            check_version(db)
            db.executescript(SCHEMA)
        except (sqlite3.Error, LedgerUnavailable) as error:
            opened.set_exception(LedgerUnavailable(f"ledger {path} cannot be opened: {error}"))
            return
        opened.set_result(None)
        try:
            while (job := self._jobs.get()) is not None:
                group, last = [job], False
                while len(group) < GROUP and not self._jobs.empty():
                    more = self._jobs.get()
                    if more is None:
                        last = True
                        break
                    group.append(more)
                _commit(db, group)
                if last:
                    break
        finally:  # whatever ended the writer, nobody may wait for it
            db.close()
            with self._closing:
                self._closed = True
                while not self._jobs.empty():
                    left = self._jobs.get()
                    if left is not None and left.future.set_running_or_notify_cancel():
                        left.future.set_exception(LedgerUnavailable("the ledger is closed"))


def _check_room(account: Account) -> None:
    """Raises TooManyUnpaid where one more batch is too many."""
    if account.unpaid >= MAX_UNPAID:
        raise TooManyUnpaid(
            f"{account.unpaid} batches are unpaid; redeem one before asking for more "
            f"(at most {MAX_UNPAID})"
        )


def _commit(db: sqlite3.Connection, group: list[_Job]) -> None:
    """Runs a group in one transaction and answers all of it, after the commit.

    A caller may have stopped waiting: its job is dropped before it is run, never afterwards. A job
    that fails by an error of its own takes back only what it did itself.
    """
    group = [job for job in group if job.future.set_running_or_notify_cancel()]
    answers: list[tuple[_Job, Any, Exception | None]] = []
    try:
        level = "FULL" if any(job.durable for job in group) else "NORMAL"
        db.execute(f"PRAGMA synchronous = {level}")
        db.execute("BEGIN IMMEDIATE")
        for job in group:
            db.execute("SAVEPOINT job")
            try:
                answers.append((job, job.run(db), None))
            except sqlite3.Error:
                raise
            except Exception as error:
                db.execute("ROLLBACK TO job")
                answers.append((job, None, error))
            db.execute("RELEASE job")
        db.execute("COMMIT")
    except sqlite3.Error as error:  # the whole group failed: nothing of it may stand
        with contextlib.suppress(sqlite3.Error):
            if db.in_transaction:
                db.execute("ROLLBACK")
        for job in group:
            unavailable = LedgerUnavailable("the ledger cannot answer; nothing was charged")
            unavailable.__cause__ = error
            job.future.set_exception(unavailable)
        return
    for job, answer, failed in answers:
        if failed is None:
            job.future.set_result(answer)
        else:
            job.future.set_exception(failed)
