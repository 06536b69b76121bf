"""Active attacks: rounds in which the surrogate of the last round chooses the queries.

Dziedzic, Kaleem, Lu, Papernot, ICLR 2022, section 5 takes these rules over from active learning. An
attack is its selection rule: which of the images that are left to ask next. No image is asked
twice, and each round's rule sees the surrogate trained on all answers so far.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attacks.world import LabelledRounds, Plan, TransferSet, World, check_least

Positions = NDArray[np.int64]
"""Positions of images in the pool."""

Select = Callable[[World, Positions, Positions, int], Positions]
"""(world, asked, left, count) -> the `count` of those left to ask next, best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Active(LabelledRounds):
    """The flags of every active attack."""

    rounds: int = 10  # times the surrogate is trained, on all answers so far; the first is random


def at_random(world: World, asked: Positions, left: Positions, count: int) -> Positions:
    """Selects at random: the first round, when the surrogate is untrained."""
    return world.rng.permutation(left)[:count]


def highest(score: Callable[[NDArray[np.float32]], NDArray[np.floating]]) -> Select:
    """Selects by the highest score (n,) of the surrogate's probabilities (n, k)."""

    def select(world: World, asked: Positions, left: Positions, count: int) -> Positions:
        scores = score(world.surrogate.predict(world.pool[left]))
        return left[np.argsort(-scores, kind="stable")[:count]]

    return select


def ask_in_rounds(cfg: Active, world: World, select: Select, *, first: Select = at_random) -> Plan:
    """Selects, asks in batches and trains, round by round, until the budget or the pool ends.

    Raises ValueError for a Config that cannot be.
    """
    schedule = cfg.schedule()
    check_least(cfg, 1, "rounds")
    known = TransferSet()
    asked = np.empty(0, np.int64)
    left = np.arange(len(world.pool))
    for part in np.array_split(left[: cfg.budget], cfg.rounds):
        if not len(part):
            return  # more rounds than images
        chosen = (select if len(asked) else first)(world, asked, left, len(part))
        yield from known.ask(world.pool[chosen], cfg.batch)
        asked = np.concatenate([asked, chosen])
        left = np.setdiff1d(left, chosen)
        world.surrogate.learn(
            known.images, known.targets(cfg.labels), schedule, scratch=cfg.scratch
        )
