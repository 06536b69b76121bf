"""Exceptions of the SDK, all of them GateErrors; and what a gate's refusals mean for a request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cryptography.exceptions import InvalidTag
from google.protobuf.message import DecodeError

from pow.challenge import ChallengeError
from pow.solver import Cancelled, Exhausted
from pow.solver import DeadlineExceeded as SolverLate

UNPAID = "TOO_MANY_UNPAID"
"""Reason after which waiting helps only those that wait for their own payments."""

ASKED_ANEW = ("EXPIRED_CHALLENGE", "NOTHING_TO_REDEEM")
"""Reasons after which the same request gets another challenge: expired, or priced again."""

SPOILT = (
    *ASKED_ANEW,
    "FOREIGN_CHALLENGE",
    "FORGED_CHALLENGE",
    "MALFORMED_CHALLENGE",
    "WRONG_COUNTERS",
)
"""Reasons after which a solution is useless. After any other it is kept."""


class GateError(Exception):
    """The gate did not answer as asked.

    `request_id` is that of the request, where there was one: asked again under it, it is charged
    once, and an answer that was paid for is still to be had.
    """

    request_id: str | None = None


class Refused(GateError):
    """The gate refused. `reason` is a word for programs, such as TOO_MANY_UNPAID."""

    def __init__(self, reason: str, message: str, retry_seconds: float | None) -> None:
        super().__init__(f"{message} ({reason})")
        self.reason = reason
        self.message = message
        self.retry_seconds = retry_seconds


class Unreachable(GateError):
    """The gate could not be reached, or gave up, within the time allowed."""


class Closed(GateError):
    """The session is closed, or was while a request or a puzzle was under way."""


class BadAnswer(GateError):
    """What the gate said cannot be read, cannot be opened, or is not about this request."""


class TooMuchWork(GateError):
    """The gate asks for more work than the session's `max_work`; nothing was solved.

    The charge stays. The same request id can be asked again by a session with a larger `max_work`.
    `work` and `max_work` are in expected hashes, as `client.solving` counts them.
    """

    def __init__(self, message: str, *, work: int, max_work: int) -> None:
        super().__init__(message)
        self.work = work
        self.max_work = max_work


class DeadlineExceeded(GateError):
    """The session's `deadline` passed before the answer was paid for; ask again by request id."""


@contextmanager
def as_gate_errors() -> Iterator[None]:
    """Raises what fails in reading, solving and opening an answer as the GateError it means."""
    try:
        yield
    except Cancelled as error:
        raise Closed("the session was closed before the answer was paid for") from error
    except SolverLate as error:
        raise DeadlineExceeded(f"the deadline passed: {error}") from error
    except (ChallengeError, DecodeError, Exhausted, InvalidTag, ValueError) as error:
        raise BadAnswer(f"the gate's answer cannot be opened: {error!r}") from error


@contextmanager
def about(request_id: str) -> Iterator[None]:
    """Sets the request id of every GateError."""
    try:
        yield
    except GateError as error:
        error.request_id = request_id
        raise
