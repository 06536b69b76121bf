"""Which puzzle stands for an amount of work, and how often a client may get one wrong."""

import math
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass

from pow.puzzle import smallest_work
from server.refusals import TooManyWrongCounters

STRIKES = 16
"""Wrong sets of counters a client may send in STRIKE_SECONDS. An honest one sends none."""

STRIKE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Puzzles:
    """The algorithm of a gate. Work is counted in hashes of `algorithm`, or of SHA-1 for argon2id.

    argon2id starts at 64 tries, about 50 ms, so smaller prices are asked in SHA-1, whatever the
    algorithm; `tries_per_hash` converts the larger ones, so that they take the same time here.
    """

    algorithm: str
    tries_per_hash: float = 1.0  # argon2id only: its rate / the rate of SHA-1

    def choose(self, work: int) -> tuple[str, int]:
        """Algorithm and expected tries for `work` expected hashes; the same for every retry."""
        if self.algorithm != "argon2id":
            return self.algorithm, work
        tries = math.floor(work * self.tries_per_hash)
        if tries < smallest_work("argon2id"):
            return "sha1", work
        return "argon2id", tries


class Strikes:
    """Counts wrong counters by client: checking them must not be a lever against the gate."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._times: defaultdict[str, deque[float]] = defaultdict(deque)

    def check(self, client: str) -> None:
        """Raises TooManyWrongCounters while the client has no strike left."""
        times = self._times.get(client)
        if times is None:
            return
        while times and times[0] <= self._clock() - STRIKE_SECONDS:
            times.popleft()
        if not times:
            del self._times[client]
        elif len(times) >= STRIKES:
            wait = times[0] + STRIKE_SECONDS - self._clock()
            raise TooManyWrongCounters(
                f"{len(times)} wrong sets of counters in {STRIKE_SECONDS:.0f} s; "
                f"try again in {wait:.0f} s"
            )

    def add(self, client: str) -> None:
        """One more wrong set of counters."""
        self._times[client].append(self._clock())
