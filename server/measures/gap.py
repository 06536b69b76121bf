"""One minus the gap between the victim's two best classes: what margin sampling looks for.

The gap cost of Dziedzic et al. (ICLR 2022): 1 - (p1 - p2), where p1 and p2 are the softmax over
the two largest logits alone; that is 1 - tanh((z1 - z2) / 2), from 0 (certain) to 1 (undecided).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from server.measures import checked
from server.measures.stored import Untrained
from server.victims import Answer


class Gap(Untrained):
    """One minus the gap."""

    def cost(self, inputs: NDArray[np.float32], answer: Answer) -> NDArray[np.float64]:
        """Undecidedness (b,). Raises ValueError for scores that are not finite."""
        best = np.partition(answer.scores(), -2, axis=1)[:, -2:]
        # 2 / (1 + e^gap), the same number without losing the digits of a small one.
        return checked(2 * expit(best[:, 0] - best[:, 1]), "gap")


train, restore = Gap.train, Gap.restore
