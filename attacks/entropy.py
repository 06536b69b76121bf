"""Entropy: first the images of which the surrogate is least certain.

Lewis, Gale, *A Sequential Algorithm for Training Text Classifiers*, SIGIR 1994 (uncertainty
sampling), by entropy as in Settles, *Active Learning Literature Survey*, 2009, section 3.1; as an
attack in Dziedzic, Kaleem, Lu, Papernot, ICLR 2022, section 5.
Differs from the paper: the surrogate that chooses has been trained (in the released code it never
is); by default it learns from probabilities.
"""

import numpy as np
from numpy.typing import NDArray

from attacks.active import Active, ask_in_rounds, highest
from attacks.world import Plan, World

SOURCE = "Settles, 2009"
LABELS = "soft or hard"
NEEDS = ("pool",)

Config = Active


def plan(cfg: Config, world: World) -> Plan:
    """Asks the most uncertain images after a random first round."""
    yield from ask_in_rounds(cfg, world, highest(entropy))


def entropy(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Entropy (n,) of probabilities (n, k), as a share of the greatest possible, ln k."""
    p = np.maximum(probabilities, np.finfo(np.float32).tiny)  # 0 ln 0 = 0
    share: NDArray[np.float32] = -(p * np.log(p)).sum(axis=1) / np.log(p.shape[1])
    return share
