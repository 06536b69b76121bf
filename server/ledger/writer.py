"""The one thread that writes a ledger file: jobs are queued, run in groups, then answered."""

import contextlib
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from core import private
from server.ledger.schema import SCHEMA, check_version, write_ahead
from server.refusals import LedgerUnavailable

GROUP = 256
"""Most jobs in one transaction: bounds how long the first of them waits."""

BUSY_SECONDS = 5.0
"""How long to wait for another process's transaction before refusing."""

BEHIND_SECONDS = 1.0
"""Between two rounds of upkeep while there is more to do than one round does."""

IN_MEMORY = ":memory:"

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Job:
    run: Callable[[sqlite3.Connection], Any]
    future: "Future[Any]"
    durable: bool  # on disk before it is answered, even if the power fails

    def refuse(self, why: str, cause: Exception | None = None) -> None:
        """Answers that the ledger cannot."""
        error = LedgerUnavailable(why)
        error.__cause__ = cause
        self.future.set_exception(error)


class Writer:
    """Runs jobs on a ledger file, in a thread of its own. `path` ":memory:" is no file.

    `upkeep` runs in a transaction of its own when the file is opened, and every `upkeep_seconds`
    while there are jobs; it says whether there is more to do, and then runs again sooner. The
    constructor raises LedgerUnavailable for a file that cannot be opened as a ledger.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        upkeep: Callable[[sqlite3.Connection], bool],
        upkeep_seconds: float,
    ) -> None:
        self._path = str(path)
        # The file, and its write-ahead log, without which it lacks the latest commits.
        self._names = () if self._path == IN_MEMORY else (self._path, f"{path}-wal")
        self._identity: list[tuple[int, int]] = []
        self._upkeep = upkeep
        self._upkeep_seconds = upkeep_seconds
        self._upkeep_at = 0.0
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._closing = threading.Lock()
        opened: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._write, args=(opened,), name="ledger", daemon=True
        )
        self._thread.start()
        opened.result()

    def submit(
        self, run: Callable[[sqlite3.Connection], _T], *, durable: bool = True
    ) -> "Future[_T]":
        """Queues a job; its future is done once committed, or raises LedgerUnavailable."""
        job = _Job(run, Future(), durable)
        with self._closing:
            if self._closed or not self._thread.is_alive():
                job.refuse("the ledger is closed")
            else:
                self._jobs.put(job)
        return job.future

    def close(self) -> None:
        """Finishes what is queued and closes the file."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
        self._thread.join()

    def _write(self, opened: "Future[None]") -> None:
        """The thread: owns the connection from first to last."""
        try:
            db = self._open()
        except (sqlite3.Error, OSError, LedgerUnavailable) as error:
            opened.set_exception(
                LedgerUnavailable(f"ledger {self._path} cannot be opened: {error}")
            )
            return
        opened.set_result(None)
        try:
            while group := self._group():
                self._commit(db, group)
                if time.monotonic() >= self._upkeep_at:
                    with contextlib.suppress(sqlite3.Error):  # tried again; nothing depends on it
                        self._keep_up(db)
        finally:  # whatever ended the writer, no caller may wait for ever
            db.close()
            with self._closing:
                self._closed = True
                while not self._jobs.empty():
                    left = self._jobs.get()
                    if left is not None and left.future.set_running_or_notify_cancel():
                        left.refuse("the ledger is closed")

    def _group(self) -> list[_Job]:
        """The jobs that wait, or the next one; none once the ledger is closed."""
        group: list[_Job] = []
        while not group or (len(group) < GROUP and not self._jobs.empty()):
            job = self._jobs.get()
            if job is None:
                self._jobs.put(None)  # for the next call
                break
            group.append(job)
        return group

    def _keep_up(self, db: sqlite3.Connection) -> None:
        self._upkeep_at = time.monotonic() + self._upkeep_seconds
        if self._transaction(db, self._upkeep):
            self._upkeep_at = min(self._upkeep_at, time.monotonic() + BEHIND_SECONDS)

    def _open(self) -> sqlite3.Connection:
        """The file, made where it is missing, readable by its owner alone."""
        for name, mode in zip(self._names, ("ab", "r+b"), strict=False):
            # A log that is not there gets the mode of the file from SQLite.
            with contextlib.suppress(FileNotFoundError), open(name, mode, opener=private.opener):
                pass
        # Transactions are begun and ended by hand: isolation_level None.
        db = sqlite3.connect(self._path, isolation_level=None, timeout=BUSY_SECONDS)
        try:
            write_ahead(db, BUSY_SECONDS)
            check_version(db)
            db.executescript(SCHEMA)
            self._keep_up(db)
            self._identity = self._identify()
        except BaseException:
            db.close()
            raise
        return db

    def _identify(self) -> list[tuple[int, int]]:
        """Device and inode of the files. Raises OSError where one is gone."""
        return [(found.st_dev, found.st_ino) for found in map(os.stat, self._names)]

    def _check_files(self) -> None:
        """Raises LedgerUnavailable where what was written is not what the path names any more."""
        try:
            same = self._identify() == self._identity
        except OSError as error:
            raise LedgerUnavailable("the ledger's file is gone; restart the gate") from error
        if not same:
            raise LedgerUnavailable("the ledger's file was replaced; restart the gate")

    def _transaction(self, db: sqlite3.Connection, run: Callable[[sqlite3.Connection], _T]) -> _T:
        """Runs something in one transaction; takes all of it back where it fails."""
        db.execute("BEGIN IMMEDIATE")
        try:
            answer = run(db)
            db.execute("COMMIT")
            return answer
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                if db.in_transaction:
                    db.execute("ROLLBACK")
            raise

    def _commit(self, db: sqlite3.Connection, group: list[_Job]) -> None:
        """Runs a group in one transaction and answers all of it, after the commit.

        A caller may have stopped waiting: its job is dropped before it is run, never afterwards. A
        job that fails by an error of its own takes back only what it did itself.
        """
        group = [job for job in group if job.future.set_running_or_notify_cancel()]
        answers: list[Callable[[], None]] = []

        def run(db: sqlite3.Connection) -> None:
            for job in group:
                db.execute("SAVEPOINT job")
                try:
                    answers.append(partial(job.future.set_result, job.run(db)))
                except sqlite3.Error:
                    raise
                except Exception as error:
                    db.execute("ROLLBACK TO job")
                    answers.append(partial(job.future.set_exception, error))
                db.execute("RELEASE job")

        try:
            level = "FULL" if any(job.durable for job in group) else "NORMAL"
            db.execute(f"PRAGMA synchronous = {level}")
            self._transaction(db, run)
            self._check_files()  # afterwards: what was committed into a lost file is lost
        except (sqlite3.Error, LedgerUnavailable) as error:  # nothing of the group may stand
            for job in group:
                job.refuse("the ledger cannot answer; nothing was charged", error)
            return
        for answer in answers:
            answer()
