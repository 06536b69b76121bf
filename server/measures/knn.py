"""Private kNN: GNMax on the labels of the k nearest training images, in the victim's features.

After Private-kNN (Zhu et al., CVPR 2020), with the paper's k = 300 and sigma = 28. Differs from it:
the paper draws a fresh subsample for each query; here one is drawn from the seed when the measure
is made. Asking again therefore gives the same cost, which repeating cannot average out, and only
the subsample is stored and searched. Distances are between penultimate features, not posteriors.
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
from server.measures import Arrays, features_of, stored
from server.measures.stored import Count, Number
from server.measures.votes import DELTA, Voting, histogram
from server.victims import Answer, Victim

NEIGHBOURS = 300
"""Neighbours at most, the paper's number."""

SPARSE = 30
"""Images searched for each neighbour, at least: with fewer, neighbours are not near."""

SIGMA_SHARE = 28 / 300
"""Noise of the votes for each neighbour, the paper's."""

SHARE = 0.15
"""Part of the training images that is searched."""

FEWEST = 1_000
"""Images searched even so, where there are that many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    neighbours: Count  # k of kNN
    sigma: Number  # standard deviation of the votes' noise
    classes: Count
    delta: Number = DELTA
    share: Number = SHARE
    seed: Count = 0


class Neighbours(Voting):
    """Training features (m, d) and the labels (m,) that vote."""

    def __init__(
        self, config: Config, *, features: NDArray[np.float32], labels: NDArray[np.int64]
    ) -> None:
        arrays: Arrays = {"features": features, "labels": labels}
        super().__init__(config, arrays, voters=config.neighbours)
        self._labels = labels
        self._rows = torch.from_numpy(features)
        # |x - r|^2 / 2 is smallest where x r - |r|^2 / 2 is largest.
        self._offset = -(self._rows * self._rows).sum(dim=1) / 2

    def votes(self, inputs: NDArray[np.float32], answer: Answer) -> NDArray[np.int64]:
        asked = torch.from_numpy(features_of(answer, self._rows.shape[1], "knn"))
        with torch.inference_mode():
            near = torch.addmm(self._offset, asked, self._rows.T)
            nearest = near.topk(self._voters, dim=1, sorted=False).indices
        return histogram(self._labels[nearest.numpy()], self._config.classes)


def train(victim: Victim, split: Split, *, seed: int, share: float = SHARE) -> Neighbours:
    """Draws the images to search, `share` of the victim's training images.

    Raises ValueError where they are too few for two neighbours.
    """
    images = max(int(share * len(split)), min(FEWEST, len(split)))
    count = min(NEIGHBOURS, images // SPARSE)
    if count < 2:
        raise ValueError(
            f"{images} training images are too few for neighbours; expected at least {2 * SPARSE}"
        )
    drawn = np.sort(np.random.default_rng(seed).permutation(len(split))[:images])
    config = Config(
        neighbours=count, sigma=SIGMA_SHARE * count, classes=victim.classes, share=share, seed=seed
    )
    features = victims.features(victim, split.images[drawn])
    return Neighbours(config, features=features, labels=split.labels[drawn])


def restore(arrays: Arrays, config: Mapping[str, Any], victim: Victim) -> Neighbours:
    """Neighbours as `arrays` and `config` gave them. Raises ValueError."""
    settings = validate(Config, config, "config")
    found = stored.arrays(
        arrays, {"features": (np.float32, (None, None)), "labels": (np.int64, (None,))}
    )
    features, labels = found["features"], found["labels"]
    if len(features) != len(labels):
        raise ValueError(f"{len(features)} features but {len(labels)} labels")
    if settings.classes != victim.classes:
        raise ValueError(f"classes is {settings.classes}, expected {victim.classes}")
    if not (labels.min() >= 0 and labels.max() < settings.classes):
        raise ValueError(f"a label is not one of 0 to {settings.classes - 1}")
    if not 1 <= settings.neighbours <= len(features):
        raise ValueError(f"neighbours is {settings.neighbours}, expected 1 to {len(features)}")
    return Neighbours(settings, features=features, labels=labels)
