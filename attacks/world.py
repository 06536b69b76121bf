"""What an attack works with: query pool, surrogate, transfer set, training flags, randomness."""

from __future__ import annotations

import math
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


@dataclass(frozen=True, slots=True, eq=False)
class Price:
    """Asks what the answer to images would cost. What is sent is the work, in expected hashes.

    The gate lets a client have only so many batches open that it asked the price of and did not
    pay for. A batch that is asked afterwards, as it is, is paid for at that price.
    """

    images: Images


Plan = Generator[Images | Price, Any, None]
"""An attack at work: yields batches of images and is sent the answers; or prices."""


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
        """The training schedule. Raises ValueError for numbers out of range."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds(Training):
    """The flags of attacks in rounds."""

    budget: int = 1_000  # images sent to the victim, in total
    batch: int = 64  # images per request
    rounds: int = 10  # times the surrogate is trained, on all answers so far
    scratch: bool = True  # begin every round with fresh weights


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledRounds(Rounds):
    """The flags of attacks in rounds that learn from soft or hard labels."""

    labels: Literal["soft", "hard"] = "soft"


class Surrogate:
    """The attacker's copy of the victim: a network trained on the transfer set."""

    def __init__(self, network: Network, *, seed: int) -> None:
        self.network = network
        self.rounds = 0  # times it was trained
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
        self.trained()
        training.fit(
            self.network, images, targets, schedule, seed=self._seed + self.rounds, progress=False
        )

    def trained(self) -> None:
        """Counts a round of training, after which the driver saves a checkpoint.

        `learn` calls this itself; an attack that trains `network` in a loop of its own calls it
        before the next batch it asks.
        """
        self.rounds += 1

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
    image of the pool, which no real attacker knows, and `inside` a second pool of images like the
    victim's training data. The pool of an attack that needs none is empty. Raises ValueError for
    parts that do not fit together.
    """

    pool: Images
    surrogate: Surrogate
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
    """The images asked so far, and the victim's answers to them."""

    _images: list[Images] = field(default_factory=list)
    _answers: list[Answers] = field(default_factory=list)

    def add(self, images: Images, answers: Answers) -> None:
        """Adds an answered batch."""
        self._images.append(images)
        self._answers.append(answers)

    def ask(self, images: Images, batch: int) -> Plan:
        """Asks images (n, c, h, w) in batches, and adds them with their answers."""
        for at in range(0, len(images), batch):
            part = images[at : at + batch]
            self.add(part, (yield part))

    def __len__(self) -> int:
        return sum(map(len, self._images))

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


def ask_at_random(cfg: Rounds, world: World, labels: Literal["soft", "hard"]) -> Plan:
    """Asks random images of the pool, without repeats; trains on all answers after every round.

    A pool smaller than the budget is used up. Raises ValueError for a Config that cannot be.
    """
    schedule = cfg.schedule()
    known = TransferSet()
    check_least(cfg, 1, "rounds")
    order = world.rng.permutation(len(world.pool))
    for part in np.array_split(order[: cfg.budget], cfg.rounds):
        yield from known.ask(world.pool[part], cfg.batch)
        world.surrogate.learn(known.images, known.targets(labels), schedule, scratch=cfg.scratch)


def check_least(cfg: Any, least: int, *names: str, beyond: bool = False) -> None:
    """Raises ValueError for settings below `least` (or at it, if `beyond`), infinite or NaN."""
    for name in names:
        value = getattr(cfg, name)
        if not least <= value < math.inf or (beyond and value == least):
            expected = "more than" if beyond else "at least"
            flag = name.replace("_", "-")
            raise ValueError(f"--attack.{flag} is {value}; expected {expected} {least}")
