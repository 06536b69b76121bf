"""The server's log on stderr, limited in how often an entry is repeated."""

import logging
import time
from collections.abc import Callable

OFTEN = 5
"""Entries of one kind that are written in each period."""

PERIOD = 60.0
"""Seconds."""


class Sparse(logging.Filter):
    """Lets through a few entries of each kind a minute, and says how many it has left out.

    A kind is a place in the code: what callers can cause as often as they like, grpc's own
    messages too, fills no disk.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._kinds: dict[tuple[str, str, int], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        kind = (record.name, record.pathname, record.lineno)
        now = self._clock()
        since, seen = self._kinds.get(kind, (now, 0))
        if now - since >= PERIOD:
            if seen > OFTEN:
                record.msg = f"{record.getMessage()} ({seen - OFTEN} more were not written)"
                record.args = ()
            since, seen = now, 0
        self._kinds[kind] = since, seen + 1
        return seen < OFTEN


def configure() -> None:
    """Sends the log of the whole process to stderr."""
    handler = logging.StreamHandler()
    handler.addFilter(Sparse())
    logging.basicConfig(
        format="%(asctime)s %(levelname)s %(name)s: %(message)s", handlers=[handler]
    )
