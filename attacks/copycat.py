"""CopyCat CNN: random natural images of another distribution, hard labels.

Correia-Silva, Berriel, Badue, de Souza, Oliveira-Santos, *Copycat CNN: Stealing Knowledge by
Persuading Confession with Random Non-Labeled Data*, IJCNN 2018.
Differs from the paper: a small pool without augmentation, and fresh weights where the paper
fine-tunes a network made for ImageNet.
"""

from dataclasses import dataclass

from attacks.world import Plan, Training, TransferSet, World, batches_of_rounds

SOURCE = "Correia-Silva et al., IJCNN 2018"
LABELS = "hard"
NEEDS = ("pool",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Training):
    budget: int = 1_000  # images sent to the victim, in total
    batch: int = 64  # images per request
    rounds: int = 10  # times the surrogate learns, from all answers so far
    scratch: bool = True  # begin every round with fresh weights


def plan(cfg: Config, world: World) -> Plan:
    """Asks random images of the pool, and learns from the labels after every round."""
    schedule = cfg.schedule()
    known = TransferSet()
    for batches in batches_of_rounds(world, budget=cfg.budget, batch=cfg.batch, rounds=cfg.rounds):
        for images in batches:
            known.add(images, (yield images))
        world.student.learn(known.images, known.labels, schedule, scratch=cfg.scratch)
