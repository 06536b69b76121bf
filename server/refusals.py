"""Refusals: one class for each reason, with a text that is made for the caller.

Refusals of other packages that reach a caller as they are: `core.arrays.InvalidInputs` and the
`ChallengeError`s of `pow.challenge`. `server.catalogue` gives all of them their place on the wire.
"""


class Refusal(Exception):
    """A request the gate will not serve. The text is shown to the caller."""


class MalformedMessage(Refusal):
    """Bytes that are not the message the method takes, or too many of them."""


class MissingKey(Refusal):
    """No API key (or, on an open gate, no client id) came with the call."""


class UnknownKey(Refusal):
    """Unknown API key."""


class BadClientId(Refusal):
    """A client id that cannot name an account."""


class BadRequestId(Refusal):
    """A request id that is not a UUID."""


class RequestIdReused(Refusal):
    """The request id was used before, for other inputs."""


class RetriesExhausted(Refusal):
    """The same request was asked again more often than is allowed."""


class TooManyUnpaid(Refusal):
    """The client has too many batches whose answers it has not redeemed."""


class TooManyInFlight(Refusal):
    """The client has too many requests under way at once."""


class TooManyCalls(Refusal):
    """The client has more calls open than it has places; none of them ended in time."""


class BodyTooSlow(Refusal):
    """The caller did not send the message of its call in time."""


class StreamOver(Refusal):
    """The stream has been open for as long as a stream may be."""


class TooManyWrongCounters(Refusal):
    """The client has sent too many counters that solve nothing."""


class NothingToRedeem(Refusal):
    """The challenge is genuine, but this ledger holds no charge for it."""


class LedgerUnavailable(Refusal):
    """The ledger cannot answer, so nothing is given out."""
