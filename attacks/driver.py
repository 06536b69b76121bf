"""Runs a plan: keeps to the budget, saves the surrogate whenever it was trained."""

import time
from collections.abc import Callable
from pathlib import Path

from attacks.world import Answers, Images, Plan, Price, Surrogate
from core.learning import artifacts


class Driver:
    """One attack under way. `predict` answers a batch, `price` says what it would cost.

    `saved` is told of every checkpoint. A batch counts when it is paid for, not when it is priced.

    The driver never trains and never reads held-out data. It stops before a batch that would go
    beyond the budget: a batch that is cut short would be paid for and be of no use to the plan.
    """

    def __init__(
        self,
        plan: Plan,
        surrogate: Surrogate,
        *,
        predict: Callable[[Images], Answers],
        price: Callable[[Images], int],
        budget: int,
        surrogates: Path | None,
        saved: Callable[[int, str, float], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._plan = plan
        self._surrogate = surrogate
        self._predict = predict
        self._price = price
        self._budget = budget
        self._surrogates = surrogates
        self._saved = saved
        self._clock = clock
        self._rounds = surrogate.rounds
        self.asked = 0

    def run(self) -> None:
        """Asks until the plan or the budget ends. What predict() raises ends the plan, too."""
        try:
            batch = self._next(None)
            while batch is not None:
                if isinstance(batch, Price):
                    batch = self._next(self._price(batch.images))
                    continue
                if self.asked + len(batch) > self._budget:
                    break
                answers = self._predict(batch)
                self.asked += len(batch)
                batch = self._next(answers)
        finally:
            self._plan.close()

    def _next(self, answers: Answers | int | None) -> Images | Price | None:
        """The plan's next batch, None at its end; a checkpoint if the surrogate was trained."""
        start = self._clock()
        try:
            # Sending None starts a generator.
            batch = self._plan.send(answers)
        except StopIteration:
            batch = None
        if self._surrogate.rounds > self._rounds:
            self._rounds = self._surrogate.rounds
            seconds = self._clock() - start
            name = f"{self.asked:06d}.safetensors"
            if self._surrogates is not None:
                artifacts.save_network(
                    self._surrogates / name, self._surrogate.network, asked=self.asked
                )
            self._saved(self.asked, name, seconds)
        return batch
