"""Which puzzle stands for an amount of work."""

import math
from dataclasses import dataclass
from fractions import Fraction

from pow.puzzle import MAX_WORK, Puzzle, puzzle_for

BATCH = 64
"""Images to which a price refers; n images pay n/64 of it."""

ARGON2_LEAST = 64
"""Tries per 64 images from which on argon2id is asked."""


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
