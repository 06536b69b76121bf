"""Runs a plan on a session: keeps to the budget, saves the surrogate whenever it has learnt."""

import time
from collections.abc import Callable
from pathlib import Path

from attacks.world import Answers, Images, Price, Probe, Student
from core.learning import artifacts


class Driver:
    """One attack under way. `predict` answers a batch, `price` says what it would cost.

    `saved` is told of every checkpoint. A batch counts when it is paid for, not when it is priced.

    The driver never trains and never reads held-out data. It stops before a batch that would go
    beyond the budget: a batch that is cut short would be paid for and be of no use to the plan.
    """

    def __init__(
        self,
        plan: Probe,
        student: Student,
        *,
        predict: Callable[[Images], Answers],
        price: Callable[[Images], int],
        budget: int,
        surrogates: Path | None,
        saved: Callable[[int, str, float], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._plan = plan
        self._student = student
        self._predict = predict
        self._price = price
        self._budget = budget
        self._surrogates = surrogates
        self._saved = saved
        self._clock = clock
        self._lessons = student.lessons
        self.asked = 0

    def run(self) -> None:
        """Asks until the plan or the budget ends. What predict() raises ends the plan, too."""
        try:
            batch = self._resume(None)
            while batch is not None:
                if isinstance(batch, Price):
                    batch = self._resume(self._price(batch.images))
                    continue
                if self.asked + len(batch) > self._budget:
                    break
                answers = self._predict(batch)
                self.asked += len(batch)
                batch = self._resume(answers)
        finally:
            self._plan.close()

    def _resume(self, answers: Answers | int | None) -> Images | Price | None:
        """The plan's next batch, None at its end; a checkpoint if the surrogate learnt."""
        start = self._clock()
        try:
            # Sending None starts a generator.
            batch = self._plan.send(answers)
        except StopIteration:
            batch = None
        if self._student.lessons > self._lessons:
            self._lessons = self._student.lessons
            seconds = self._clock() - start
            name = f"{self.asked:06d}.safetensors"
            if self._surrogates is not None:
                artifacts.save_network(
                    self._surrogates / name, self._student.network, asked=self.asked
                )
            self._saved(self.asked, name, seconds)
        return batch
