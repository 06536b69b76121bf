"""No defence: the posterior as it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.defences import Context, Posterior


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    def perturb(
        self, posterior: Posterior, images: NDArray[np.float32], context: Context
    ) -> Posterior:
        return posterior
