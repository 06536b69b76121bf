"""The pace of a client: a request every so many seconds."""

from collections.abc import Callable


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
