"""k-center: images that lie farthest from everything asked so far, as the surrogate sees them.

Sener, Savarese, *Active Learning for Convolutional Neural Networks: A Core-Set Approach*, ICLR
2018, algorithm 1 (k-Center-Greedy); "greedy" in Dziedzic, Kaleem, Lu, Papernot, ICLR 2022.
Differs from the paper: distances are between the current surrogate's features, and the choice goes
on from all images asked before (the released code begins anew in each round, with logits of a
surrogate that was never trained).
"""

import numpy as np
from numpy.typing import NDArray

from attacks.active import Active, Positions, ask_in_rounds
from attacks.world import Plan, World

SOURCE = "Sener, Savarese, ICLR 2018"
LABELS = "soft or hard"
NEEDS = ("pool",)

Config = Active


def plan(cfg: Config, world: World) -> Plan:
    """Asks the farthest images after a random first round."""
    yield from ask_in_rounds(cfg, world, select)


def select(world: World, asked: Positions, left: Positions, count: int) -> Positions:
    """The farthest first, seen with the surrogate's features."""
    seen = world.surrogate.features(world.pool[np.concatenate([asked, left])])
    return left[farthest_first(seen[len(asked) :], seen[: len(asked)], count)]


def farthest_first(
    points: NDArray[np.float32], centres: NDArray[np.float32], count: int
) -> Positions:
    """Positions (count,): each time the point (n, d) farthest from its nearest centre (m, d).

    A chosen point is a centre from then on. Distances are Euclidean; ties go to the first.
    """
    norms = (points**2).sum(axis=1)
    nearest = np.full(len(points), np.inf, np.float32)  # squared distance to the nearest centre
    for at in range(0, len(centres), 256):
        some = centres[at : at + 256]
        apart = (some**2).sum(axis=1) - 2 * points @ some.T
        np.minimum(nearest, norms + apart.min(axis=1), out=nearest)
    # Distances only shrink, so a point needs to be compared with the newest centres only when its
    # old distance is among the largest: the same choice for a third of the time.
    chosen = np.empty(count, np.int64)
    compared = np.zeros(len(points), np.int64)  # with how many of the chosen
    few = min(64, len(points))
    for i in range(count):
        while compared[pick := int(nearest.argmax())] < i:
            block = np.append(np.argpartition(nearest, -few)[-few:], pick)
            block = np.unique(block[compared[block] < i])
            new = chosen[compared[block].min() : i]
            apart = norms[new] - 2 * points[block] @ points[new].T
            nearest[block] = np.minimum(nearest[block], norms[block] + apart.min(axis=1))
            compared[block] = i
        chosen[i] = pick
        nearest[pick] = -np.inf  # never again, even among equal points
    return chosen
