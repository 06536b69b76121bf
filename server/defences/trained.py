"""The networks that defences look at: trained once, stored beside the victim, of that victim only.

students   steered by gradient redirection: networks like the victim that learnt from its clean
           answers on its own training images, stopped early (by the method's authors after
           10 of 50 epochs), several seeds
untrained  the same with their first weights, which the method's authors tried, too
fresh      what MAD looks at: a network like the victim with its first weights
misled     what adaptive misinformation answers with: a network that learnt to be wrong
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.arrays import softmax
from core.learning import artifacts, networks, training
from core.learning.datasets import Split
from core.learning.networks import Network
from core.learning.training import Schedule
from server.defences import Defence, Perturbation
from server.defences.gradient_redirection import Config as Redirection
from server.defences.surrogates import Surrogates

KINDS = {
    "gradient_redirection": ("students", "untrained"),
    "mad": ("fresh",),
    "mad_argmax": ("fresh",),
    "adaptive_misinformation": ("misled",),
}
"""Defence -> kinds of network it may look at; the others need none."""

SEVERAL = ("students", "untrained")
"""Kinds of which there are as many as asked for; of the others there is one."""

IMAGES = 10_000
"""Training images of a surrogate, at most: it is stopped early anyway."""

EARLY = Schedule(epochs=2, batch=64, lr=0.05, momentum=0.9, weight_decay=1e-4)
"""Of students: a fifth of the epochs a victim gets, at the rate such a schedule begins with."""

MISLEADING = Schedule(epochs=2, batch=64, lr=0.1, momentum=0.9, weight_decay=1e-4)


def prepare(
    files: Path, defence: str, victim: Network, split: Split, *, seed: int, count: int
) -> str | None:
    """Trains what a defence needs unless it is there; what was made, or None.

    Networks of another victim, and fewer or more students than asked for, are made anew. Raises
    ValueError for no students at all, ArtifactError.
    """
    if count < 1:
        raise ValueError(f"--surrogates is {count}; expected at least 1")
    part = Split(split.images[:IMAGES], split.labels[:IMAGES])
    made = []
    for kind in KINDS.get(defence, ()):
        wanted = _facts(kind, victim, seed, count if kind in SEVERAL else 1)
        path = file(files, kind)
        if path.exists() and artifacts.load(path)[1].items() >= wanted.items():
            continue
        arrays = {
            f"{i}.{name}": value
            for i, one in enumerate(wanted["seeds"])
            for name, value in _make(kind, victim, part, one).state_dict().items()
        }
        artifacts.save(path, arrays, wanted)
        made.append(kind)
    return f"{' and '.join(made)} surrogates for {defence}" if made else None


def ready(files: Path, defence: str, config: Defence, victim: Network, key: bytes) -> Perturbation:
    """A defence that can serve. Raises ArtifactError, as `load` does."""
    untrained = isinstance(config, Redirection) and config.untrained
    return Perturbation(defence, config, key, load(files, defence, victim, untrained=untrained))


def load(
    files: Path, defence: str, victim: Network, *, untrained: bool = False
) -> Surrogates | None:
    """The networks of a defence, or None where it needs none.

    Raises ArtifactError where they are missing, damaged, or of another victim.
    """
    if defence not in KINDS:
        return None
    kind = KINDS[defence][untrained]
    path, remedy = file(files, kind), f"prepare the model again with --defence {defence}"
    if not path.exists():
        raise artifacts.ArtifactError(f"{path} is missing; {remedy}")
    arrays, found = artifacts.load(path)
    if found.get("kind") != kind or found.get("victim") != artifacts.weights_digest(victim):
        raise artifacts.ArtifactError(f"{path} holds no {kind} of this victim; {remedy}")
    loaded = []
    try:
        for i in range(len(found["seeds"])):
            mine = {k.removeprefix(f"{i}."): v for k, v in arrays.items() if k.startswith(f"{i}.")}
            loaded.append(networks.restore(found["network"], victim.shape, victim.classes, mine))
        return Surrogates(loaded)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise artifacts.ArtifactError(
            f"{path} holds no {kind} that can be used: {error}; {remedy}"
        ) from error


def file(files: Path, kind: str) -> Path:
    """Where the networks of a kind are stored, in the folder of a model."""
    return files / f"surrogates-{kind}.safetensors"


def _facts(kind: str, victim: Network, seed: int, count: int) -> dict[str, Any]:
    # Not the victim's seed: a surrogate with the victim's first weights would be too like it.
    seeds = np.random.default_rng([seed, sum(kind.encode())]).integers(2**31, size=count)
    schedule = {"students": EARLY, "misled": MISLEADING}.get(kind)
    return {
        "kind": kind,
        "victim": artifacts.weights_digest(victim),
        "network": victim.name,
        "seeds": seeds.tolist(),
        "schedule": None if schedule is None else asdict(schedule),
    }


def _make(kind: str, victim: Network, split: Split, seed: int) -> Network:
    network = networks.build(victim.name, victim.shape, victim.classes, seed=seed)
    if kind == "students":
        clean = softmax(training.logits(victim, split.images))
        training.fit(network, split.images, clean, EARLY, seed=seed, progress="surrogate")
    elif kind == "misled":
        training.fit(
            network, split.images, split.labels, MISLEADING, seed=seed, loss_of=away_from_labels
        )
    return network.eval()


def away_from_labels(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean of -log(1 - p_label): the reverse cross entropy of Kariyappa and Qureshi, CVPR 2020."""
    right = torch.nn.functional.one_hot(labels, logits.shape[1]).bool()
    wrong = logits.masked_fill(right, -torch.inf)
    return (logits.logsumexp(1) - wrong.logsumexp(1)).mean()
