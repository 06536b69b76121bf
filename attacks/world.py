"""What an attack can touch: a pool of images, a surrogate that can learn, and randomness."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from core.arrays import check_inputs, softmax
from core.learning import training
from core.learning.training import Schedule

if TYPE_CHECKING:
    from core.learning.networks import Network

Images = NDArray[Any]
"""(b, c, h, w), uint8 or float32 in [0, 1]."""

Answers = NDArray[np.float32]
"""Probabilities (b, k), as the victim gave them."""

Plan = Generator[Images, Answers, None]
"""An attack at work: yields batches of images, is sent the answers."""


@dataclass(frozen=True, slots=True, eq=False)
class Price:
    """Asks what the answer to images would cost. What is sent is the work, in expected hashes.

    The gate lets a client have only so many batches open that it asked the price of and did not
    pay for. A batch that is asked afterwards, as it is, is paid for at that price.
    """

    images: Images


Probe = Generator[Images | Price, Any, None]
"""A plan that also asks for prices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How a surrogate learns: the flags of every attack that trains it by gradient descent.

    The defaults are the paper's for MNIST (its released code; there the rate falls on a plateau of
    the loss). For CIFAR-10 it takes lr 0.01, momentum 0.9, weight decay 1e-5, 128 images a step and
    500 epochs.
    """

    epochs: int = 50  # in each round
    lr: float = 0.1
    momentum: float = 0.5
    weight_decay: float = 1e-4
    train_batch: int = 64  # images per training step
    decay: Literal["constant", "step", "cosine"] = "constant"  # of the learning rate
    lr_step: int = 30  # epochs after which the learning rate falls (decay "step")
    lr_factor: float = 0.1  # what it is then multiplied by (decay "step")
    precision: Literal["float32", "bfloat16"] = "float32"
    scratch: bool = False  # begin every round with fresh weights

    def schedule(self) -> Schedule:
        """As training takes it. Raises ValueError for numbers out of range."""
        return Schedule(
            epochs=self.epochs,
            batch=self.train_batch,
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            decay=self.decay,
            step_every=self.lr_step,
            step_factor=self.lr_factor,
            precision=self.precision,
        )


class Student:
    """The surrogate: a network that learns from the transfer set."""

    def __init__(self, network: Network, *, seed: int) -> None:
        self.network = network
        self.lessons = 0  # times it has learnt
        self._seed = seed
        self._fresh = {name: value.clone() for name, value in network.state_dict().items()}

    def learn(
        self,
        images: Images,
        targets: NDArray[Any],
        schedule: Schedule,
        *,
        scratch: bool = False,
    ) -> None:
        """Trains on from where it stands (or from its first weights) on images and their targets.

        Targets are labels (n,) int64 for cross-entropy, or probabilities (n, k) for soft
        cross-entropy.
        """
        if scratch:
            self.network.load_state_dict(self._fresh)
        self.taught()
        training.fit(
            self.network, images, targets, schedule, seed=self._seed + self.lessons, progress=False
        )

    def taught(self) -> None:
        """Counts a lesson, after which the driver leaves a checkpoint.

        `learn` says so itself; an attack that trains `network` in a loop of its own calls this
        before the next batch it asks.
        """
        self.lessons += 1

    def predict(self, images: Images) -> NDArray[np.float32]:
        """Probabilities (n, k)."""
        return softmax(self.logits(images))

    def logits(self, images: Images) -> NDArray[np.float32]:
        """Logits (n, k)."""
        return training.logits(self.network, images)

    def features(self, images: Images) -> NDArray[np.float32]:
        """Activations (n, d) before the last layer."""
        return training.features(self.network, images)


@dataclass(frozen=True, slots=True)
class World:
    """Pool (n, c, h, w), surrogate, and the attack's own randomness.

    `classes` (n,) are the pool's own labels where it has any, `costs` (n,) the privacy cost of each
    image of the pool, which only an oracle knows, and `inside` a second pool of images like those
    the victim was made for. The pool of an attack that needs none is empty. Raises ValueError for
    parts that do not fit together.
    """

    pool: Images
    student: Student
    rng: np.random.Generator
    classes: NDArray[np.int64] | None = None
    costs: NDArray[np.float64] | None = None
    inside: Images | None = None

    def __post_init__(self) -> None:
        shape = self.pool.shape[1:]
        if len(self.pool):
            check_inputs(self.pool, shape)
        if self.inside is not None:
            check_inputs(self.inside, shape)
        for name, values in (("classes", self.classes), ("costs", self.costs)):
            if values is not None and values.shape != (len(self.pool),):
                raise ValueError(
                    f"{name} have shape {values.shape}; expected ({len(self.pool)},), one for each "
                    "image of the pool"
                )
        if self.costs is not None and not np.isfinite(self.costs).all():
            raise ValueError("costs contain NaN or infinity; expected a number for each image")


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

    def targets(self, kind: Literal["soft", "hard"]) -> NDArray[Any]:
        """What to learn from: probabilities (n, k) or classes (n,)."""
        return self.answers if kind == "soft" else self.labels


def batches_of_rounds(world: World, *, budget: int, batch: int, rounds: int) -> list[list[Images]]:
    """Random images of the pool, without repeats, dealt into rounds of batches.

    A pool smaller than the budget is used up. Raises ValueError unless there is a round.
    """
    if rounds < 1:
        raise ValueError(f"--attack.rounds is {rounds}; expected at least 1")
    order = world.rng.permutation(len(world.pool))[:budget]
    return [
        [world.pool[part[at : at + batch]] for at in range(0, len(part), batch)]
        for part in np.array_split(order, rounds)
    ]
