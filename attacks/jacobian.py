"""Jacobian-based dataset augmentation: a few real images, then steps along the surrogate's slope.

Papernot, McDaniel, Goodfellow, Jha, Celik, Swami, *Practical Black-Box Attacks against Machine
Learning*, AsiaCCS 2017, section 4 (Jacobian-based dataset augmentation).
Differs from the paper: images stay within [0, 1]; the transfer set doubles until it would grow by
more than `growth` a round, and grows by that many from then on (in place of reservoir sampling
with a step that changes its sign); the surrogate learns soft labels if told to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from attacks.world import Plan, Training, TransferSet, World, check_least
from core.arrays import to_float

if TYPE_CHECKING:
    from core.learning.networks import Network

SOURCE = "Papernot et al., AsiaCCS 2017"
LABELS = "soft or hard"
NEEDS = ("pool",)

Aim = Callable[[NDArray[np.int64], World], NDArray[np.int64]]
"""The classes (b,) to step towards, for images of the given labels (b,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Training):
    budget: int = 10_000  # images sent to the victim, in total
    batch: int = 64  # images per request
    labels: Literal["soft", "hard"] = "hard"
    seeds: int = 150  # real images to begin with
    step: float = 0.1  # how far each pixel moves; images are in [0, 1]
    growth: int = 1_000  # new images a round, at most
    epochs: int = 10  # in each round
    lr: float = 0.05
    momentum: float = 0.9
    decay: Literal["constant", "step", "cosine"] = "cosine"  # of the learning rate


def plan(cfg: Config, world: World) -> Plan:
    """Asks seeds and their offspring, which raise the surrogate's belief in the victim's label."""
    yield from plan_towards(cfg, world, lambda labels, world: labels)


def plan_towards(cfg: Config, world: World, aim: Aim) -> Plan:
    """Rounds of asking, learning, and stepping from images towards the classes that `aim` says."""
    schedule = cfg.schedule()
    check_least(cfg, 1, "seeds", "growth")
    if not 0 < cfg.step <= 1:
        raise ValueError(f"--attack.step is {cfg.step}; expected more than 0, and at most 1")
    known = TransferSet()
    seeds = world.rng.permutation(len(world.pool))[: min(cfg.seeds, cfg.budget)]
    fresh = to_float(world.pool[seeds])
    while True:
        yield from known.ask(fresh, cfg.batch)
        targets = known.targets(cfg.labels)
        world.surrogate.learn(known.images, targets, schedule, scratch=cfg.scratch)
        count = min(len(known), cfg.growth, cfg.budget - len(known))
        if count == 0:
            return
        parents = world.rng.permutation(len(known))[:count]
        towards = aim(known.labels[parents], world)
        fresh = stepped(world.surrogate.network, known.images[parents], towards, cfg.step)


def stepped(
    network: Network, images: NDArray[np.float32], classes: NDArray[np.int64], step: float
) -> NDArray[np.float32]:
    """Images (b, c, h, w) whose pixels moved by `step`, as raises the logit of their class (b,)."""
    import torch

    was_training = network.training
    network.eval()
    out = np.empty_like(images)
    for at in range(0, len(images), 256):
        part = slice(at, at + 256)
        x = torch.from_numpy(images[part]).requires_grad_()
        towards = torch.from_numpy(classes[part])[:, None]
        (slope,) = torch.autograd.grad(network(x).gather(1, towards).sum(), x)
        out[part] = (x.detach() + step * slope.sign()).clamp(0, 1).numpy()
    network.train(was_training)
    return out
