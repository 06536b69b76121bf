"""Puzzles: how many stamps of how many bits a work is.

A work W (expected hashes) is k hashcash stamps of b bits with one common prefix: the solving time
then has a coefficient of variation of sqrt((1 - 2**-b) / k) instead of 1. Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pow.hashcash import MAX_BITS

ALGORITHMS: Final = ("sha1", "sha256", "argon2id", "virtual")
MAX_WORK: Final = 1 << 60
STAMPS: Final = 16  # k is at least this and less than twice this
ARGON2_STAMPS: Final = 4  # the same for argon2id

_SLOWEST = {"argon2id": 250.0}  # tries a second of a slow client; hashes: 1 MH/s
LONGEST: Final = 86_400.0  # seconds a challenge may stay open


@dataclass(frozen=True, slots=True)
class Puzzle:
    """`count` stamps of `bits` bits under `algorithm`; ValueError when out of range."""

    algorithm: str
    bits: int
    count: int

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise ValueError(
                f"algorithm must be one of {', '.join(ALGORITHMS)}, not {self.algorithm!r}"
            )
        if not 0 <= self.bits <= MAX_BITS:
            raise ValueError(f"bits must be from 0 to {MAX_BITS}, not {self.bits!r}")
        if not 0 <= self.count < 2 * STAMPS:
            raise ValueError(f"count must be from 0 to {2 * STAMPS - 1}, not {self.count!r}")

    @property
    def work(self) -> int:
        """Expected hashes."""
        return self.count << self.bits


def puzzle_for(work: int, algorithm: str = "sha1") -> Puzzle:
    """The puzzle that stands for `work` expected hashes; work 0 is no stamp at all.

    The nearest k * 2**b with 16 <= k < 32, off by at most 1/33 of the work; exact below 32. For
    argon2id, whose stamps take milliseconds to verify, the next k * 2**b above with 4 <= k < 8:
    never less than the work, and at most a quarter more; exact below 8.
    """
    if not isinstance(work, int) or isinstance(work, bool) or not 0 <= work <= MAX_WORK:
        raise ValueError(f"work must be a whole number from 0 to 2**60, not {work!r}")
    stamps = ARGON2_STAMPS if algorithm == "argon2id" else STAMPS
    if work < stamps:
        return Puzzle(algorithm, 0, work)
    bits = work.bit_length() - stamps.bit_length()
    count = -(-work >> bits) if algorithm == "argon2id" else work + (1 << bits >> 1) >> bits
    if count == 2 * stamps:
        return Puzzle(algorithm, bits + 1, stamps)
    return Puzzle(algorithm, bits, count)


def lifetime(work: int, algorithm: str = "sha1") -> float:
    """Seconds a challenge stays open: ten times what a slow client needs, 10 min to a day."""
    return min(max(600.0, 10.0 * work / _SLOWEST.get(algorithm, 1e6)), LONGEST)
