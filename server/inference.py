"""Computing an answer: victim, measure, defence; in parts, on a thread of their own."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.arrays import digest, to_float
from server.defences import Perturbation
from server.ledger import DIGEST_BYTES, NANO, Batch
from server.model import Model
from server.pricing import BATCH


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

    async def answer(
        self, client: str, images: NDArray[Any], steps: Steps
    ) -> tuple[NDArray[np.float32], Batch]:
        """Posterior (b, k) to give out for images (b, c, h, w), and what to charge."""
        computed = await self._in_parts(client, images, True, steps)
        batches = [batch for _, batch in computed if batch is not None]
        return _posterior(computed), _joined(batches)

    async def again(self, client: str, images: NDArray[Any], steps: Steps) -> NDArray[np.float32]:
        """The posterior alone: a retry is never measured again."""
        return _posterior(await self._in_parts(client, images, False, steps))

    async def _in_parts(
        self, client: str, images: NDArray[Any], measured: bool, steps: Steps
    ) -> list[tuple[NDArray[np.float32], Batch | None]]:
        """Each part is a job of its own: what others wait for does not depend on the batch."""
        loop, pixels, parts = asyncio.get_running_loop(), to_float(images), []
        for first in range(0, len(pixels), BATCH):
            part = pixels[first : first + BATCH]
            parts.append(
                await loop.run_in_executor(self._pool, self._compute, client, part, measured, steps)
            )
        return parts

    def _compute(
        self, client: str, pixels: NDArray[np.float32], measured: bool, steps: Steps
    ) -> tuple[NDArray[np.float32], Batch | None]:
        """The measure sees what the victim says, the client what the defence makes of it."""
        with steps.timed("victim"):
            answer = self._model.victim.answer(pixels)
            posterior = answer.probabilities
        batch = None
        if measured:
            with steps.timed("measure"):
                batch = _batch(pixels, self._model.measure.cost(pixels, answer))
        if self._perturbation is not None:
            with steps.timed("defence"):
                given = self._perturbation.answer(posterior, pixels, client)
            l1 = np.abs(given.astype(np.float64) - posterior).sum(axis=1)
            steps.moved.append(np.stack([l1, given.argmax(axis=1) == posterior.argmax(axis=1)]))
            posterior = given
        return posterior, batch


def _posterior(parts: list[tuple[NDArray[np.float32], Batch | None]]) -> NDArray[np.float32]:
    return np.concatenate([posterior for posterior, _ in parts])


def _batch(pixels: NDArray[np.float32], costs: NDArray[np.float64]) -> Batch:
    """What the ledger is told of images (b, c, h, w) and their privacy costs (b,)."""
    return Batch(
        tuple(round(float(cost) * NANO) for cost in costs),
        tuple(digest("float32", image.shape, image.tobytes())[:DIGEST_BYTES] for image in pixels),
    )


def _joined(batches: Sequence[Batch]) -> Batch:
    """One batch of the images of several."""
    return Batch(
        tuple(cost for batch in batches for cost in batch.costs),
        tuple(digest for batch in batches for digest in batch.digests),
    )
