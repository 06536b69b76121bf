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
from pathlib import Path
from typing import Any, TypeVar

from server.ledger.schema import SCHEMA, check_version, write_ahead
from server.refusals import LedgerUnavailable

GROUP = 256
"""Most jobs in one transaction: bounds how long the first of them waits."""

BEHIND_SECONDS = 1.0
"""Between two rounds of upkeep, where one was not enough."""

BUSY_SECONDS = 5.0
"""How long to wait for another process's transaction before refusing."""

IN_MEMORY = ":memory:"

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Job:
    run: Callable[[sqlite3.Connection], Any]
    future: "Future[Any]"
    durable: bool  # on disk before it is answered, even if the power fails


class Writer:
    """Runs jobs on a ledger file, in a thread of its own. `path` ":memory:" is no file.

    `upkeep` runs in a transaction of its own when the file is opened, and every `upkeep_seconds`
    while there are jobs, sooner where it says that it left something to do. The constructor raises
    LedgerUnavailable for a file that cannot be opened as a ledger.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        upkeep: Callable[[sqlite3.Connection], bool],
        upkeep_seconds: float,
    ) -> None:
        self._path = str(path)
        self._upkeep = upkeep
        self._upkeep_seconds = upkeep_seconds
        self._wait = upkeep_seconds  # until the next one
        self._files: tuple[tuple[int, int], ...] = ()
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
        future: Future[_T] = Future()
        with self._closing:
            if self._closed or not self._thread.is_alive():
                future.set_exception(LedgerUnavailable("the ledger is closed"))
            else:
                self._jobs.put(_Job(run, future, durable))
        return future

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
        upkeep_at = time.monotonic() + self._wait
        try:
            while (job := self._jobs.get()) is not None:
                group, last = [job], False
                while len(group) < GROUP and not self._jobs.empty():
                    more = self._jobs.get()
                    if more is None:
                        last = True
                        break
                    group.append(more)
                self._commit(db, group)
                if last:
                    break
                if time.monotonic() >= upkeep_at:
                    with contextlib.suppress(sqlite3.Error):  # tried again; nothing depends on it
                        self._keep_up(db)
                    upkeep_at = time.monotonic() + self._wait
        finally:  # whatever ended the writer, nobody may wait for it
            db.close()
            with self._closing:
                self._closed = True
                while not self._jobs.empty():
                    left = self._jobs.get()
                    if left is not None and left.future.set_running_or_notify_cancel():
                        left.future.set_exception(LedgerUnavailable("the ledger is closed"))

    def _open(self) -> sqlite3.Connection:
        """The file, made where it is missing, readable by its owner alone."""
        if self._path != IN_MEMORY:
            # SQLite gives the files beside it the same mode.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
            for name in self._names():
                with contextlib.suppress(FileNotFoundError):
                    os.chmod(name, 0o600)
        # Transactions are begun and ended by hand: isolation_level None.
        db = sqlite3.connect(self._path, isolation_level=None, timeout=BUSY_SECONDS)
        try:
            write_ahead(db, BUSY_SECONDS)
            check_version(db)
            db.executescript(SCHEMA)
            self._keep_up(db)
            self._files = self._identity()
        except BaseException:
            db.close()
            raise
        return db

    def _names(self) -> tuple[str, str]:
        """The file, and its write-ahead log, without which it lacks the latest commits."""
        return self._path, f"{self._path}-wal"

    def _identity(self) -> tuple[tuple[int, int], ...]:
        """Device and inode of the files. Raises OSError where one is gone."""
        if self._path == IN_MEMORY:
            return ()
        found = [os.stat(name) for name in self._names()]
        return tuple((file.st_dev, file.st_ino) for file in found)

    def _check_files(self) -> None:
        """Raises LedgerUnavailable where what was written is not what the path names any more."""
        try:
            same = self._identity() == self._files
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

    def _keep_up(self, db: sqlite3.Connection) -> None:
        self._wait = self._upkeep_seconds
        if self._transaction(db, self._upkeep):
            self._wait = min(BEHIND_SECONDS, self._upkeep_seconds)

    def _commit(self, db: sqlite3.Connection, group: list[_Job]) -> None:
        """Runs a group in one transaction and answers all of it, after the commit.

        A caller may have stopped waiting: its job is dropped before it is run, never afterwards. A
        job that fails by an error of its own takes back only what it did itself.
        """
        group = [job for job in group if job.future.set_running_or_notify_cancel()]
        answers: list[tuple[_Job, Any, Exception | None]] = []

        def run(db: sqlite3.Connection) -> None:
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

        try:
            level = "FULL" if any(job.durable for job in group) else "NORMAL"
            db.execute(f"PRAGMA synchronous = {level}")
            self._transaction(db, run)
            self._check_files()  # afterwards: what was committed into a lost file is lost
        except (sqlite3.Error, LedgerUnavailable) as error:  # nothing of the group may stand
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
