"""Knockoff Nets: random natural images of another distribution, soft labels, soft cross-entropy.

Orekondy, Schiele, Fritz, *Knockoff Nets: Stealing Functionality of Black-Box Models*, CVPR 2019,
section 4 (random strategy).
Differs from the paper: the pool is whatever the thief has (the embedded one is patches of two
photographs), not ImageNet.
"""

from dataclasses import dataclass
from typing import Literal

from attacks.world import Plan, Training, TransferSet, World, batches_of_rounds

SOURCE = "Orekondy et al., CVPR 2019"
LABELS = "soft"
NEEDS = ("pool",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Training):
    budget: int = 1_000  # images sent to the victim, in total
    batch: int = 64  # images per request
    rounds: int = 10  # times the surrogate learns, from all answers so far
    epochs: int = 100  # in each round
    momentum: float = 0.0
    weight_decay: float = 0.0
    decay: Literal["constant", "step", "cosine"] = "step"  # of the learning rate


def plan(cfg: Config, world: World) -> Plan:
    """Asks random images of the pool, and learns from all answers after every round."""
    schedule = cfg.schedule()
    known = TransferSet()
    for batches in batches_of_rounds(world, budget=cfg.budget, batch=cfg.batch, rounds=cfg.rounds):
        for images in batches:
            known.add(images, (yield images))
        world.student.learn(known.images, known.answers, schedule, scratch=cfg.scratch)
