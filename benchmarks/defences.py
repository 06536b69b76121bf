"""What defences take on one thread for a batch of images.

Networks, images and posteriors are random: how long a defence takes does not depend on what they
say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

import numpy as np
import torch

from benchmarks import turns
from benchmarks.turns import Probe, Row, timed
from core.learning import networks, training
from server.defences import Context
from server.defences.gradient_redirection import Config as Redirection
from server.defences.gradient_redirection import redirect
from server.defences.keeping_top import redirect_keeping_top
from server.defences.mad import poisoned
from server.defences.mad_argmax import poisoned_below_top
from server.defences.modelguard_w import guarded
from server.defences.surrogates import Surrogates

BATCH = 64
NETWORKS = {"lenet": (1, 28, 28), "resnet10-thin": (3, 32, 32)}

GOALS = {
    "redirect, 10 classes": 1.0,
    "redirect, 100 classes": 3.0,
    "mad, 10 classes": 1.0,
    "mad, 100 classes": 1.0,
}
"""Milliseconds of one core aimed at, for 64 images, beyond the surrogate's forward pass."""

FORWARD_PASSES = 4.0
"""Surrogate forward passes that gradient redirection may take in all."""


Flags = turns.Flags


def probes(flags: Flags, stack: ExitStack) -> Iterator[Probe]:
    """The arithmetic of each defence, and gradient redirection with its surrogates."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    for classes in (10, 100):
        yield from arithmetic(rng, classes)
    for name, shape in NETWORKS.items():
        yield from redirections(rng, name, shape)


def arithmetic(rng: np.random.Generator, k: int) -> Iterator[Probe]:
    """What comes after the surrogate's forward pass."""
    y, p = (rng.dirichlet(np.full(k, a), size=BATCH) for a in (0.3, 3.0))
    s = rng.normal(size=y.shape)
    calls: dict[str, Callable[[], object]] = {
        "redirect": lambda: redirect(y, s, 1.0),
        "redirect that keeps the top": lambda: redirect_keeping_top(y, s, 1.0, margin=1e-6),
        "mad": lambda: poisoned(y, p, 1.0),
        "mad_argmax": lambda: poisoned_below_top(y, p, 1.0),
        "modelguard_w": lambda: guarded(y, 1.0),
    }
    for name, call in calls.items():
        name = f"{name}, {k} classes"
        yield timed(Row(name, goal=GOALS.get(name)), call)


def redirections(
    rng: np.random.Generator, name: str, shape: tuple[int, int, int]
) -> Iterator[Probe]:
    """Gradient redirection in all, beside one forward pass."""
    students = [networks.build(name, shape, 10, seed=seed).eval() for seed in range(3)]
    images = rng.random((BATCH, *shape), dtype=np.float32)
    y = rng.dirichlet(np.full(10, 0.3), size=BATCH)
    forward = Row(f"{name}: forward")
    yield timed(forward, partial(training.logits, students[0], images))
    ways: tuple[tuple[str, int, Redirection], ...] = (
        ("", 1, Redirection(epsilon=1.0)),
        (", 3 surrogates", 3, Redirection(epsilon=1.0)),
        (", target clean", 1, Redirection(epsilon=1.0, target="clean")),
    )
    for kind, count, config in ways:
        asked = Context(client="", key=bytes(32), surrogates=Surrogates(students[:count]))
        row = Row(
            f"{name}: gradient redirection{kind}",
            against=forward.name,
            goal=None if kind else FORWARD_PASSES,
        )
        yield timed(row, partial(config.perturb, y, images, asked))
