"""What the privacy measures take on one thread: 64 images of 28x28 whose features are given.

Weights and images are random: how long votes take does not depend on what is voted for. Training
is timed on random images too, teachers on a few and multiplied.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from benchmarks import turns
from benchmarks.turns import Probe, Row, timed
from core.learning import networks
from core.learning.datasets import Split
from core.privacy.pate import gnmax_epsilon
from server.measures import Measure, heads, knn, teachers, typicality
from server.measures.entropy import Entropy
from server.measures.gap import Gap
from server.measures.votes import SIGMA_SHARE, shards
from server.victims import Answer
from server.victims.local import LocalVictim

BATCH, SHAPE, CLASSES, WIDTH = 64, (1, 28, 28), 10, 512

GOALS = {
    "accounting": 0.6,
    "heads (250)": 3.0,
    "typicality": 4.0,
    "knn (15 %)": 15.0,
    "knn-full": 60.0,
    "teachers (50)": 80.0,
    "teachers (250)": 350.0,
    "training 250 heads": 10_000.0,
    "training 250 teachers": 600_000.0,  # 5 minutes on two cores
}
"""Milliseconds of one core aimed at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags(turns.Flags):
    """Time the privacy measures on one thread, with random weights."""

    images: int = 60_000
    """Training images of the victim (default: all of MNIST)."""


def probes(flags: Flags, stack: ExitStack) -> Iterator[Probe]:
    """Each measure's cost of a batch, and the training of those that take long."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    sure = rng.beta(8, 1, BATCH)  # most images are clear to nearly all voters, a few are not
    rest = rng.dirichlet(np.full(CLASSES - 1, 0.3), BATCH)
    votes = rng.multinomial(250, np.column_stack([sure, (1 - sure)[:, None] * rest]))
    yield timed(_row("accounting"), partial(gnmax_epsilon, votes, 10.0, 1e-5, teachers=250))
    images = rng.random((BATCH, *SHAPE), dtype=np.float32)
    victim = untrained_victim()
    yield timed(_row("victim"), partial(victim.answer, images))
    logits = rng.standard_normal((BATCH, CLASSES), dtype=np.float32)
    answer = Answer.of_logits(logits, rng.random((BATCH, WIDTH), dtype=np.float32))
    for name, measure in _measures(rng, flags.images):
        yield timed(_row(name), partial(measure.cost, images, answer))

    left = flags.images * 4 // 6  # of an archive, to the victim
    pictures = rng.integers(0, 256, (left, *SHAPE), dtype=np.uint8)
    split = Split(pictures, rng.integers(0, CLASSES, left))
    yield timed(_row("training 250 heads"), partial(heads.train, victim, split, seed=0), every=10)
    shard = shards(left, 250, seed=0)[0]
    part = Split(split.images[shard], split.labels[shard])
    one = partial(teachers.train_one, part, SHAPE, CLASSES, seed=0)
    yield timed(_row("training 250 teachers"), one, factor=250, every=10)


def _row(name: str) -> Row:
    return Row(name, goal=GOALS.get(name))


def _measures(rng: np.random.Generator, images: int) -> Iterator[tuple[str, Measure]]:
    features = rng.random((images, WIDTH), dtype=np.float32)
    labels = rng.integers(0, CLASSES, images)
    yield "entropy", Entropy()
    yield "gap", Gap()
    yield "heads (250)", untrained_heads(250, WIDTH)
    unit = features[: typicality.REFERENCES]
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    nearest = typicality.Config(neighbour=typicality.NEIGHBOUR)
    yield "typicality", typicality.Typicality(nearest, features=unit)
    k = knn.NEIGHBOURS
    config = knn.Config(neighbours=k, sigma=knn.SIGMA_SHARE * k, classes=CLASSES)
    few = images * 15 // 100
    yield "knn (15 %)", knn.Neighbours(config, features=features[:few], labels=labels[:few])
    yield "knn-full", knn.Neighbours(config, features=features, labels=labels)
    yield "teachers (50)", _untrained_teachers(50)
    yield "teachers (250)", _untrained_teachers(250)


def untrained_victim() -> LocalVictim:
    """A lenet for MNIST."""
    return LocalVictim(networks.build("lenet", SHAPE, CLASSES, seed=0))


def untrained_heads(count: int, width: int) -> heads.Heads:
    """Heads that mostly agree, as trained ones do: what their votes cost depends on that."""
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((width, 1, CLASSES), np.float32)
    own = rng.standard_normal((width, count, CLASSES), np.float32)
    return heads.Heads(
        heads.Config(heads=count, sigma=count / SIGMA_SHARE),
        center=np.zeros(width, np.float32),
        scale=np.ones(width, np.float32),
        weight=(shared + shared + own).reshape(width, count * CLASSES),
        bias=np.zeros(count * CLASSES, np.float32),
    )


def _untrained_teachers(count: int) -> teachers.Teachers:
    """An ensemble of whole networks."""
    config = teachers.Config(teachers=count, sigma=count / SIGMA_SHARE, schedule={})
    ensemble = [networks.build(config.network, SHAPE, CLASSES, seed=seed) for seed in range(count)]
    return teachers.Teachers(config, [network.eval() for network in ensemble])
