"""CopyCat CNN: random natural images of another distribution, hard labels.

Correia-Silva, Berriel, Badue, de Souza, Oliveira-Santos, *Copycat CNN: Stealing Knowledge by
Persuading Confession with Random Non-Labeled Data*, IJCNN 2018.
Differs from the paper: a small pool without augmentation, and fresh weights where the paper
fine-tunes a network made for ImageNet.
"""

from attacks.world import Plan, Rounds, World, ask_at_random

SOURCE = "Correia-Silva et al., IJCNN 2018"
LABELS = "hard"
NEEDS = ("pool",)

Config = Rounds


def plan(cfg: Config, world: World) -> Plan:
    """Asks random images of the pool, and trains on the labels after every round."""
    yield from ask_at_random(cfg, world, "hard")
