"""The victim: the model behind the gate. Here: a torch network in this process."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from core.arrays import softmax
from core.learning.networks import Network


@dataclass(frozen=True, slots=True)
class Answer:
    """What a victim says of a batch: logits (b, k), and features (b, d) where it has any."""

    logits: NDArray[np.float32]
    features: NDArray[np.float32] | None

    def posterior(self) -> NDArray[np.float32]:
        """Class probabilities (b, k): softmax of the logits."""
        return softmax(self.logits)


class Victim(Protocol):
    """A model that can be queried."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(c, h, w) of one image."""
        ...

    @property
    def classes(self) -> int:
        """Number of classes, k."""
        ...

    def answer(self, images: NDArray[np.float32]) -> Answer:
        """Answers images (b, c, h, w) in [0, 1]."""
        ...


class TorchVictim:
    """A network of `core.learning.networks`, run in the calling thread."""

    def __init__(self, network: Network) -> None:
        self.network = network.eval()

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.network.shape

    @property
    def classes(self) -> int:
        return self.network.classes

    def answer(self, images: NDArray[np.float32]) -> Answer:
        with torch.inference_mode():
            # A copy only of what came read-only off the wire, which torch would not hold.
            pixels = torch.from_numpy(np.require(images, requirements=("C", "W")))
            features = self.network.features(pixels)
            logits = self.network.head(features)
        return Answer(logits.numpy(), features.numpy())
