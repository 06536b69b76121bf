"""Solves the puzzles of offers, within bounds, and keeps solutions until they are redeemed."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.errors import BadAnswer, DeadlineExceeded, TooMuchWork, as_gate_errors
from client.offer import Offer, expected_hashes
from core.arrays import digest
from pow.puzzle import Puzzle
from pow.solver import Solution, search, solve
from protos import codec

MAX_WORK = 1 << 40
"""Default `max_work`, in expected hashes: an hour and more on one thread of a fast machine.

The most expensive batch of a default calibration (256 images at the cap) is 8 000 times the time
that 64 images take the gate: below this where they take up to half a second at 250 MH/s. What a
slower gate asks at its cap takes longer than most would wait, and has to be allowed by name.
"""

DEADLINE = 3600.0
"""Default `deadline`, in seconds."""

SOLVERS = ("native", "python", "virtual")
MAX_THREADS = 1024

KEPT = 64
"""Solutions kept at a time; the oldest is dropped first."""


class Solving:
    """A solver of pow.solver, with its bounds; safe to share between threads.

    Raises ValueError for settings that no solver takes.
    """

    def __init__(
        self,
        solver: str,
        *,
        threads: int,
        max_work: int | None,
        rng: np.random.Generator | None,
        cancel: threading.Event,
    ) -> None:
        if solver not in SOLVERS:
            raise ValueError(f"solver is {solver!r}; expected one of {', '.join(SOLVERS)}")
        if type(threads) is not int or not 1 <= threads <= MAX_THREADS:
            raise ValueError(f"threads is {threads!r}; expected at least 1, at most {MAX_THREADS}")
        if solver == "virtual" and rng is None:
            raise ValueError("rng is None; expected a random generator, for the virtual solver")
        if max_work is not None and (type(max_work) is not int or max_work < 0):
            raise ValueError(f"max_work is {max_work!r}; expected hashes, a whole number from 0")
        self.solver = solver
        self._threads = threads
        self._max_work = max_work
        self._rng = rng
        self._cancel = cancel
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[Offer, Solution]] = OrderedDict()

    def get_ready(self, algorithm: str) -> None:
        """Loads the compiled solver. Raises BadAnswer for puzzles that this solver cannot solve."""
        if (algorithm == "virtual") != (self.solver == "virtual"):
            raise BadAnswer(
                f"the gate's puzzles are {algorithm}; the solver {self.solver} cannot solve them"
            )
        if self.solver == "native":
            kernel = "sha256" if algorithm == "sha256" else "sha1"
            search("x" * 60, 12, 1, algorithm=kernel)

    def solution(self, offer: Offer, *, seconds: float, rate: float, before: int) -> Solution:
        """The stamps of an offer, found within `seconds`, and kept; `rate` is of virtual hashes.

        `before` is what was solved for the same answer in vain, in expected hashes.
        Raises TooMuchWork, DeadlineExceeded, Closed, BadAnswer.
        """
        self._check_work(offer.challenge.puzzle, before)
        if seconds <= 0:
            raise DeadlineExceeded("the deadline passed before the puzzle could be begun")
        with as_gate_errors():
            solution = solve(
                offer.challenge,
                solver=self.solver,
                threads=self._threads,
                cancel=self._cancel,
                deadline=None if seconds == math.inf else seconds,
                rate=rate,
                rng=self._rng,
            )
        with self._lock:
            self._kept[offer.request_id] = offer, solution
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return solution

    def kept_solution(self, offer: Offer) -> Solution | None:
        """How this very challenge was solved before."""
        with self._lock:
            kept = self._kept.get(offer.request_id)
        return kept[1] if kept is not None and kept[0].challenge == offer.challenge else None

    def kept_offer(self, request_id: str, images: NDArray[Any]) -> Offer | None:
        """The solved offer of a request for these images (b, c, h, w)."""
        with self._lock:
            kept = self._kept.get(request_id)
        if kept is None:
            return None
        inputs = digest(images.dtype.name, images.shape, codec.encode(images).data)
        return kept[0] if kept[0].challenge.digest == inputs else None

    def drop(self, offer: Offer) -> None:
        """Forgets a solution: it was redeemed, or never will be."""
        with self._lock:
            self._kept.pop(offer.request_id, None)

    def _check_work(self, puzzle: Puzzle, before: int) -> None:
        """Raises TooMuchWork beyond `max_work`; virtual work is drawn, not solved."""
        work = before + expected_hashes(puzzle)
        if self._max_work is None or puzzle.algorithm == "virtual" or work <= self._max_work:
            return
        vain = f", {before} of them solved already, in vain" if before else ""
        raise TooMuchWork(
            f"the gate asks for {puzzle.count} stamps of {puzzle.bits} bits ({puzzle.algorithm}), "
            f"{work} expected hashes{vain}; max_work is {self._max_work}",
            work=work,
            max_work=self._max_work,
        )
