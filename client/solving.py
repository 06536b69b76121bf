"""How a session solves: with which solver, on how many threads, and how much at most."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

import numpy as np

from client.bounds import check_work
from client.errors import BadAnswer, Closed, DeadlineExceeded
from client.wire import unreadable
from pow.challenge import Challenge, ChallengeError
from pow.solver import Cancelled, Exhausted, Solution, search, solve
from pow.solver import DeadlineExceeded as SolverLate


@dataclass(frozen=True, slots=True)
class Solving:
    """A solver of pow.solver, with its bounds."""

    solver: str
    threads: int
    max_work: int | None  # expected hashes, see client.bounds
    rng: np.random.Generator | None
    cancel: threading.Event

    def get_ready(self, algorithm: str) -> None:
        """Loads the compiled solver. Raises BadAnswer for puzzles that this solver cannot solve."""
        if (algorithm == "virtual") != (self.solver == "virtual"):
            raise BadAnswer(
                f"the gate's puzzles are {algorithm}; the solver {self.solver} cannot solve them"
            )
        if self.solver == "native":
            kernel = "sha256" if algorithm == "sha256" else "sha1"
            search("x" * 60, 12, 1, algorithm=kernel)

    def solution(
        self, challenge: Challenge, *, seconds: float, rate: float, before: int
    ) -> Solution:
        """The stamps of a challenge, found within `seconds`; `rate` is of virtual hashes.

        `before` is what was solved for the same answer in vain, in expected hashes.
        Raises TooMuchWork, DeadlineExceeded, Closed, BadAnswer.
        """
        check_work(challenge.puzzle, self.max_work, before=before)
        if seconds <= 0:
            raise DeadlineExceeded("the deadline passed before the puzzle could be begun")
        try:
            return solve(
                challenge,
                solver=self.solver,
                threads=self.threads,
                cancel=self.cancel,
                deadline=None if seconds == math.inf else seconds,
                rate=rate,
                rng=self.rng,
            )
        except Cancelled as error:
            raise Closed("the session was closed before the answer was paid for") from error
        except SolverLate as error:
            raise DeadlineExceeded(f"the deadline passed: {error}") from error
        except (ChallengeError, Exhausted, ValueError) as error:
            raise unreadable(error) from error
