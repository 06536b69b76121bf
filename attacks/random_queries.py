"""Random queries: images of the victim's own distribution, in random order.

The baseline attacker ("standard" in Dziedzic, Kaleem, Lu, Papernot, *Increasing the Cost of Model
Extraction with Calibrated Proof of Work*, ICLR 2022, section 5): to the gate it looks like an
honest user.
Differs from the paper: the pool is disjoint from the victim's training data and from the held-out
images; by default the surrogate learns from probabilities.
"""

from attacks.world import LabelledRounds, Plan, World, ask_at_random

SOURCE = "Dziedzic et al., ICLR 2022"
LABELS = "soft or hard"
NEEDS = ("pool",)

Config = LabelledRounds


def plan(cfg: Config, world: World) -> Plan:
    """Asks random images, and trains on all answers after every round."""
    yield from ask_at_random(cfg, world, cfg.labels)
