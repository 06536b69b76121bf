"""Distance of an input to honest ones: cosine distance to the m-th nearest training features.

The m-th neighbour rather than the first, so that an attacker does not look typical for having one
training image (Ramaswamy et al., SIGMOD 2000; for features of a classifier Sun et al., ICML 2022).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from core.learning.datasets import Split
from core.validation import validate
from server import victims
from server.measures import Arrays, checked, features_of, stored
from server.measures.stored import Count, Stored
from server.victims import Answer, Victim

NEIGHBOUR = 15
"""Which neighbour's distance counts."""

REFERENCES = 6_000
"""Training images compared with, at most: as many as 64 images can be held against in 4 ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    neighbour: Count  # m
    seed: Count = 0


class Typicality(Stored):
    """Unit vectors (n, d) of training features."""

    def __init__(self, config: Config, *, features: NDArray[np.float32]) -> None:
        super().__init__(config, {"features": features})
        self._columns = torch.from_numpy(features).T.contiguous()  # (d, n): faster to multiply

    def cost(self, inputs: NDArray[np.float32], answer: Answer) -> NDArray[np.float64]:
        """Cosine distance (b,) to the m-th nearest reference, from 0 to 2.

        Raises ValueError for features that are missing, of another width or not finite.
        """
        asked = torch.from_numpy(_unit(features_of(answer, len(self._columns), "typicality")))
        with torch.inference_mode():
            near = (asked @ self._columns).topk(self._config.neighbour, dim=1).values[:, -1]
        # A cosine rounded to a little more than 1 is a distance of 0.
        distance = 1.0 - np.minimum(near.numpy().astype(np.float64), 1.0)
        return checked(distance, "typicality")


def train(victim: Victim, split: Split, *, seed: int) -> Typicality:
    """Keeps the features of a random part of the victim's training images."""
    drawn = np.sort(np.random.default_rng(seed).permutation(len(split))[:REFERENCES])
    config = Config(neighbour=min(NEIGHBOUR, len(drawn)), seed=seed)
    return Typicality(config, features=_unit(victims.features(victim, split.images[drawn])))


def restore(arrays: Arrays, config: Mapping[str, Any], victim: Victim) -> Typicality:
    """References as `arrays` and `config` gave them. Raises ValueError."""
    settings = validate(Config, config, "config")
    found = stored.arrays(arrays, {"features": (np.float32, (None, None))})
    if not 1 <= settings.neighbour <= len(found["features"]):
        raise ValueError(
            f"neighbour is {settings.neighbour}, expected 1 to {len(found['features'])}"
        )
    return Typicality(settings, features=found["features"])


def _unit(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1; a row of zeros stays one, at distance 1 from everything."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    unit: NDArray[np.float32] = features / np.maximum(length, np.float32(1e-30))
    return unit
