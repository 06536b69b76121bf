"""Images from honest and foreign sources, and what each measure says that they cost.

Foreign are natural pools, noise, and honest images perturbed, mixed, turned or inverted; honest
images that drifted (`core.learning.drift`) are here, too. Costs are kept beside the model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from core.arrays import to_float
from core.learning import artifacts, datasets
from core.learning.drift import DRIFTS, drifted
from core.learning.images import Images
from experiments.studies import HONEST, NATURAL, NEAR, NOISE
from server import measures, model
from server.model import Model
from server.victims import Victim, answers, needed_network

Costs = NDArray[np.float64]

POOLS = {
    NEAR: "npz:ood_emnist_letters.npz",
    NATURAL: "npz:ood_tinyimagenet32.npz",
    "photos": "photos",
}
"""Natural pools; one whose file is not there is left out."""

BATCH = 64
STEP = 0.1
"""Signed step of the perturbed images, in grey levels from 0 to 1."""


def model_name(dataset: str, seed: int) -> str:
    """Under which name victim, measures and costs are kept."""
    return f"measures-{re.sub('[^a-z0-9]+', '-', dataset.lower()).strip('-')}-{seed}"


def costs_file(home: Path, name: str, measure: str, kind: str = "costs") -> Path:
    """Where the costs of a measure are kept."""
    return model.folder(home, name) / f"{kind}-{measures.file_stem(measure)}.safetensors"


def prepared(
    dataset: str, network: str | None, measure: str, seed: int, home: Path, data: Path | None
) -> Model:
    """Trains victim and measure, or takes those that are there. Raises as `model.prepare` does."""
    if network is None:
        grey = datasets.load(dataset, home=home, data=data).shape[0] == 1
        network = "lenet" if grey else "resnet10-thin"
    name = model_name(dataset, seed)
    model.prepare(
        home, name, dataset=dataset, network=network, measure=measure, seed=seed, data=data
    )
    return model.load(home, name, measure)


def sources(
    dataset: str, victim: Victim, count: int, seed: int, home: Path, data: Path | None
) -> tuple[dict[str, Images], dict[str, float]]:
    """Images (n, c, h, w) by the name of where they come from, and how often the victim is right.

    It is asked of honest images and drifts: where a drift lowers it, the images are foreign to the
    victim itself, and no measure is to blame for seeing them.
    """
    rng = np.random.default_rng(seed)
    split = datasets.load(dataset, home=home, data=data).splits["held_out"]
    chosen = rng.permutation(len(split))[:count]
    honest, labels = split.images[chosen], split.labels[chosen]
    found = {HONEST: honest}
    for name, pool in POOLS.items():
        file = pool.removeprefix("npz:")
        if file == pool or (data and (data / file).is_file()):
            found[name] = datasets.load_pool(
                pool, victim.shape, count=len(honest), seed=seed, home=home, data=data
            )
    found |= dict(_made(victim, honest, rng))
    right = {}
    for name in (HONEST, *DRIFTS):
        said = [answer.probabilities.argmax(axis=1) for _, answer in answers(victim, found[name])]
        right[name] = float((np.concatenate(said) == labels).mean())
    return found, right


def _made(victim: Victim, honest: Images, rng: np.random.Generator) -> Iterator[tuple[str, Images]]:
    """What is made of honest images (n, c, h, w), and noise."""
    yield NOISE, rng.integers(0, 256, honest.shape, dtype=np.uint8)
    yield "perturbed", perturbed(victim, honest, STEP)
    yield "perturbed away", perturbed(victim, honest, -STEP)
    other = honest[rng.permutation(len(honest))]
    yield "mixup", ((honest.astype(np.uint16) + other) // 2).astype(np.uint8)
    for drift in DRIFTS:
        yield drift, drifted(drift, honest, rng)
    yield "rotated 90", np.ascontiguousarray(np.rot90(honest, axes=(2, 3)))
    yield "inverted", 255 - honest


def perturbed(victim: Victim, images: Images, step: float) -> Images:
    """One step of Jacobian-based augmentation with the victim's own gradient.

    x + step sign(d logit of the victim's label / d x) (Papernot et al., AsiaCCS 2017, algorithm 1):
    as published it goes towards the label, with a negative step away from it. An attacker has only
    its surrogate's gradient.
    """
    out, network = np.empty_like(images), needed_network(victim, "perturbing")
    for start in range(0, len(images), BATCH):
        part = slice(start, start + BATCH)
        x = torch.from_numpy(to_float(images[part])).requires_grad_()
        network(x).max(dim=1).values.sum().backward()
        assert x.grad is not None
        moved = x.detach() + step * x.grad.sign()
        out[part] = (moved.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    return out


def costs(served: Model, file: Path, pictures: Mapping[str, Images]) -> dict[str, Costs]:
    """Costs by source, from the file where they are this model's of these images."""
    images = artifacts.fingerprint(pictures)
    mark = {"kind": "costs", "model": served.fingerprint, "images": images}
    if file.exists():
        arrays, meta = artifacts.load(file)
        if meta == mark:
            return {source: arrays[source] for source in pictures}
    found = {
        source: measures.costs_of(served.measure, served.victim, images)
        for source, images in pictures.items()
    }
    artifacts.save(file, found, mark)
    return found
