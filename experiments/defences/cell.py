"""One cell of `defences`: a thief in this process, asking a defended victim without a gate.

A gate answers the same: a perturbation is a function of posterior, images and client. What it costs
to ask is measured over the wire (`wire`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import attacks
from attacks.driver import Driver
from attacks.world import Answers, Images, Surrogate, World
from core.arrays import to_float
from core.learning import artifacts, datasets, networks, training
from core.learning.datasets import Dataset
from core.learning.networks import Network
from experiments.defences.plan import Bench, Perturb, Thief
from experiments.measures import model_name
from server import model
from server.defences import Perturbation, trained
from server.victims.local import LocalVictim

VICTIM_SEED = 0
SURROGATES = 3
BATCH = 64
KEY = bytes(range(32))
"""Of the noise: a result must come out the same again."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where victims, surrogates and data are."""

    home: Path
    data: Path | None


def victim(bench: Bench, place: Place) -> Path:
    """The folder of the victim of a bench, trained unless it is there.

    Raises DatasetError, ArtifactError.
    """
    name = model_name(bench.dataset, VICTIM_SEED)
    model.prepare(
        place.home,
        name,
        dataset=bench.dataset,
        network=bench.network,
        measure="entropy",
        seed=VICTIM_SEED,
        data=place.data,
    )
    return model.folder(place.home, name)


class Stage:
    """Victim, data and surrogates of a bench, loaded once."""

    def __init__(self, bench: Bench, place: Place) -> None:
        self.bench, self.place = bench, place
        self.files = victim(bench, place)
        self.network, _ = artifacts.load_network(self.files / "victim.safetensors")
        self.victim = LocalVictim(self.network)
        self.dataset: Dataset = datasets.load(bench.dataset, home=place.home, data=place.data)
        self.held_out = to_float(self.dataset.splits["held_out"].images)
        self.labels = self.dataset.splits["held_out"].labels
        self.classes = training.logits(self.network, self.held_out).argmax(axis=1)

    def shield(self, shield: Perturb, seed: int) -> Perturbation:
        """A defence with surrogates of its own seed, trained where they are missing."""
        files = self.files / f"defences-{seed}"
        split = self.dataset.splits["victim"]
        trained.prepare(files, shield.defence, self.network, split, seed=seed, count=SURROGATES)
        return trained.ready(files, shield.defence, shield.config(), self.network, KEY)

    def pool(self, thief: Thief, seed: int) -> Images:
        """The images that a thief may ask, in the order of his seed."""
        images, _ = datasets.load_labelled_pool(
            thief.pool,
            self.network.shape,
            count=thief.pool_size,
            seed=seed,
            home=self.place.home,
            data=self.place.data,
        )
        return images

    def facts(self) -> dict[str, Any]:
        """The victim, as results name it."""
        return {
            "network": self.bench.network,
            "seed": VICTIM_SEED,
            "accuracy": float(np.mean(self.classes == self.labels)),
            "images": len(self.labels),
        }


def benign(stage: Stage, shield: Perturbation) -> dict[str, float]:
    """What honest users get on held-out images, and what an answer costs the server.

    `accuracy` of the answers' top classes; `l1` mean distance to the clean answer; `kept` the share
    of top classes that stay; milliseconds of CPU an image, of the victim and of the defence.
    """
    images, labels = stage.held_out[: stage.bench.benign], stage.labels[: stage.bench.benign]
    shield.answer(
        stage.victim.answer(images[:BATCH]).probabilities, images[:BATCH], "honest"
    )  # warm
    clean, given, spent = [], [], np.zeros(2)
    for at in range(0, len(images), BATCH):
        part, start = images[at : at + BATCH], time.thread_time()
        clean.append(stage.victim.answer(part).probabilities)
        between = time.thread_time()
        given.append(shield.answer(clean[-1], part, "honest"))
        spent += between - start, time.thread_time() - between
    before, after = np.concatenate(clean), np.concatenate(given)
    per_image = 1e3 * spent / len(images)
    return {
        "accuracy": float(np.mean(after.argmax(axis=1) == labels)),
        **moved(before, after),
        "victim_ms": round(float(per_image[0]), 4),
        "defence_ms": round(float(per_image[1]), 4),
    }


def steal(stage: Stage, shield: Perturbation, thief: Thief, seed: int) -> dict[str, float]:
    """What a thief gets: accuracy and fidelity of the clone, and how far his answers were moved."""
    started = time.thread_time()
    attack = attacks.load(thief.attack)
    config = attack.Config(**thief.config)
    network: Network = networks.build(
        stage.bench.network, stage.network.shape, stage.network.classes, seed=seed + 1_000
    )
    surrogate = Surrogate(network, seed=seed)
    rng, _ = np.random.default_rng(seed).spawn(2)
    pool = stage.pool(thief, seed)
    clean: list[NDArray[np.float32]] = []
    given: list[NDArray[np.float32]] = []

    def predict(images: Images) -> Answers:
        pixels = to_float(images)
        clean.append(stage.victim.answer(pixels).probabilities)
        given.append(shield.answer(clean[-1], pixels, "thief"))
        return given[-1]

    driver = Driver(
        attack.plan(config, World(pool, surrogate, rng)),
        surrogate,
        predict=predict,
        price=lambda images: 0,  # no gate, no price
        budget=config.budget,
        surrogates=None,
        saved=lambda asked, path, seconds: None,
    )
    driver.run()
    stolen = training.logits(network, stage.held_out).argmax(axis=1)
    return {
        "queries": driver.asked,
        "accuracy": float(np.mean(stolen == stage.labels)),
        "fidelity": float(np.mean(stolen == stage.classes)),
        **moved(np.concatenate(clean), np.concatenate(given)),
        "cpu_seconds": round(time.thread_time() - started, 1),
    }


def moved(clean: NDArray[np.float32], given: NDArray[np.float32]) -> Mapping[str, float]:
    """Mean L1 distance of answers (n, k), and the share whose top class stayed."""
    distance = np.abs(given.astype(np.float64) - clean).sum(axis=1)
    return {
        "l1": round(float(distance.mean()), 5),
        "kept": float(np.mean(given.argmax(axis=1) == clean.argmax(axis=1))),
    }
