"""What the privacy measures take on one thread: 64 images of 28x28 whose features are given.

Times are CPU milliseconds of the calling thread, so that neighbours on a shared machine hardly
show. Weights and images are random: how long votes take does not depend on what is voted for.
Training is timed on random images too, teachers on a few and multiplied.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core import records
from core.arrays import softmax
from core.learning import artifacts, networks
from core.learning.datasets import Split
from core.privacy.pate import gnmax_epsilon
from experiments.terminal import command_line, say
from server.measures import Measure, heads, knn, teachers, typicality
from server.measures.entropy import Entropy
from server.measures.gap import Gap
from server.measures.votes import SIGMA_SHARE, shards
from server.victims import Answer
from server.victims.local import LocalVictim

BATCH = 64
CLASSES = 10
SHAPE = (1, 28, 28)
WIDTH = 512
TRAINING = 60_000
"""Training images of the victim: all of MNIST."""

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


def measure(*, rounds: int, seed: int, say: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """CPU milliseconds, median and least of `rounds`, by measure. Raises ValueError."""
    if rounds < 1:
        raise ValueError(f"--rounds is {rounds}; expected at least 1")
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    found: dict[str, dict[str, float]] = {}

    def note(name: str, call: Callable[[], object], *, repeat: int = rounds, by: float = 1) -> None:
        if repeat > 1:
            call()  # the first allocates
        taken = []
        for _ in range(repeat):
            start = time.thread_time()
            call()
            taken.append((time.thread_time() - start) * 1e3 * by)
        found[name] = {"median": float(np.median(taken)), "least": min(taken)}
        say(f"{name}: {found[name]['median']:.3g} ms")

    votes = rng.multinomial(250, softmax(rng.normal(0, 3, (BATCH, CLASSES)).astype(np.float32)))
    note("accounting", lambda: gnmax_epsilon(votes, 10.0, 1e-5, teachers=250))
    images = rng.random((BATCH, *SHAPE), dtype=np.float32)
    answer = Answer.of_logits(
        rng.standard_normal((BATCH, CLASSES), dtype=np.float32),
        rng.random((BATCH, WIDTH), dtype=np.float32),
    )
    for name, made in _measures(rng, seed):
        note(name, lambda made=made: made.cost(images, answer))  # type: ignore[misc]

    count = TRAINING * 4 // 6  # what an archive of 60 000 leaves to the victim
    pictures = rng.integers(0, 256, (count, *SHAPE), dtype=np.uint8)
    split = Split(pictures, rng.integers(0, CLASSES, count))
    victim = LocalVictim(networks.build("lenet", SHAPE, CLASSES, seed=seed))
    note("training 250 heads", lambda: heads.train(victim, split, seed=seed), repeat=1)
    shard = shards(count, 250, seed=seed)[0]
    part = Split(split.images[shard], split.labels[shard])
    note(
        "training 250 teachers",
        lambda: teachers.train_one(part, SHAPE, CLASSES, seed=seed),
        repeat=3,
        by=250,
    )
    return found


def _measures(rng: np.random.Generator, seed: int) -> list[tuple[str, Measure]]:
    """Measures of the full size, with random weights."""
    features = rng.random((TRAINING, WIDTH), dtype=np.float32)
    labels = rng.integers(0, CLASSES, TRAINING)
    few = TRAINING * 15 // 100
    config = knn.Config(
        neighbours=knn.NEIGHBOURS, sigma=knn.SIGMA_SHARE * knn.NEIGHBOURS, classes=CLASSES
    )
    unit = features[: typicality.REFERENCES]
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    return [
        ("entropy", Entropy()),
        ("gap", Gap()),
        ("heads (250)", _heads(rng, 250)),
        (
            "typicality",
            typicality.Typicality(typicality.Config(neighbour=typicality.NEIGHBOUR), features=unit),
        ),
        ("knn (15 %)", knn.Neighbours(config, features=features[:few], labels=labels[:few])),
        ("knn-full", knn.Neighbours(config, features=features, labels=labels)),
        ("teachers (50)", _teachers(50, seed)),
        ("teachers (250)", _teachers(250, seed)),
    ]


def _heads(rng: np.random.Generator, count: int) -> heads.Heads:
    return heads.Heads(
        heads.Config(heads=count, sigma=count / SIGMA_SHARE),
        center=np.zeros(WIDTH, np.float32),
        scale=np.ones(WIDTH, np.float32),
        weight=rng.standard_normal((WIDTH, count * CLASSES), dtype=np.float32),
        bias=np.zeros(count * CLASSES, np.float32),
    )


def _teachers(count: int, seed: int) -> teachers.Teachers:
    config = teachers.Config(teachers=count, sigma=count / SIGMA_SHARE, schedule={})
    ensemble = [networks.build(config.network, SHAPE, CLASSES, seed=seed + i) for i in range(count)]
    return teachers.Teachers(config, [network.eval() for network in ensemble])


def table(found: Mapping[str, Mapping[str, float]]) -> str:
    """Markdown: a row for each measure, with its goal."""
    lines = ["| | median ms | least ms | goal ms |", "| --- | --- | --- | --- |"]
    for name, taken in found.items():
        goal = f"{GOALS[name]:g}" if name in GOALS else "-"
        late = " (missed)" if name in GOALS and taken["median"] > GOALS[name] else ""
        lines.append(f"| {name} | {taken['median']:.3g}{late} | {taken['least']:.3g} | {goal} |")
    return "\n".join(lines)


def save(found: Mapping[str, Mapping[str, float]], file: Path, command: Sequence[str]) -> None:
    """Writes figures, goals and where they come from. Raises ArtifactError."""
    content: dict[str, Any] = {
        "command": " ".join(command),
        "provenance": records.provenance(0),
        "goals_ms": GOALS,
        "cpu_ms": {
            name: {key: float(f"{value:.4g}") for key, value in taken.items()}
            for name, taken in found.items()
        },
    }
    artifacts.write_atomically(file, (json.dumps(content, indent=1) + "\n").encode())


@dataclass(frozen=True, slots=True)
class Flags:
    """Time the privacy measures on one thread, at full size, with random weights."""

    json: Path | None = None
    """Also write the figures to this file."""
    rounds: int = 30
    """Measurements of each; median and least are reported."""


def run(flags: Flags) -> None:
    """Times privacy measures."""
    found = measure(rounds=flags.rounds, seed=0, say=say)
    print(table(found))
    if flags.json is not None:
        save(found, flags.json, command_line())
