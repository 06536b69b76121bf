"""Random queries: images of the victim's own distribution, in random order, soft labels.

The baseline thief ("standard" in Dziedzic, Kaleem, Lu, Papernot, ICLR 2022, section 5): to the gate
he looks like an honest user.
Differs from the paper: the pool is disjoint from the victim's training data and from the held-out
images; the surrogate learns from probabilities and is warm-started from round to round.
"""

from dataclasses import dataclass

from attacks.world import Plan, TransferSet, World, batches_of_rounds
from core.training import Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    budget: int = 1_000  # images sent to the victim, in total
    batch: int = 64  # images per request
    rounds: int = 10  # times the surrogate learns, from all answers so far
    epochs: int = 50  # in each round
    lr: float = 0.1
    momentum: float = 0.5
    weight_decay: float = 1e-4
    train_batch: int = 64  # images per training step


def plan(cfg: Config, world: World) -> Plan:
    """Asks random images, and learns from all answers after every round."""
    schedule = Schedule(
        epochs=cfg.epochs,
        batch=cfg.train_batch,
        lr=cfg.lr,
        momentum=cfg.momentum,
        weight_decay=cfg.weight_decay,
    )
    known = TransferSet()
    for batches in batches_of_rounds(world, budget=cfg.budget, batch=cfg.batch, rounds=cfg.rounds):
        for images in batches:
            known.add(images, (yield images))
        world.student.learn(known.images, known.answers, schedule)
