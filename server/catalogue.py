"""Refusals on the wire: for each class its gRPC status, reason and details.

Whatever is not in the catalogue leaves the gate as INTERNAL "internal error", and goes to the log.
"""

from dataclasses import dataclass

from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from core.arrays import InvalidInputs
from pow import challenge
from protos.codec import CodecError
from server import refusals

DOMAIN = "powgate"


@dataclass(frozen=True, slots=True)
class Entry:
    """How a refusal looks to the caller. `retry_seconds` only where waiting alone helps."""

    status: int  # google.rpc.Code
    reason: str
    quota: bool = False
    retry_seconds: float | None = None


CATALOGUE: dict[type[Exception], Entry] = {
    refusals.MalformedMessage: Entry(code_pb2.INVALID_ARGUMENT, "MALFORMED_MESSAGE"),
    refusals.MissingKey: Entry(code_pb2.UNAUTHENTICATED, "MISSING_KEY"),
    refusals.UnknownKey: Entry(code_pb2.UNAUTHENTICATED, "UNKNOWN_KEY"),
    refusals.BadClientId: Entry(code_pb2.INVALID_ARGUMENT, "BAD_CLIENT_ID"),
    refusals.BadRequestId: Entry(code_pb2.INVALID_ARGUMENT, "BAD_REQUEST_ID"),
    refusals.RequestIdReused: Entry(code_pb2.ALREADY_EXISTS, "REQUEST_ID_REUSED"),
    refusals.RetriesExhausted: Entry(code_pb2.RESOURCE_EXHAUSTED, "RETRIES_EXHAUSTED", quota=True),
    refusals.TooManyUnpaid: Entry(code_pb2.RESOURCE_EXHAUSTED, "TOO_MANY_UNPAID", quota=True),
    refusals.TooManyInFlight: Entry(
        code_pb2.RESOURCE_EXHAUSTED, "TOO_MANY_IN_FLIGHT", quota=True, retry_seconds=0.1
    ),
    refusals.TooManyCalls: Entry(
        code_pb2.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS", quota=True, retry_seconds=1.0
    ),
    refusals.BodyTooSlow: Entry(code_pb2.DEADLINE_EXCEEDED, "BODY_TOO_SLOW"),
    refusals.StreamOver: Entry(code_pb2.UNAVAILABLE, "STREAM_OVER", retry_seconds=1.0),
    refusals.TooManyWrongCounters: Entry(
        code_pb2.RESOURCE_EXHAUSTED, "TOO_MANY_WRONG_COUNTERS", quota=True, retry_seconds=60.0
    ),
    refusals.NothingToRedeem: Entry(code_pb2.FAILED_PRECONDITION, "NOTHING_TO_REDEEM"),
    refusals.LedgerUnavailable: Entry(
        code_pb2.UNAVAILABLE, "LEDGER_UNAVAILABLE", retry_seconds=1.0
    ),
    CodecError: Entry(code_pb2.INVALID_ARGUMENT, "BAD_TENSOR"),
    InvalidInputs: Entry(code_pb2.INVALID_ARGUMENT, "INVALID_IMAGES"),
    challenge.MalformedChallenge: Entry(code_pb2.INVALID_ARGUMENT, "MALFORMED_CHALLENGE"),
    challenge.ForgedChallenge: Entry(code_pb2.INVALID_ARGUMENT, "FORGED_CHALLENGE"),
    challenge.ExpiredChallenge: Entry(code_pb2.FAILED_PRECONDITION, "EXPIRED_CHALLENGE"),
    challenge.ForeignChallenge: Entry(code_pb2.PERMISSION_DENIED, "FOREIGN_CHALLENGE"),
    challenge.WrongCounters: Entry(code_pb2.INVALID_ARGUMENT, "WRONG_COUNTERS"),
}


def status_of(error: Exception) -> status_pb2.Status:
    """google.rpc.Status of an exception: its entry, or INTERNAL "internal error"."""
    entry = CATALOGUE.get(type(error))
    if entry is None:
        return status_pb2.Status(code=code_pb2.INTERNAL, message="internal error")
    message = str(error)
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=entry.reason, domain=DOMAIN)]
    if entry.quota:
        violation = error_details_pb2.QuotaFailure.Violation(description=message)
        details.append(error_details_pb2.QuotaFailure(violations=[violation]))
    if entry.retry_seconds is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(round(entry.retry_seconds * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    return status_pb2.Status(code=entry.status, message=message, details=packed)
