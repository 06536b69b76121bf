"""Entropy reversed: first the images of which the surrogate is most certain.

Dziedzic, Kaleem, Lu, Papernot, *Increasing the Cost of Model Extraction with Calibrated Proof of
Work*, ICLR 2022, section 5: such queries reveal little, so the attack should stay cheap.
Differs from the paper: the surrogate that chooses has been trained (in the released code it never
is), and only the first round is random, with every pool.
"""

import numpy as np
from numpy.typing import NDArray

from attacks.active import Active, ask_in_rounds, highest
from attacks.entropy import entropy
from attacks.world import Plan, World

SOURCE = "Dziedzic et al., ICLR 2022"
LABELS = "soft or hard"
NEEDS = ("pool",)

Config = Active


def plan(cfg: Config, world: World) -> Plan:
    """Asks the most certain images after a random first round."""
    yield from ask_in_rounds(cfg, world, highest(certainty))


def certainty(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 minus the entropy (n,) of probabilities (n, k), as a share of the greatest possible."""
    return 1 - entropy(probabilities)
