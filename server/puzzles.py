"""Which puzzle stands for an amount of work, and how often a client may get one wrong."""

import math
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from pow.puzzle import MAX_WORK, Puzzle, puzzle_for
from server.refusals import TooManyWrongCounters

BATCH = 64
"""Images to which a price refers; n images pay n/64 of it."""

ARGON2_LEAST = 64
"""Tries per 64 images from which on argon2id is asked."""

STRIKES = 16
"""Wrong sets of counters a client may send in STRIKE_SECONDS. An honest one sends none."""

STRIKE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Puzzles:
    """The algorithm of a gate. Work is counted in hashes of `algorithm`, or of SHA-1 for argon2id.

    `tries_per_hash` converts work into argon2id tries that take the same time here. Prices below
    ARGON2_LEAST tries per 64 inputs, which take about 50 ms, are asked in SHA-1: an honest user
    must not wait longer for the check than for the work.
    """

    algorithm: str
    tries_per_hash: float = 1.0  # argon2id only: its rate / the rate of SHA-1

    def choose(self, work: int, batch: Fraction) -> Puzzle:
        """The puzzle that stands for `work` expected hashes, where 64 images cost `batch` of them.

        The algorithm depends on the price of 64 images: small batches are asked in the same one as
        large ones. Rounded up: no way of cutting a query into batches makes it cheaper.
        """
        if self.algorithm == "argon2id":
            if batch * Fraction(self.tries_per_hash) >= ARGON2_LEAST:
                tries = math.ceil(work * self.tries_per_hash)
                return puzzle_for(min(tries, MAX_WORK), "argon2id")
            return puzzle_for(work, "sha1")
        return puzzle_for(work, self.algorithm)


class Strikes:
    """Counts wrong counters by client: checking them must not be a lever against the gate."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
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
