"""Random queries: images of the victim's own distribution, in random order.

The baseline thief ("standard" in Dziedzic, Kaleem, Lu, Papernot, *Increasing the Cost of Model
Extraction with Calibrated Proof of Work*, ICLR 2022, section 5): to the gate he looks like an
honest user.
Differs from the paper: the pool is disjoint from the victim's training data and from the held-out
images; by default the surrogate learns from probabilities.
"""

from dataclasses import dataclass
from typing import Literal

from attacks.world import Plan, Training, TransferSet, World, batches_of_rounds

SOURCE = "Dziedzic et al., ICLR 2022"
LABELS = "soft or hard"
NEEDS = ("pool",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Training):
    budget: int = 1_000  # images sent to the victim, in total
    batch: int = 64  # images per request
    rounds: int = 10  # times the surrogate learns, from all answers so far
    labels: Literal["soft", "hard"] = "soft"
    scratch: bool = True  # begin every round with fresh weights


def plan(cfg: Config, world: World) -> Plan:
    """Asks random images, and learns from all answers after every round."""
    schedule = cfg.schedule()
    known = TransferSet()
    for batches in batches_of_rounds(world, budget=cfg.budget, batch=cfg.batch, rounds=cfg.rounds):
        for images in batches:
            known.add(images, (yield images))
        world.student.learn(known.images, known.targets(cfg.labels), schedule, scratch=cfg.scratch)
