"""MAD: each answer is moved to the class that turns a student's gradient away the most.

Orekondy, Schiele, Fritz, *Prediction Poisoning: Towards Defenses Against DNN Model Stealing
Attacks*, ICLR 2020. For the gradients of a surrogate's last layer the angle has a closed
form, so that one forward pass does instead of k + 1 backward passes: these gradients are
(e_k - p) h^T with the surrogate's posterior p and features h, hence with v = y - p

    cos_k = (v_k - <p, v>) / (|e_k - p| |v|).

Differs from the code of *How to Steer Your Adversary*: the step is clipped, as in the original;
without, an answer near its vertex leaves the simplex.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.defences import (
    Budgeted,
    Context,
    Posterior,
    check_budget,
    check_posterior,
    needed,
    one_hot,
    towards,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Budgeted):
    def perturb(
        self, posterior: Posterior, images: NDArray[np.float32], context: Context
    ) -> Posterior:
        surrogate = needed(context, "mad").posterior(images)
        return poisoned(posterior, surrogate, self.epsilon)


def poisoned(posterior: Posterior, surrogate: Posterior, epsilon: float) -> Posterior:
    """Probabilities (b, k), each moved by `epsilon` in L1 towards one vertex, or onto it.

    Raises ValueError for posteriors that are none or do not fit, or a budget outside [0, 2].
    """
    check_budget(epsilon)
    exact, p = check_posterior(posterior), check_surrogate(surrogate, posterior)
    chosen = cosines(exact, p).argmin(axis=1)
    moved = towards(exact, one_hot(chosen, exact.shape[1]), epsilon)
    return moved.astype(posterior.dtype)


def cosines(posterior: NDArray[np.float64], p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosine (b, k) of the last-layer gradients of label e_k and of the posterior (b, k).

    `p` is the surrogate's posterior; where it is the posterior itself, there is no gradient, and
    every cosine is 0.
    """
    v = posterior - p
    squares = (p * p).sum(axis=1, keepdims=True)
    lengths = np.sqrt(np.maximum((1 - p) ** 2 - p**2 + squares, 0) * (v * v).sum(1, keepdims=True))
    inner = v - (p * v).sum(axis=1, keepdims=True)
    found: NDArray[np.float64] = np.divide(inner, lengths, out=np.zeros_like(v), where=lengths > 0)
    return found


def check_surrogate(surrogate: Posterior, posterior: Posterior) -> NDArray[np.float64]:
    """A surrogate's posterior in float64. Raises ValueError where it does not fit the victim's."""
    if surrogate.shape != posterior.shape:
        raise ValueError(
            f"the surrogate's posterior has shape {surrogate.shape}, expected {posterior.shape}"
        )
    return check_posterior(surrogate)
