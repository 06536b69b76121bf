"""Computing an answer: victim, measure, defence; in parts, on a thread of their own."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.arrays import digest
from server.defences import Perturbation
from server.ledger import DIGEST_BYTES, NANO, Batch
from server.model import Model
from server.puzzles import BATCH
from server.victims import blank, taken


@dataclass(slots=True)
class Steps:
    """Seconds spent in each step of one request."""

    seconds: dict[str, float] = field(default_factory=dict)
    moved: list[NDArray[np.float64]] = field(default_factory=list)  # of a defence: see `distance`

    def distance(self) -> dict[str, float]:
        """How far a defence moved the answers: mean L1 distance, and the share whose best class
        stayed. Empty without a defence.
        """
        if not self.moved:
            return {}
        l1, kept = np.concatenate(self.moved, axis=1).mean(axis=1)
        return {"l1": round(float(l1), 6), "kept": round(float(kept), 6)}

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


class Inference:
    """Answers of a model, as clients get them, and what they reveal."""

    def __init__(self, model: Model, perturbation: Perturbation | None, pool: Executor) -> None:
        self._model = model
        self._perturbation = perturbation
        self._pool = pool

    def warm_up(self, batch: int) -> None:
        """Computes a batch in the calling thread."""
        victim = self._model.victim
        self._compute("", taken(victim, blank(victim, batch)), True, Steps())

    async def answer(
        self, client: str, inputs: NDArray[Any], steps: Steps, *, measured: bool = True
    ) -> tuple[NDArray[np.float32], Batch]:
        """Probabilities (b, k) to give out for inputs (b, *shape), and what to charge.

        A retry is never measured again: its batch is empty. Each part of a batch is a job of its
        own, so that what others wait for does not depend on the size of the batch.
        """
        loop, whole = asyncio.get_running_loop(), taken(self._model.victim, inputs)
        parts = [
            await loop.run_in_executor(
                self._pool, self._compute, client, whole[at : at + BATCH], measured, steps
            )
            for at in range(0, len(whole), BATCH)
        ]
        answers, costs, digests = zip(*parts, strict=True)
        return np.concatenate(answers), Batch(
            tuple(round(float(cost) * NANO) for cost in np.concatenate(costs)),
            tuple(digest for part in digests for digest in part),
        )

    def _compute(
        self, client: str, inputs: NDArray[Any], measured: bool, steps: Steps
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], list[bytes]]:
        """What the client gets of inputs (b, *shape), their costs (b,), and their digests.

        The measure sees what the victim says, the client what the defence makes of it.
        """
        with steps.timed("victim"):
            answer = self._model.victim.answer(inputs)
        given, costs, digests = answer.probabilities, np.empty(0), []
        if measured:
            with steps.timed("measure"):
                costs = self._model.measure.cost(inputs, answer)
                digests = [
                    digest(each.dtype.name, each.shape, each.tobytes())[:DIGEST_BYTES]
                    for each in inputs
                ]
        if self._perturbation is not None:
            with steps.timed("defence"):
                given = self._perturbation.answer(answer.probabilities, inputs, client)
            l1 = np.abs(given.astype(np.float64) - answer.probabilities).sum(axis=1)
            kept = given.argmax(axis=1) == answer.probabilities.argmax(axis=1)
            steps.moved.append(np.stack([l1, kept]))
        return given, costs, digests
