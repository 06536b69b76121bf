"""CopyCat CNN: random natural images of another distribution, hard labels.

Correia-Silva, Berriel, Badue, de Souza, Oliveira-Santos, *Copycat CNN: Stealing Knowledge by
Persuading Confession with Random Non-Labeled Data*, IJCNN 2018.
Differs from the paper: a small pool without augmentation, and a surrogate that is warm-started from
round to round.
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
    """Asks random images of the pool, and learns from the labels after every round."""
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
        world.student.learn(known.images, known.labels, schedule)
