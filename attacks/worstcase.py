"""Worst case: first the images with the lowest privacy cost, which the attacker is given.

Dziedzic, Kaleem, Lu, Papernot, *Increasing the Cost of Model Extraction with Calibrated Proof of
Work*, ICLR 2022, section 5: a bound on what knowing the price of each image could save.
Differs from the paper: the costs are those of any measure of the gate, given in a file.
"""

import numpy as np

from attacks.active import Active, Positions, ask_in_rounds
from attacks.world import Plan, World

SOURCE = "Dziedzic et al., ICLR 2022"
LABELS = "soft or hard"
NEEDS = ("pool", "costs")

Config = Active


def plan(cfg: Config, world: World) -> Plan:
    """Asks the cheapest images of the pool, from the first round on."""
    if world.costs is None:
        raise ValueError("worstcase needs the costs of its pool")
    yield from ask_in_rounds(cfg, world, select, first=select)


def select(world: World, asked: Positions, left: Positions, count: int) -> Positions:
    """The cheapest first."""
    assert world.costs is not None
    return left[np.argsort(world.costs[left], kind="stable")[:count]]
