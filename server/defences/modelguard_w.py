"""ModelGuard-W: the answer of least weight on likely classes, within a budget, same top class.

Tang, Dai, DiValentin et al., *ModelGuard: Information-Theoretic Defense Against Model Extraction
Attacks*, USENIX Security 2024 (ModelGuard-W): min over y' of sum_k y'_k log y_k within
|y' - y|_1 <= epsilon, the top class kept. It is gradient redirection with scores -log y and needs
no surrogate; solved here by `server.defences.keeping_top`, not by a solver of linear programmes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.defences import Budgeted, Context, Rows
from server.defences.keeping_top import redirect_keeping_top

SMALLEST = 1e-6
"""Added to probabilities before their logarithm, as in the paper's released code."""

MARGIN = 1e-4
"""How far the top class stays above the others, from the same place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Budgeted):
    def perturb(self, posterior: Rows, inputs: NDArray[Any], context: Context) -> Rows:
        return guarded(posterior, self.epsilon)


def guarded(posterior: Rows, epsilon: float) -> Rows:
    """Probabilities (b, k) within `epsilon` of the posterior in L1, with the same top class."""
    scores = -np.log(posterior + SMALLEST)
    return redirect_keeping_top(posterior, scores, epsilon, margin=MARGIN)
