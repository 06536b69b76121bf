"""A client process: sessions, pace, record, and exit code."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from client.errors import DeadlineExceeded, GateError, Refused, TooMuchWork, Unreachable
from client.offer import Exchange
from client.options import Connection
from client.session import Session
from core.records import RecordWriter, provenance

STOPPED = 3
"""Exit code of a client that the gate refused, that lost the gate, or that was told to stop."""


class Interrupted(BaseException):
    """The process was told to stop (SIGTERM): like KeyboardInterrupt, no error."""


ENDINGS: dict[type[BaseException], str] = {
    Refused: "refused",
    TooMuchWork: "refused",  # by the client itself
    DeadlineExceeded: "refused",
    Unreachable: "unreachable",
    Interrupted: "interrupted",
}
"""How a client may end early without having crashed, and the status in its record."""


def stopped(run: Callable[[], None]) -> int:
    """Runs a client; its exit code. An early end is printed as one line on stderr."""
    try:
        run()
    except tuple(ENDINGS) as error:
        print(f"stopped: {error}", file=sys.stderr)
        return STOPPED
    return 0


class Recorder:
    """Writes what happens to a record file; without a file it only counts.

    Lines: `predict` (an Exchange, plus `asked`, images so far, and `at`, seconds since the start),
    `price`, `checkpoint`, `pool` (images and budget of an attacker that has fewer images than
    budget), `answers` (how many of an honest client were right, by its labels), and one `end` with
    status done, refused, unreachable, interrupted or crashed.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        client: str,
        config: dict[str, Any],
        seed: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        header = {"client": client, "config": config, "provenance": provenance(seed)}
        self._writer = None if path is None else RecordWriter(path, header)
        self._client = client
        self._clock = clock
        self._start = clock()
        self._lock = threading.Lock()
        self.asked = self._work = 0
        self._seconds = 0.0
        self._lost: OSError | ValueError | None = None

    def observe(self, exchange: Exchange, *, account: str = "") -> None:
        """Writes one answered predict(), under another account if one is given."""
        with self._lock:
            self.asked += exchange.images
            self._work += exchange.work
            self._seconds += exchange.total
            client = account or self._client
            self.write("predict", client=client, asked=self.asked, **asdict(exchange))

    def write(self, kind: str, /, **fields: Any) -> None:
        """Writes one line, with the seconds since the start."""
        if self._writer is None:
            return
        try:
            self._writer.write(kind, at=self._clock() - self._start, **fields)
        except (OSError, ValueError) as error:
            self._lost = self._lost or error
            raise

    def summary(self) -> str:
        """What was answered, for what work and in what time, as one line."""
        return (
            f"{self.asked:,} inputs answered for {self._work:,} expected hashes, "
            f"{self._seconds:.1f} s of waiting"
        )

    def check_whole(self) -> None:
        """Raises OSError where a line could not be written."""
        if self._lost is not None:
            raise OSError(f"the record has lost a line: {self._lost}") from self._lost

    def close(self) -> None:
        """Closes the file."""
        if self._writer is not None:
            self._writer.close()


@contextmanager
def recorded(recorder: Recorder) -> Iterator[None]:
    """Writes how the block ended, closes the record, and prints a summary of what was answered.

    SIGTERM raises Interrupted in the block.

    What is raised goes on to the caller. Raises OSError where a line was lost: an observer's
    failure costs no answer, but a record with a hole is none.
    """
    status, reason = "crashed", "the client ended by an exception of its own"
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
        recorder.check_whole()
        status, reason = "done", ""
    except KeyboardInterrupt:
        status, reason = "interrupted", "told to stop"
        raise
    except (GateError, Interrupted) as error:
        known = (name for kind, name in ENDINGS.items() if isinstance(error, kind))
        status, reason = next(known, "crashed"), str(error)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
        recorder.write("end", status=status, reason=reason)
        recorder.close()
        if recorder.asked:
            print(recorder.summary())


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted("told to stop")


def connect(
    connection: Connection,
    account: dict[str, str],
    *,
    observe: Callable[[Exchange], None],
    rng: np.random.Generator,
) -> Session:
    """A session of an account, as `Connection.accounts` gives them."""
    given: dict[str, Any] = {
        each.name: getattr(connection, each.name) for each in fields(connection)
    }
    del given["key_file"], given["client_id"]
    return Session(observe=observe, rng=rng, **given | account)


class Pace:
    """Waits until the next request is due; a late one is followed at once."""

    def __init__(
        self, seconds: float, *, clock: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        self._seconds = seconds
        self._clock = clock
        self._sleep = sleep
        self._due = clock()

    def wait(self) -> None:
        """Sleeps until `seconds` after the last request was due, or was made if that was later."""
        self._sleep(max(0.0, self._due - self._clock()))
        self._due = max(self._due, self._clock()) + self._seconds
