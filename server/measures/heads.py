"""PATE votes of N linear heads on the victim's penultimate features.

After PATE (Papernot et al., ICLR 2017 and 2018): disjoint shards, one voter each, GNMax accounting.
Differs from the paper: the voters share the victim's features, which makes 250 of them cost about
as much as the victim itself, and makes the cost a score, not a guarantee.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from core.learning.datasets import Split
from core.validation import validate
from server import victims
from server.measures import Arrays, features_of, stored
from server.measures.stored import Count, Number
from server.measures.votes import DELTA, SIGMA_SHARE, Voting, histogram, shards, voters
from server.victims import Answer, Victim

MOST = 250
"""Heads at most: the paper's number of teachers for MNIST."""

TOGETHER = 50
"""Heads trained at a time: few enough for their features to stay in the cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    heads: Count  # N
    sigma: Number  # standard deviation of the votes' noise
    delta: Number = DELTA
    steps: Count = 200  # full-batch Adam steps; fewer see letters worse
    lr: Number = 0.02
    weight_decay: Number = 1e-3
    seed: Count = 0


class Heads(Voting):
    """N linear heads: weight (d, N * k), bias (N * k,), on standardised features."""

    def __init__(
        self,
        config: Config,
        *,
        center: NDArray[np.float32],
        scale: NDArray[np.float32],
        weight: NDArray[np.float32],
        bias: NDArray[np.float32],
    ) -> None:
        arrays = {"center": center, "scale": scale, "weight": weight, "bias": bias}
        super().__init__(config, arrays, voters=config.heads)
        # Standardising is linear: folded into the heads once.
        self._folded = torch.from_numpy(weight / scale[:, None])
        self._offset = torch.from_numpy(bias - (center / scale) @ weight)

    def votes(self, inputs: NDArray[np.float32], answer: Answer) -> NDArray[np.int64]:
        features = features_of(answer, len(self._folded), "heads")
        with torch.inference_mode():
            logits = torch.addmm(self._offset, torch.from_numpy(features), self._folded)
            labels = logits.view(len(logits), self._voters, -1).argmax(dim=2)
        return histogram(labels.numpy(), logits.shape[1] // self._voters)


def train(victim: Victim, split: Split, *, seed: int) -> Heads:
    """Trains the heads, each on its own shard of the victim's training images.

    Raises ValueError where there are too few images for two shards.
    """
    count = voters(len(split.images), most=MOST)
    config = Config(heads=count, sigma=count / SIGMA_SHARE, seed=seed)
    raw = victims.features(victim, split.images)
    center = raw.mean(axis=0)
    scale = raw.std(axis=0) + 1e-6
    index = shards(len(raw), count, seed=seed)
    classes, width = victim.classes, raw.shape[1]
    weights, biases = [], []
    for start in range(0, count, TOGETHER):
        chosen = index[start : start + TOGETHER]
        weight, bias = _fit((raw[chosen] - center) / scale, split.labels[chosen], classes, config)
        weights.append(weight)
        biases.append(bias)
    flat = torch.cat(weights).permute(1, 0, 2).reshape(width, count * classes)
    return Heads(
        config,
        center=center,
        scale=scale,
        weight=flat.contiguous().numpy(),
        bias=torch.cat(biases).reshape(-1).numpy(),
    )


def _fit(
    features: NDArray[np.float32], labels: NDArray[np.int64], classes: int, config: Config
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights (n, d, k) and biases (n, 1, k) of n heads on features (n, m, d), labels (n, m)."""
    inputs, targets = torch.from_numpy(features), torch.from_numpy(labels)
    weight = torch.zeros(len(inputs), inputs.shape[2], classes, requires_grad=True)
    bias = torch.zeros(len(inputs), 1, classes, requires_grad=True)
    adam = torch.optim.Adam(
        [weight, bias], lr=config.lr, weight_decay=config.weight_decay, fused=True
    )
    for _ in range(config.steps):
        adam.zero_grad()
        logits = torch.baddbmm(bias, inputs, weight)
        # Summed over heads: each head's own problem, untouched by the number of heads.
        loss = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none").mean(1).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
    return weight.detach(), bias.detach()


def restore(arrays: Arrays, config: Mapping[str, Any], victim: Victim) -> Heads:
    """Heads as `arrays` and `config` gave them. Raises ValueError."""
    settings = validate(Config, config, "config")
    logits = settings.heads * victim.classes
    found = stored.arrays(
        arrays,
        {
            "center": (np.float32, (None,)),
            "scale": (np.float32, (None,)),
            "weight": (np.float32, (None, logits)),
            "bias": (np.float32, (logits,)),
        },
    )
    widths = {name: len(found[name]) for name in ("center", "scale", "weight")}
    if len(set(widths.values())) > 1:
        raise ValueError(f"center, scale and weight have lengths {widths}, expected the same")
    return Heads(settings, **found)
