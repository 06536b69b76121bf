"""The networks that defences look at: trained once, kept beside the victim, of that victim only.

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

from core.arrays import softmax, to_float
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
    made = [
        kind
        for kind in KINDS.get(defence, ())
        if _prepare(files, kind, victim, split, seed, count if kind in SEVERAL else 1)
    ]
    return f"{' and '.join(made)} surrogates for {defence}" if made else None


def _prepare(files: Path, kind: str, victim: Network, split: Split, seed: int, count: int) -> bool:
    """Whether there was something to make."""
    wanted = _facts(kind, victim, seed, count)
    path = file(files, kind)
    if path.exists():
        _, found = artifacts.load(path)
        if all(found.get(key) == value for key, value in wanted.items()):
            return False
    part = Split(split.images[:IMAGES], split.labels[:IMAGES])
    made = [_make(kind, victim, part, one) for one in wanted["seeds"]]
    arrays = {
        f"{i}.{name}": value
        for i, network in enumerate(made)
        for name, value in network.state_dict().items()
    }
    artifacts.save(path, arrays, wanted)
    return True


def load(
    files: Path, defence: str, victim: Network, *, untrained: bool = False
) -> Surrogates | None:
    """The networks of a defence, or None where it needs none.

    Raises ArtifactError where they are missing, damaged, or of another victim.
    """
    if defence not in KINDS:
        return None
    kind = KINDS[defence][untrained]
    path = file(files, kind)
    if not path.exists():
        raise artifacts.ArtifactError(
            f"{path} is missing; prepare the model again with --defence {defence}"
        )
    arrays, found = artifacts.load(path)
    if found.get("kind") != kind or found.get("victim") != artifacts.weights_digest(victim):
        raise artifacts.ArtifactError(
            f"{path} holds no {kind} of this victim; prepare the model again with "
            f"--defence {defence}"
        )
    loaded = []
    try:
        for i in range(len(found["seeds"])):
            mine = {k.removeprefix(f"{i}."): v for k, v in arrays.items() if k.startswith(f"{i}.")}
            loaded.append(networks.restore(found["network"], victim.shape, victim.classes, mine))
        return Surrogates(loaded)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise artifacts.ArtifactError(
            f"{path} holds no {kind} that can be used: {error}; prepare the model again with "
            f"--defence {defence}"
        ) from error


def ready(files: Path, defence: str, config: Defence, victim: Network, key: bytes) -> Perturbation:
    """A defence that can serve. Raises ArtifactError, as `load` does."""
    untrained = isinstance(config, Redirection) and config.untrained
    return Perturbation(defence, config, key, load(files, defence, victim, untrained=untrained))


def file(files: Path, kind: str) -> Path:
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
        mislead(network, split, MISLEADING, seed=seed)
    return network.eval()


def mislead(network: Network, split: Split, schedule: Schedule, *, seed: int) -> None:
    """Trains in place away from the labels: the loss is -log(1 - p_label).

    Kariyappa and Qureshi, CVPR 2020 (reverse cross entropy).
    """
    order = np.random.default_rng(seed)
    labels = torch.from_numpy(split.labels)
    sgd = torch.optim.SGD(
        network.parameters(),
        lr=schedule.lr,
        momentum=schedule.momentum,
        weight_decay=schedule.weight_decay,
    )
    network.train()
    for epoch in range(schedule.epochs):
        sgd.param_groups[0]["lr"] = schedule.rate(epoch)
        shuffled = order.permutation(len(labels))
        for at in range(0, len(labels) - 1, schedule.batch):  # one image alone has no variance
            part = shuffled[at : at + schedule.batch]
            logits = network(torch.from_numpy(to_float(split.images[part])))
            right = torch.nn.functional.one_hot(labels[part], network.classes).bool()
            wrong = logits.masked_fill(right, -torch.inf)
            loss = (logits.logsumexp(1) - wrong.logsumexp(1)).mean()
            sgd.zero_grad()
            loss.backward()
            sgd.step()
    network.eval()
