"""How much work a session does for one answer, at most: a gate's word alone is no reason."""

from __future__ import annotations

from client.errors import TooMuchWork
from pow.puzzle import Puzzle

MAX_WORK = 1 << 40
"""Default `max_work`, in expected hashes: an hour and more on one thread of a fast machine.

The dearest batch of a default calibration (256 images at the cap) is 8 000 times the time that 64
images take the gate: below this where they take up to half a second at 250 MH/s. What a slower
gate asks at its cap takes longer than most would wait, and has to be allowed by name.
"""

DEADLINE = 3600.0
"""Default `deadline`, in seconds."""

ARGON2ID_TRY = 1 << 17
"""Hashes that a try of argon2id counts for: a thread that makes 800 tries a second makes about
100 million hashes of SHA-1, so that a price stays what it is under either."""


def expected_hashes(puzzle: Puzzle) -> int:
    """Work of a puzzle, read from its stamps; tries of argon2id are converted."""
    return puzzle.work * (ARGON2ID_TRY if puzzle.algorithm == "argon2id" else 1)


def check_work(puzzle: Puzzle, max_work: int | None, *, before: int = 0) -> None:
    """Raises TooMuchWork for a puzzle beyond `max_work`; a virtual one is drawn, not solved.

    `before` is what was solved for the same answer in vain, in expected hashes.
    """
    if max_work is None or puzzle.algorithm == "virtual":
        return
    work = before + expected_hashes(puzzle)
    if work > max_work:
        vain = f", {before} of them solved already, in vain" if before else ""
        raise TooMuchWork(
            f"the gate asks for {puzzle.count} stamps of {puzzle.bits} bits ({puzzle.algorithm}), "
            f"{work} expected hashes{vain}; max_work is {max_work}",
            work=work,
            max_work=max_work,
        )
