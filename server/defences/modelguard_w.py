"""ModelGuard-W: the answer of least weight on likely classes, within a budget, same top class.

Tang, Dai, DiValentin et al., *ModelGuard: Information-Theoretic Defense Against Model Extraction
Attacks*, USENIX Security 2024 (ModelGuard-W): min over y' of sum_k y'_k log y_k within
|y' - y|_1 <= epsilon, the top class kept. It is gradient redirection with scores -log y and needs
no surrogate; solved here by `server.defences.keeping_top`, not by a solver of linear programmes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.defences import Budgeted, Context, Posterior, check_posterior
from server.defences.keeping_top import redirect_keeping_top

SMALLEST = 1e-6
"""Added to probabilities before their logarithm, as in the paper's released code."""

MARGIN = 1e-4
"""How far the top class stays above the others, from the same place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Budgeted):
    def perturb(
        self, posterior: Posterior, images: NDArray[np.float32], context: Context
    ) -> Posterior:
        return guarded(posterior, self.epsilon)


def guarded(posterior: Posterior, epsilon: float) -> Posterior:
    """Probabilities (b, k) within `epsilon` of the posterior in L1, with the same top class.

    Raises ValueError for a posterior that is none or a budget outside [0, 2].
    """
    scores = -np.log(check_posterior(posterior) + SMALLEST)
    return redirect_keeping_top(posterior, scores, epsilon, margin=MARGIN)
