"""Simulated honest clients, drawn from recorded costs: what a price must let through.

Everything is drawn with replacement. Histories are costs (clients, queries).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from server.pricing.vectorised import Floats

SKEW = 1.0
"""Dirichlet concentration of the class mix of a skewed client: 1 makes every mix equally likely."""

VARIATION = 0.1
"""Standard deviation of the factor by which all costs of a client differ from other clients'."""

RESAMPLES = 20
"""Bootstrap resamples of the images behind the clients of each kind."""

Traffic = Mapping[str, Floats]
"""Histories by kind of client."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Costs (n,) of honest images and their labels (n,); and what drifted ones cost, by drift."""

    costs: Floats
    labels: NDArray[np.int64]
    drifted: Mapping[str, Floats] = field(default_factory=dict)

    def part(self, chosen: NDArray[np.bool_]) -> Sample:
        """The images chosen, by a mask (n,)."""
        drifted = {name: costs[chosen] for name, costs in self.drifted.items()}
        return Sample(self.costs[chosen], self.labels[chosen], drifted)


def iid(costs: Floats, clients: int, queries: int, rng: np.random.Generator) -> Floats:
    """Clients that all draw from the same images."""
    drawn: Floats = costs[rng.integers(0, len(costs), (clients, queries))]
    return drawn


def skewed(
    costs: Floats,
    labels: NDArray[np.int64],
    clients: int,
    queries: int,
    rng: np.random.Generator,
) -> Floats:
    """Clients that each have a class mix of their own, drawn from a Dirichlet distribution."""
    classes = [costs[labels == label] for label in np.unique(labels)]
    sizes = np.array([len(part) for part in classes])
    starts = np.cumsum(sizes) - sizes
    ordered = np.concatenate(classes)
    out = np.empty((clients, queries))
    for client in range(clients):
        mix = rng.dirichlet(np.full(len(classes), SKEW))
        which = rng.choice(len(classes), size=queries, p=mix)
        out[client] = ordered[starts[which] + rng.integers(0, sizes[which])]
    return out


def varied(costs: Floats, clients: int, queries: int, rng: np.random.Generator) -> Floats:
    """Clients whose images all cost more, or less, than others' by a factor of their own."""
    factor = np.maximum(0.0, 1 + VARIATION * rng.standard_normal((clients, 1)))
    return iid(costs, clients, queries, rng) * factor


def kinds(
    sample: Sample, clients: int, queries: int, rng: np.random.Generator
) -> dict[str, Floats]:
    """Honest clients of every kind: iid, skewed, varied, and one that sends each drift only."""
    return {
        "iid": iid(sample.costs, clients, queries, rng),
        "skewed": skewed(sample.costs, sample.labels, clients, queries, rng),
        "varied": varied(sample.costs, clients, queries, rng),
        **{name: iid(costs, clients, queries, rng) for name, costs in sample.drifted.items()},
    }


def resampled(
    sample: Sample, clients: int, queries: int, rng: np.random.Generator
) -> dict[str, Floats]:
    """The same, from bootstrap resamples of the images.

    Groups of clients then differ by as much as these images may differ from those of clients to
    come.
    """
    parts = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(0, len(sample.costs), len(sample.costs))
        again = Sample(
            sample.costs[drawn],
            sample.labels[drawn],
            {name: costs[drawn] for name, costs in sample.drifted.items()},
        )
        parts.append(kinds(again, max(1, clients // RESAMPLES), queries, rng))
    return {kind: np.concatenate([part[kind] for part in parts]) for kind in parts[0]}
