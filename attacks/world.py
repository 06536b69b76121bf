"""What an attack can touch: a pool of images, a surrogate that can learn, and randomness."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core import training
from core.arrays import softmax
from core.training import Schedule

if TYPE_CHECKING:
    from core.networks import Network

Images = NDArray[Any]
"""(b, c, h, w), uint8 or float32 in [0, 1]."""

Answers = NDArray[np.float32]
"""Probabilities (b, k), as the victim gave them."""

Plan = Generator[Images, Answers, None]
"""An attack at work: yields batches of images, is sent the answers."""


class Student:
    """The surrogate: a network that learns from the transfer set."""

    def __init__(self, network: Network, *, seed: int) -> None:
        self.network = network
        self.lessons = 0  # times it has learnt
        self._seed = seed

    def learn(self, images: Images, targets: NDArray[Any], schedule: Schedule) -> None:
        """Trains on, from where it stands (warm start), on images and their targets.

        Targets are labels (n,) int64 for cross-entropy, or probabilities (n, k) for soft
        cross-entropy.
        """
        self.lessons += 1
        training.fit(
            self.network, images, targets, schedule, seed=self._seed + self.lessons, progress=False
        )

    def predict(self, images: Images) -> NDArray[np.float32]:
        """Probabilities (n, k)."""
        return softmax(training.logits(self.network, images))


@dataclass(frozen=True, slots=True)
class World:
    """Pool (n, c, h, w), surrogate, and the attack's own randomness."""

    pool: Images
    student: Student
    rng: np.random.Generator


@dataclass(slots=True)
class TransferSet:
    """The images asked so far, and what the victim said of them."""

    _images: list[Images] = field(default_factory=list)
    _answers: list[Answers] = field(default_factory=list)

    def add(self, images: Images, answers: Answers) -> None:
        """One more answered batch."""
        self._images.append(images)
        self._answers.append(answers)

    @property
    def images(self) -> Images:
        """(n, c, h, w)."""
        return np.concatenate(self._images)

    @property
    def answers(self) -> Answers:
        """Probabilities (n, k): soft labels."""
        return np.concatenate(self._answers)

    @property
    def labels(self) -> NDArray[np.int64]:
        """Most probable classes (n,): hard labels."""
        labels: NDArray[np.int64] = self.answers.argmax(axis=1)
        return labels


def batches_of_rounds(world: World, *, budget: int, batch: int, rounds: int) -> list[list[Images]]:
    """Random images of the pool, without repeats, dealt into rounds of batches.

    A pool smaller than the budget is used up.
    """
    order = world.rng.permutation(len(world.pool))[:budget]
    return [
        [world.pool[part[at : at + batch]] for at in range(0, len(part), batch)]
        for part in np.array_split(order, rounds)
    ]
