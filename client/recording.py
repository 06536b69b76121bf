"""The record of one client process: a line for each exchange, checkpoint, and the end."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from client.errors import DeadlineExceeded, GateError, Refused, TooMuchWork, Unreachable
from client.exchange import Exchange
from client.options import Connection
from client.session import Session
from core.records import RecordWriter, provenance

STOPPED = 3
"""Exit code of a client that the gate refused, that lost the gate, or that was told to stop."""


class Interrupted(BaseException):
    """The process was told to stop (SIGTERM): like KeyboardInterrupt, no error."""


class Recorder:
    """Writes what happens to a record file; without a file it only counts.

    Lines: `predict` (an Exchange, plus `asked`, images so far, and `at`, seconds since the start),
    `checkpoint`, `pool` (images and budget of a thief who has fewer images than budget), `answers`
    (how many of an honest client were right, by its labels), and one `end` with status done,
    refused, unreachable or interrupted.
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
        self.asked = 0
        self._lost: OSError | ValueError | None = None

    def observe(self, exchange: Exchange, *, account: str = "") -> None:
        """One predict() that was answered and opened, under another account if one is given."""
        with self._lock:
            self.asked += exchange.images
            client = account or self._client
            self.write("predict", client=client, asked=self.asked, **asdict(exchange))

    def write(self, kind: str, /, **fields: Any) -> None:
        """One line, with the seconds since the start."""
        if self._writer is None:
            return
        try:
            self._writer.write(kind, at=self._clock() - self._start, **fields)
        except (OSError, ValueError) as error:
            self._lost = self._lost or error
            raise

    def check_whole(self) -> None:
        """Raises OSError where a line could not be written."""
        if self._lost is not None:
            raise OSError(f"the record has lost a line: {self._lost}") from self._lost

    def close(self) -> None:
        """Closes the file."""
        if self._writer is not None:
            self._writer.close()


@contextmanager
def recorded_session(
    connection: Connection, recorder: Recorder, *, rng: np.random.Generator
) -> Iterator[Session]:
    """A session that writes its exchanges and how it ended; see `recorded`."""
    with (
        recorded(recorder),
        connect(connection, connection.credentials(), observe=recorder.observe, rng=rng) as session,
    ):
        yield session


def connect(
    connection: Connection,
    credentials: Mapping[str, str],
    *,
    observe: Callable[[Exchange], None],
    rng: np.random.Generator,
) -> Session:
    """A session of the account that these credentials are of."""
    return Session(
        connection.target,
        key=credentials.get("key"),
        client_id=credentials.get("client_id"),
        ca=connection.ca,
        tls=connection.tls,
        insecure=connection.insecure,
        name=connection.name,
        solver=connection.solver,
        threads=connection.threads,
        timeout=connection.timeout,
        deadline=connection.deadline,
        max_work=connection.max_work,
        observe=observe,
        rng=rng,
    )


@contextmanager
def recorded(recorder: Recorder) -> Iterator[None]:
    """Writes how what is done meanwhile ended, and closes the record.

    GateErrors, Interrupted and KeyboardInterrupt are recorded and go on to the caller. Raises
    OSError where a line was lost: an observer's failure costs no answer, but a record with a hole
    is none.
    """
    status, reason = "crashed", "the client ended by an exception of its own"
    try:
        with stoppable():
            yield
        recorder.check_whole()
        status, reason = "done", ""
    except ENDED as error:
        status, reason = "refused", str(error)
        raise
    except Unreachable as error:
        status, reason = "unreachable", str(error)
        raise
    except GateError as error:
        reason = str(error)
        raise
    except (Interrupted, KeyboardInterrupt):
        status, reason = "interrupted", "told to stop"
        raise
    finally:
        recorder.write("end", status=status, reason=reason)
        recorder.close()


@contextmanager
def stoppable() -> Iterator[None]:
    """Turns SIGTERM into Interrupted while it lasts, so that what was learnt can be saved."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted("told to stop")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


ENDED = (Refused, TooMuchWork, DeadlineExceeded)
"""What ends a client with status refused: the gate's refusal, or its own of such a price."""

STOPS = (*ENDED, Unreachable, Interrupted)
"""How a client may end early without having crashed."""
