"""Private kNN: GNMax on the labels of the k nearest training images, in the victim's features.

After Private-kNN (Zhu et al., CVPR 2020), with the paper's k = 300 and sigma = 28. Differs from it:
the paper draws a fresh subsample for each query; here one is drawn from the seed when the measure
is made. Asking again therefore gives the same cost, which repeating cannot average out, and only
the subsample is stored and searched. Distances are between penultimate features, not posteriors.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from core.learning import training
from core.learning.datasets import Split
from core.privacy.pate import gnmax_epsilon
from server.measures import DELTA, Arrays, features_of, stored, votes
from server.victim import Answer, TorchVictim

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
    neighbours: int  # k of kNN
    sigma: float  # standard deviation of the votes' noise
    classes: int
    delta: float = DELTA
    share: float = SHARE
    seed: int = 0


class Neighbours:
    """Training features (m, d) and the labels (m,) that vote."""

    def __init__(
        self, config: Config, *, features: NDArray[np.float32], labels: NDArray[np.int64]
    ) -> None:
        self._config = config
        self._features = features
        self._labels = labels
        self._rows = torch.from_numpy(features)
        # |x - r|^2 / 2 is smallest where x r - |r|^2 / 2 is largest.
        self._offset = -(self._rows * self._rows).sum(dim=1) / 2

    def cost(self, images: NDArray[np.float32], answer: Answer) -> NDArray[np.float64]:
        """GNMax epsilon (b,) of the neighbours' labels. Raises ValueError as `votes` does."""
        config = self._config
        return gnmax_epsilon(
            self.votes(answer), config.sigma, config.delta, teachers=config.neighbours
        )

    def votes(self, answer: Answer) -> NDArray[np.int64]:
        """Labels (b, k) of the nearest images. Raises ValueError for other or missing features."""
        asked = torch.from_numpy(features_of(answer, self._features.shape[1], "knn"))
        with torch.inference_mode():
            near = torch.addmm(self._offset, asked, self._rows.T)
            nearest = near.topk(self._config.neighbours, dim=1, sorted=False).indices
        return votes(self._labels[nearest.numpy()], self._config.classes)

    def arrays(self) -> Arrays:
        return {"features": self._features, "labels": self._labels}

    def config(self) -> dict[str, object]:
        return asdict(self._config)


def train(victim: TorchVictim, split: Split, *, seed: int, share: float = SHARE) -> Neighbours:
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
        neighbours=count,
        sigma=SIGMA_SHARE * count,
        classes=victim.classes,
        share=share,
        seed=seed,
    )
    features = training.features(victim.network, split.images[drawn])
    return Neighbours(config, features=features, labels=split.labels[drawn])


def restore(arrays: Arrays, config: Mapping[str, Any], victim: TorchVictim) -> Neighbours:
    """Neighbours as `arrays` and `config` gave them. Raises ValueError."""
    settings = stored.config(Config, config)
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
