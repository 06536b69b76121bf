"""Jacobian augmentation towards a random other class: it explores more than one boundary.

Juuti, Szyller, Marchal, Asokan, *PRADA: Protecting against DNN Model Stealing Attacks*, EuroS&P
2019, section 3 (T-RND, the targeted random variant of Jacobian-based augmentation).
Differs from the paper: one step instead of several small ones, along the sign of the slope of the
target's logit; as in `jacobian`, images stay within [0, 1], and the transfer set doubles until it
would grow by more than `growth` a round.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from attacks import jacobian
from attacks.world import Plan, World

SOURCE = "Juuti et al., EuroS&P 2019"
LABELS = "soft or hard"
NEEDS = ("pool",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(jacobian.Config):
    """The same numbers as those of `jacobian`; the victim's probabilities are used."""

    labels: Literal["soft", "hard"] = "soft"


def plan(cfg: Config, world: World) -> Plan:
    """Asks seeds and their offspring, which raise the surrogate's belief in a random class."""
    yield from jacobian.plan_towards(cfg, world, other_classes)


def other_classes(labels: NDArray[np.int64], world: World) -> NDArray[np.int64]:
    """For each label (b,) one of the other classes, each as likely."""
    classes = world.surrogate.network.classes
    shift = world.rng.integers(1, classes, len(labels))
    others: NDArray[np.int64] = (labels + shift) % classes
    return others
