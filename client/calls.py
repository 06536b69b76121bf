"""Calls to a gate, made again while that helps and time is left."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from client.errors import (
    UNPAID,
    BadAnswer,
    Closed,
    DeadlineExceeded,
    GateError,
    Refused,
    Unreachable,
)

AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
"""Status codes that are retried: gate down or shutting down (nobody else cancels)."""

MAX_SECONDS = 1e9  # gRPC takes what ends after the year 2262 for what has passed

_FULL = grpc.StatusCode.RESOURCE_EXHAUSTED
_LATE = grpc.StatusCode.DEADLINE_EXCEEDED
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
_MOST_TEXT = 500  # characters of a refusal

_T = TypeVar("_T")


class Calls:
    """Makes calls as one account. `fault(seconds)` tells why a gate can never be reached."""

    def __init__(
        self,
        metadata: tuple[tuple[str, str], ...],
        *,
        timeout: float,
        fault: Callable[[float], str | None],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        check_seconds("timeout", timeout)
        self._metadata = metadata
        self._timeout = timeout
        self._fault = fault
        self._clock = clock
        self.closed = threading.Event()
        self._sleep = sleep or self.closed.wait
        self._reached = False

    def __call__(
        self,
        method: Callable[..., _T],
        request: Any,
        *,
        until: float = float("inf"),
        began: float | None = None,
        unpaid_waits: bool = False,
    ) -> _T:
        """One RPC, made again while the gate is away, or full, and time is left.

        Time is `timeout` seconds, from `began` on the clock where given, or up to `until` on it if
        that is sooner. A gate that has too many unpaid batches of this account is full only where
        `unpaid_waits`. Raises Refused, Unreachable, BadAnswer, Closed, DeadlineExceeded.
        """
        limit = min((self._clock() if began is None else began) + self._timeout, until)
        pause = _FIRST_PAUSE
        while True:
            self.check_open()
            try:
                answer = method(
                    request, metadata=self._metadata, timeout=max(0.0, limit - self._clock())
                )
            except grpc.RpcError as error:
                # `from None`: a traceback of gRPC's error shows what the gate said as it stands
                if self.closed.is_set():
                    raise Closed("the session was closed before the gate answered") from None
                code, failure = error.code(), refusal(error)
                away = code in AWAY
                told = isinstance(failure, Refused) and failure.reason != code.name  # by the gate
                wait = _wait(code, failure, told=told, unpaid_waits=unpaid_waits)
                if away and not told and not self._reached:
                    why = self._fault(max(0.01, limit - self._clock()))
                    if why is not None:
                        raise Unreachable(why) from None
                self._reached = self._reached or told or not away
                late = code is _LATE and not told
                if wait is None and not late:
                    raise failure from None
                wait = max(wait or 0.0, pause)
                if late or self._clock() + wait >= limit:
                    if limit == until:
                        failure = DeadlineExceeded(
                            f"the deadline passed before the gate answered: {failure}"
                        )
                    elif late or away:
                        failure = Unreachable(f"no answer in {self._timeout:g} s: {failure}")
                    raise failure from None
            except ValueError as error:  # how gRPC says that a channel is closed
                self.check_open()
                raise Unreachable(f"the call cannot be made: {error}") from error
            else:
                self._reached = True
                if answer is None:  # how gRPC says that a call ended well without a message
                    raise BadAnswer("the gate says that it answered, and sent no answer")
                return answer
            self._sleep(wait)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def check_open(self) -> None:
        """Raises Closed once the session is closed."""
        if self.closed.is_set():
            raise Closed("the session is closed")


def _wait(
    code: grpc.StatusCode, failure: GateError, *, told: bool, unpaid_waits: bool
) -> float | None:
    """Seconds until a failed call is repeated; None where that does not help."""
    retry = failure.retry_seconds if isinstance(failure, Refused) else None
    if code in AWAY:
        return retry or 0.0
    if code is not _FULL or not isinstance(failure, Refused):
        return None
    if failure.reason == UNPAID:
        return (retry or 0.0) if unpaid_waits else None
    if told:
        return retry
    # of the transport: all its calls are taken, or a message is too large
    return None if "larger than max" in failure.message else 0.0


def refusal(error: grpc.RpcError) -> GateError:
    """The refusal inside an RPC error; BadAnswer where its details are none."""
    code, message = error.code(), line(error.details())
    reason, retry = code.name, None
    try:
        status = rpc_status.from_call(error)
        for detail in () if status is None else status.details:
            info, wait = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
            if detail.Unpack(info):
                reason = info.reason
            elif detail.Unpack(wait):
                retry = wait.retry_delay.seconds + wait.retry_delay.nanos / 1e9
    except (DecodeError, TypeError, ValueError) as wrong:
        return BadAnswer(f"a refusal ({code.name}) that cannot be read: {line(str(wrong))}")
    if not re.fullmatch(r"[A-Z0-9_]{1,63}", reason) or not 0 <= (retry or 0.0) < 1e9:
        return BadAnswer(
            f"a refusal ({code.name}) that cannot be read: reason {reason[:63]!r}, "
            f"to be repeated after {retry} s"
        )
    return Refused(reason, message or reason, retry)


def line(text: str | None) -> str:
    """Text of a gate as one line that a terminal can show."""
    shown = (text or "")[:_MOST_TEXT]
    return "".join(letter if letter.isprintable() else " " for letter in shown)


def check_seconds(name: str, seconds: float) -> None:
    """Raises ValueError for seconds out of range."""
    if not isinstance(seconds, (int, float)) or not 0 < seconds <= MAX_SECONDS:
        raise ValueError(
            f"{name} is {seconds!r}; expected seconds, more than 0, at most {MAX_SECONDS:g}"
        )
