"""DeepFool: first the images closest to a decision boundary of the surrogate.

Moosavi-Dezfooli, Fawzi, Frossard, *DeepFool: A Simple and Accurate Method to Fool Deep Neural
Networks*, CVPR 2016, algorithm 2; to choose queries: Ducoffe, Precioso, 2018, arXiv:1802.09841; as
an attack in Dziedzic, Kaleem, Lu, Papernot, ICLR 2022, section 5.
Differs from the paper: the surrogate that chooses has been trained (in the released code it never
is). A distance takes many passes through the network, so each round measures those of a random
part of the pool (`candidates`), not of all of it. The stepped images are not learnt from, which
Ducoffe and Precioso do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from attacks.active import Active, Positions, ask_in_rounds
from attacks.world import Images, Plan, World
from core.arrays import to_float

if TYPE_CHECKING:
    from torch import Tensor

    from core.learning.networks import Network

SOURCE = "Moosavi-Dezfooli et al., CVPR 2016"
LABELS = "soft or hard"
NEEDS = ("pool",)

ITERATIONS = 20
OVERSHOOT = 0.02
CLASSES = 10  # whose boundaries are looked at: the most probable ones
BATCH = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Active):
    candidates: int = 2_000  # images whose distance is measured in a round; at least its images


def plan(cfg: Config, world: World) -> Plan:
    """Asks the images closest to the boundary after a random first round."""

    def select(world: World, asked: Positions, left: Positions, count: int) -> Positions:
        some = world.rng.permutation(left)[: max(cfg.candidates, count)]
        apart = distances(world.surrogate.network, world.pool[some], precision=cfg.precision)
        return some[np.argsort(apart, kind="stable")[:count]]

    yield from ask_in_rounds(cfg, world, select)


def distances(
    network: Network, images: Images, *, precision: Literal["float32", "bfloat16"] = "float32"
) -> NDArray[np.float32]:
    """Euclidean length (n,) of a small step that changes the network's class of each image.

    Pixels are in [0, 1], but a step may leave that range. Where 20 iterations change nothing it is
    the length reached by then. The precision is that of the slopes.
    """
    import torch

    out = np.empty(len(images), np.float32)
    was_training = network.training
    network.eval()
    try:
        for at in range(0, len(images), BATCH):
            x = torch.from_numpy(to_float(images[at : at + BATCH]).copy())
            out[at : at + BATCH] = _steps(network, x, precision).flatten(1).norm(dim=1).numpy()
    finally:
        network.train(was_training)
    return out


def _steps(network: Network, start: Tensor, precision: str) -> Tensor:
    """A step (b, c, h, w) for each image: towards the nearest boundary, linearised, repeatedly."""
    import torch

    step = torch.zeros_like(start)
    going = torch.arange(len(start))  # images whose class has not changed yet
    with torch.no_grad():
        ranked = network(start).argsort(dim=1, descending=True)[:, :CLASSES]
    for _ in range(ITERATIONS):
        x = start[going] + (1 + OVERSHOOT) * step[going]
        with torch.no_grad():
            logits = network(x)
        same = logits.argmax(dim=1) == ranked[going, 0]
        going, x, logits = going[same], x[same], logits[same]
        if not len(going):
            break
        height = logits.gather(1, ranked[going])
        height = (height[:, 1:] - height[:, :1]).abs()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            slopes = _slopes(network, x, ranked[going])
        slopes = slopes[:, 1:] - slopes[:, :1]
        steepness = slopes.norm(dim=2).clamp_min(1e-12)
        near = (height / steepness).argmin(dim=1, keepdim=True)
        # A little beyond the linear boundary, or rounding may stop short of it for ever.
        length = (height.gather(1, near) + 1e-6) / steepness.gather(1, near) ** 2
        move = length * slopes.take_along_dim(near[:, :, None], dim=1).squeeze(1)
        step[going] += move.view_as(x)
    return (1 + OVERSHOOT) * step


def _slopes(network: Network, x: Tensor, classes: Tensor) -> Tensor:
    """Gradients (b, k, pixels) of the logits of k classes (b, k) by the images (b, c, h, w)."""
    import torch

    x.requires_grad_()
    logits = network(x).gather(1, classes)
    slopes = [
        torch.autograd.grad(logits[:, j].sum(), x, retain_graph=True)[0]
        for j in range(classes.shape[1])
    ]
    x.requires_grad_(False)
    return torch.stack(slopes, dim=1).flatten(2)
