"""Why a request to a gate failed: the exceptions of the SDK, all of them GateErrors."""


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
    `work` and `max_work` are in expected hashes, as `client.bounds` counts them.
    """

    def __init__(self, message: str, *, work: int, max_work: int) -> None:
        super().__init__(message)
        self.work = work
        self.max_work = max_work


class DeadlineExceeded(GateError):
    """The session's `deadline` passed before the answer was paid for; ask again by request id."""
