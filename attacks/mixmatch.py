"""MixMatch: few answers, many images: semi-supervised learning on what the victim never saw.

Berthelot, Carlini, Goodfellow, Papernot, Oliver, Raffel, *MixMatch: A Holistic Approach to
Semi-Supervised Learning*, NeurIPS 2019; as an extraction attack Jagielski, Carlini, Berthelot,
Kurakin, Papernot, *High Accuracy and High Fidelity Extraction of Neural Networks*, USENIX 2020.
Differs from the paper: any network for the surrogate instead of a wide residual one, and fewer
steps; images are shifted by up to an eighth of their side, and mirrored only if they have colour,
for a mirrored digit is another digit; the weight of the unlabelled loss rises over all steps of a
round; the average of the weights forgets sooner in its first steps; without weight decay.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from attacks.world import Images, Plan, TransferSet, World, check_least

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from core.learning.networks import Network

SOURCE = "Berthelot et al., NeurIPS 2019"
LABELS = "soft or hard"
NEEDS = ("pool",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    budget: int = 1_000  # images sent to the victim, in total; the rest of the pool is for free
    batch: int = 64  # images per request
    labels: Literal["soft", "hard"] = "hard"
    rounds: int = 1  # times the surrogate learns, from all answers so far
    steps: int = 3_000  # training steps in each round
    train_batch: int = 64  # labelled, and as many unlabelled images per training step
    copies: int = 2  # augmentations of an unlabelled image, K
    temperature: float = 0.5  # of sharpening, T
    alpha: float = 0.75  # of the Beta distribution from which mixup draws
    unlabelled_weight: float = 75.0  # at the end of a round, lambda_U
    lr: float = 0.002
    ema: float = 0.999  # share the averaged surrogate keeps of itself in each step
    precision: Literal["float32", "bfloat16"] = "float32"


def plan(cfg: Config, world: World) -> Plan:
    """Asks random images, and learns from them and from the rest of the pool after every round."""
    check_least(cfg, 1, "rounds", "steps", "train_batch", "copies")
    check_least(cfg, 0, "lr", "temperature", "alpha", beyond=True)
    check_least(cfg, 0, "unlabelled_weight")
    if not 0 <= cfg.ema < 1:
        raise ValueError(f"--attack.ema is {cfg.ema}; expected at least 0 and below 1")
    order = world.rng.permutation(len(world.pool))
    known = TransferSet()
    for share in np.array_split(order[: cfg.budget], cfg.rounds):
        yield from known.ask(world.pool[share], cfg.batch)
        targets = known.answers
        if cfg.labels == "hard":
            targets = np.eye(targets.shape[1], dtype=np.float32)[known.labels]
        rest = world.pool[order[len(known) :]]
        seed = int(world.rng.integers(2**31))
        train(cfg, world.surrogate.network, known.images, targets, rest, seed=seed)
        world.surrogate.trained()


def train(
    cfg: Config,
    network: Network,
    images: Images,
    targets: NDArray[np.float32],
    rest: Images,
    *,
    seed: int,
) -> None:
    """Trains in place on images with targets (n, k) and on the rest (m, c, h, w), without.

    The network ends as the exponential average of what was trained.
    """
    import torch
    from torch.nn.functional import cross_entropy

    rng = torch.Generator().manual_seed(seed)
    live = copy.deepcopy(network).train()
    adam = torch.optim.Adam(live.parameters(), lr=cfg.lr)
    x, y = torch.from_numpy(images), torch.from_numpy(targets)
    u = torch.from_numpy(rest) if len(rest) else x
    size = min(cfg.train_batch, len(x))
    draws = np.random.default_rng(seed)  # torch draws no Beta from a generator of its own

    def fast() -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=cfg.precision == "bfloat16")

    for step in range(cfg.steps):
        chosen = torch.randint(len(x), (size,), generator=rng)
        others = torch.randint(len(u), (cfg.train_batch,), generator=rng)
        views = [augmented(pixels(u[others]), rng) for _ in range(cfg.copies)]
        with torch.no_grad(), fast():
            guess = torch.stack([live(view).float().softmax(dim=1) for view in views]).mean(dim=0)
        guess = sharpened(guess, cfg.temperature)
        inputs = torch.cat([augmented(pixels(x[chosen]), rng), *views])
        wanted = torch.cat([y[chosen], *[guess] * cfg.copies])
        shares = torch.from_numpy(draws.beta(cfg.alpha, cfg.alpha, len(inputs)).astype(np.float32))
        order = torch.randperm(len(inputs), generator=rng)
        inputs, wanted = mixed(inputs, wanted, shares, order)
        with fast():
            out = live(inputs)
        out = out.float()
        labelled = cross_entropy(out[:size], wanted[:size])
        unlabelled = ((out[size:].softmax(dim=1) - wanted[size:]) ** 2).mean()
        weight = cfg.unlabelled_weight * (step + 1) / cfg.steps
        adam.zero_grad()
        (labelled + weight * unlabelled).backward()
        adam.step()
        average(network, live, share=min(cfg.ema, (step + 1) / (step + 10)))


def pixels(images: Tensor) -> Tensor:
    """Images as float32 in [0, 1]."""
    return images if images.is_floating_point() else images.float() / 255


def augmented(images: Tensor, rng: Generator) -> Tensor:
    """Images (b, c, h, w), each shifted by up to an eighth; in colour, every other one mirrored."""
    import torch
    from torch.nn.functional import pad

    b, c, h, w = images.shape
    down, right = max(1, h // 8), max(1, w // 8)
    padded = pad(images, (right, right, down, down), mode="reflect")
    rows = torch.randint(2 * down + 1, (b, 1), generator=rng) + torch.arange(h)
    columns = torch.randint(2 * right + 1, (b, 1), generator=rng) + torch.arange(w)
    if c == 3:
        mirror = torch.rand((b, 1), generator=rng) < 0.5
        columns = torch.where(mirror, columns.flip(1), columns)
    which = torch.arange(b)[:, None, None]
    # Indices on both sides of a slice put its axis last: (b, h, w, c).
    return padded[which, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def sharpened(posterior: Tensor, temperature: float) -> Tensor:
    """Probabilities (b, k), each raised to 1 / temperature and scaled to a sum of 1."""
    powers = posterior ** (1 / temperature)
    return powers / powers.sum(dim=1, keepdim=True)


def mixed(inputs: Tensor, targets: Tensor, shares: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs (b, c, h, w), targets (b, k), each mixed with another one, of which it keeps more.

    `shares` (b,) in [0, 1] is what each keeps, or gives, whichever is more; `order` its partner.
    """
    keep = shares.maximum(1 - shares)[:, None]
    pictures = keep[:, :, None, None]
    return (
        pictures * inputs + (1 - pictures) * inputs[order],
        keep * targets + (1 - keep) * targets[order],
    )


def average(network: Network, live: Network, *, share: float) -> None:
    """Moves the weights of a network towards those of another; it keeps `share` of its own."""
    import torch

    with torch.no_grad():
        for mean, new in zip(network.parameters(), live.parameters(), strict=True):
            mean.lerp_(new, 1 - share)
        for kept, buffer in zip(network.buffers(), live.buffers(), strict=True):
            kept.copy_(buffer)  # of batch normalisation: averages already
