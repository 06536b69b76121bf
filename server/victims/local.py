"""A torch network in this process."""

import numpy as np
import torch
from numpy.typing import NDArray

from core.learning.networks import Network
from server.victims import Answer, Outputs, Victim


class LocalVictim(Victim):
    """A network of `core.learning.networks`, run in the calling thread."""

    outputs: Outputs = "logits"
    gives_features = True

    def __init__(self, network: Network) -> None:
        self.network: Network = network.eval()
        self.shape = network.shape
        self.classes = network.classes

    def answer(self, inputs: NDArray[np.float32]) -> Answer:
        with torch.inference_mode():
            # A copy only of what came read-only off the wire, which torch would not hold.
            pixels = torch.from_numpy(np.require(inputs, requirements=("C", "W")))
            features = self.network.features(pixels)
            logits = self.network.head(features)
        return Answer.of_logits(logits.numpy(), features.numpy())
