"""Gap: first the images whose two most probable classes the surrogate can hardly tell apart.

Scheffer, Decomain, Wrobel, *Active Hidden Markov Models for Information Extraction*, IDA 2001
(margin sampling); as an attack in Dziedzic, Kaleem, Lu, Papernot, ICLR 2022, section 5.
Differs from the paper: the surrogate that chooses has been trained (in the released code it never
is); the gap is between probabilities, not logits.
"""

import numpy as np
from numpy.typing import NDArray

from attacks.active import Active, ask_in_rounds, highest
from attacks.world import Plan, World

SOURCE = "Scheffer et al., IDA 2001"
LABELS = "soft or hard"
NEEDS = ("pool",)

Config = Active


def plan(cfg: Config, world: World) -> Plan:
    """Asks the images with the smallest gap after a random first round."""
    yield from ask_in_rounds(cfg, world, highest(closeness))


def closeness(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 - (p1 - p2) of the two largest of probabilities (n, k), (n,)."""
    second, first = np.partition(probabilities, -2, axis=1)[:, -2:].T
    close: NDArray[np.float32] = 1 - (first - second)
    return close
