"""Rounding: probabilities with few decimals that still sum to one.

Tramèr et al., *Stealing Machine Learning Models via Prediction APIs*, USENIX Security 2016,
section 7. Differs from the paper: plain rounding leaves the simplex, so the units of 10^-decimals
are dealt out by largest remainders.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.defences import Context, Defence, Rows

MOST = 6
"""Decimals: float32 has no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Defence):
    decimals: int = 1
    """Decimals that are left."""

    def __post_init__(self) -> None:
        if not 0 <= self.decimals <= MOST:
            raise ValueError(f"decimals is {self.decimals}, expected a whole number, 0 to {MOST}")

    def perturb(self, posterior: Rows, inputs: NDArray[Any], context: Context) -> Rows:
        return rounded(posterior, self.decimals)


def rounded(posterior: Rows, decimals: int) -> Rows:
    """Multiples of 10^-decimals (b, k) that sum to one.

    A class never overtakes another one, but may draw level with it.
    """
    units: int = 10**decimals
    exact = posterior / posterior.sum(axis=1, keepdims=True) * units
    dealt: Rows = np.floor(exact)
    missing = units - dealt.sum(axis=1, keepdims=True)
    # Ties go to the class that was likelier, then to the first: the order of classes is kept.
    order = np.lexsort((-exact, dealt - exact), axis=1)
    rank = np.argsort(order, axis=1)
    dealt = (dealt + (rank < missing)) / units
    return dealt
