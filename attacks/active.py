"""What the active attacks share: rounds in which the surrogate of the last round chooses.

Dziedzic, Kaleem, Lu, Papernot, ICLR 2022, section 5 takes these rules over from active learning. An
attack is its rule: which of the images that are left to ask next. Images that were asked are never
asked again, and each round's rule sees the surrogate as it has learnt from all answers so far.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from attacks.world import Plan, Training, TransferSet, World

Positions = NDArray[np.int64]
"""Of images in the pool."""

Select = Callable[[World, Positions, Positions, int], Positions]
"""(world, asked, left, count) -> the `count` of those left to ask next, best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Active(Training):
    """The flags of every active attack."""

    budget: int = 1_000  # images sent to the victim, in total
    batch: int = 64  # images per request
    rounds: int = 10  # times the surrogate learns, from all answers so far; the first is random
    labels: Literal["soft", "hard"] = "soft"
    scratch: bool = True  # begin every round with fresh weights


def at_random(world: World, asked: Positions, left: Positions, count: int) -> Positions:
    """Any: the first round, when the surrogate knows nothing."""
    return world.rng.permutation(left)[:count]


def highest(score: Callable[[NDArray[np.float32]], NDArray[np.floating]]) -> Select:
    """The rule that takes images by the score (n,) of the surrogate's probabilities (n, k)."""

    def select(world: World, asked: Positions, left: Positions, count: int) -> Positions:
        scores = score(world.student.predict(world.pool[left]))
        return left[np.argsort(-scores, kind="stable")[:count]]

    return select


def ask_in_rounds(cfg: Active, world: World, select: Select, *, first: Select = at_random) -> Plan:
    """Chooses, asks in batches and learns, round by round, until the budget or the pool ends.

    Raises ValueError for a Config that cannot be.
    """
    schedule = cfg.schedule()
    if cfg.rounds < 1:
        raise ValueError(f"--attack.rounds is {cfg.rounds}; expected at least 1")
    known = TransferSet()
    asked = np.empty(0, np.int64)
    left = np.arange(len(world.pool))
    for part in np.array_split(left[: cfg.budget], cfg.rounds):
        if not len(part):
            return  # more rounds than images
        chosen = (select if len(asked) else first)(world, asked, left, len(part))
        for at in range(0, len(chosen), cfg.batch):
            images = world.pool[chosen[at : at + cfg.batch]]
            known.add(images, (yield images))
        asked = np.concatenate([asked, chosen])
        left = np.setdiff1d(left, chosen)
        world.student.learn(known.images, known.targets(cfg.labels), schedule, scratch=cfg.scratch)
