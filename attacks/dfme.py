"""Data-free model extraction: a generator makes the queries, trained where the copy is wrong.

Truong, Maini, Walls, Papernot, *Data-Free Model Extraction*, CVPR 2021: logits recovered from
probabilities (section 3.3), and a zeroth-order estimate of the generator's gradient by forward
differences (section 3.2), each of which is paid for like any other image.
Differs from the paper: images are the sigmoid of what the generator makes, in float32, and never
rounded to grey levels; a smaller generator; Adam for both networks; forward differences ten times
longer, for the rounding of float32; the surrogate also learns from the answers at the points from
which differences are taken; rates fall with the budget, by a cosine.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from attacks.world import Answers, Images, Plan, World, check_least

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from core.learning.networks import Network

SOURCE = "Truong et al., CVPR 2021"
LABELS = "soft"
NEEDS = ()

_LEAST = 1e-30
"""Probabilities below are taken for this one: a victim may round them to 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    budget: int = 200_000  # images sent to the victim, in total
    batch: int = 256  # images per request
    train_batch: int = 64  # images per training step
    rounds: int = 10  # checkpoints of the surrogate
    generator_steps: int = 1  # of the generator in each iteration
    student_steps: int = 5  # of the surrogate in each iteration
    directions: int = 1  # random directions for each gradient, m
    epsilon: float = 0.01  # length of a forward difference (norm over an image's activations)
    latent: int = 64  # numbers of noise an image is made from
    width: int = 16  # channels of the generator
    student_lr: float = 0.002
    generator_lr: float = 0.0001
    precision: Literal["float32", "bfloat16"] = "float32"  # of training, not of differences


def plan(cfg: Config, world: World) -> Plan:
    """Asks generated images; trains the surrogate to agree, the generator to find where not."""
    import torch

    from attacks.generator import Generator

    counts = ("train_batch", "rounds", "generator_steps", "student_steps", "directions")
    check_least(cfg, 1, *counts, "latent", "width")
    check_least(cfg, 0, "epsilon", beyond=True)
    check_least(cfg, 0, "student_lr", "generator_lr")
    each = cfg.generator_steps * (1 + cfg.directions) + cfg.student_steps
    size = min(cfg.train_batch, cfg.budget // each)
    if size < 1:
        raise ValueError(
            f"--attack.budget is {cfg.budget}; expected at least {each}, for one iteration"
        )
    iterations = cfg.budget // (each * size)
    checkpoints = {iterations * (i + 1) // cfg.rounds for i in range(cfg.rounds)}
    rng = torch.Generator().manual_seed(int(world.rng.integers(2**63)))
    network = world.surrogate.network
    generator = Generator(
        network.shape, latent=cfg.latent, width=cfg.width, seed=int(world.rng.integers(2**63))
    )
    ascent = torch.optim.Adam(generator.parameters(), lr=cfg.generator_lr)
    learning = torch.optim.Adam(network.parameters(), lr=cfg.student_lr)

    def fast() -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=cfg.precision == "bfloat16")

    def learn(images: Tensor, truth: Tensor) -> None:
        network.train()
        learning.zero_grad()
        with fast():
            out = network(images)
        disagreement(out.float(), truth).mean().backward()  # type: ignore[no-untyped-call]
        learning.step()

    for iteration in range(iterations):
        pace = (1 + math.cos(math.pi * iteration / iterations)) / 2
        ascent.param_groups[0]["lr"] = cfg.generator_lr * pace
        learning.param_groups[0]["lr"] = cfg.student_lr * pace
        for _ in range(cfg.generator_steps):
            with fast():
                drafts = generator(torch.randn(size, cfg.latent, generator=rng)).float()
            slope, truth = yield from climb(cfg, network, drafts.detach(), rng)
            ascent.zero_grad()
            drafts.backward(-slope / size)  # an optimiser goes down
            ascent.step()
            learn(drafts.detach().sigmoid(), truth)
        # The generator stands still while the surrogate is trained: one large request for all.
        with torch.no_grad(), fast():
            drafts = generator(torch.randn(cfg.student_steps * size, cfg.latent, generator=rng))
        images = drafts.float().sigmoid()
        truth = yield from ask(cfg, images)
        for part in range(0, len(images), size):
            learn(images[part : part + size], truth[part : part + size])
        if iteration + 1 in checkpoints:
            world.surrogate.trained()


def climb(
    cfg: Config, network: Network, drafts: Tensor, rng: torch.Generator
) -> Generator[Images, Answers, tuple[Tensor, Tensor]]:
    """Slopes (b, c, h, w) of the disagreement at drafts (b, c, h, w), and the logits (b, k) there.

    Equation 7 of the paper: d / epsilon times the rise along random unit vectors u, times u.
    """
    import torch

    def distance(images: Tensor, truth: Tensor) -> Tensor:
        network.eval()
        with torch.no_grad():
            return disagreement(network(images), truth)

    images = drafts.sigmoid()
    truth = yield from ask(cfg, images)
    here = distance(images, truth)
    slope = torch.zeros_like(drafts)
    for _ in range(cfg.directions):
        unit = torch.randn(drafts.shape, generator=rng)
        unit /= unit.flatten(1).norm(dim=1)[:, None, None, None]
        images = (drafts + cfg.epsilon * unit).sigmoid()
        rise = distance(images, (yield from ask(cfg, images))) - here
        slope += rise[:, None, None, None] * unit
    return slope * (drafts[0].numel() / cfg.epsilon / cfg.directions), truth


def ask(cfg: Config, images: Tensor) -> Generator[Images, Answers, Tensor]:
    """The victim's logits (b, k) up to a constant: log-probabilities less their mean."""
    import torch

    answers = []
    for at in range(0, len(images), cfg.batch):
        part = images[at : at + cfg.batch].contiguous()
        answers.append(torch.from_numpy((yield part.numpy()).copy()))
    logs = torch.cat(answers).clamp_min(_LEAST).log()
    return logs - logs.mean(dim=1, keepdim=True)


def disagreement(logits: Tensor, truth: Tensor) -> Tensor:
    """Sum over classes of how far two logits (b, k) are apart (b,): the paper's l1 loss."""
    return (logits - truth).abs().sum(dim=1)
