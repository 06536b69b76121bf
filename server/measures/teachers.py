"""PATE votes of N independent small networks, each trained on its own shard: the paper's way.

Papernot et al., ICLR 2017 and 2018; Dziedzic et al., ICLR 2022, section 3. Differs from the paper:
thin networks (8-16-64), run one after another in bfloat16 and channels-last, which on a CPU is
faster than any way of batching them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from core.learning import networks
from core.learning.datasets import Split
from core.learning.training import Schedule, fit
from core.validation import validate
from server.measures import Arrays, stored
from server.measures.stored import Count, Number
from server.measures.votes import DELTA, SIGMA_SHARE, Voting, histogram, shards, voters
from server.victims import Answer, Victim

MOST = 50
"""Teachers at most; 250 of them take about a third of a second for 64 images."""

NETWORK = "lenet-thin"

SCHEDULE = Schedule(epochs=30, batch=16, lr=0.01, momentum=0.9, weight_decay=1e-4, decay="cosine")
"""Larger steps kill the teachers of some shards: they say one class whatever they see."""

STEPS = 400
"""Steps at least; small shards are seen more often for it."""

GUESS = 0.9
"""Training loss of a teacher that learnt nothing, in ln k."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    teachers: Count  # N
    sigma: Number  # standard deviation of the votes' noise
    delta: Number = DELTA
    network: str = NETWORK
    schedule: dict[str, Any]
    seed: Count = 0


class Teachers(Voting):
    """N networks with votes."""

    def __init__(self, config: Config, ensemble: list[networks.Network]) -> None:
        arrays = {  # float32, as trained
            f"{index}.{name}": tensor.numpy()
            for index, network in enumerate(ensemble)
            for name, tensor in network.state_dict().items()
        }
        super().__init__(config, arrays, voters=config.teachers)
        self._voting = [copy.deepcopy(network).eval().bfloat16() for network in ensemble]
        for voting in self._voting:
            voting.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def votes(self, inputs: NDArray[np.float32], answer: Answer) -> NDArray[np.int64]:
        writable = np.require(inputs, requirements=("C", "W"))  # torch holds nothing else
        pixels = torch.from_numpy(writable).to(torch.bfloat16, memory_format=torch.channels_last)
        with torch.inference_mode():
            labels = torch.stack([teacher(pixels).argmax(1) for teacher in self._voting], dim=1)
        return histogram(labels.numpy(), self._voting[0].classes)


def train(victim: Victim, split: Split, *, seed: int, most: int | None = None) -> Teachers:
    """Trains the teachers, MOST of them if not said otherwise, one after another.

    Raises ValueError where there are too few images, or a teacher learns nothing from them.
    """
    from rich.console import Console
    from rich.progress import track

    count = voters(len(split.images), most=most or MOST)
    index = shards(len(split.images), count, seed=seed)
    config = Config(
        teachers=count,
        sigma=count / SIGMA_SHARE,
        schedule=asdict(schedule_for(index.shape[1])),
        seed=seed,
    )
    ensemble = []
    bar = track(list(enumerate(index)), description="teachers", console=Console(stderr=True))
    for number, shard in bar:
        part = Split(split.images[shard], split.labels[shard])
        teacher, loss = train_one(part, victim.shape, victim.classes, seed=seed + number)
        if loss > GUESS * math.log(victim.classes):
            raise ValueError(
                f"teacher {number} learnt nothing from its {len(shard)} images: its training loss "
                f"is {loss:.2f}; expected less than {GUESS} ln {victim.classes}"
            )
        ensemble.append(teacher)
    return Teachers(config, ensemble)


def train_one(
    shard: Split, shape: tuple[int, ...], classes: int, *, seed: int
) -> tuple[networks.Network, float]:
    """One teacher, of its own shard, and its training loss in nats."""
    teacher = networks.build(NETWORK, shape, classes, seed=seed)
    loss = fit(teacher, shard.images, shard.labels, schedule_for(len(shard)), seed=seed)
    return teacher.eval(), loss


def schedule_for(images: int) -> Schedule:
    """The schedule of a teacher with so many images."""
    epochs = math.ceil(STEPS / math.ceil(images / SCHEDULE.batch))
    return replace(SCHEDULE, epochs=max(SCHEDULE.epochs, epochs))


def restore(arrays: Arrays, config: Mapping[str, Any], victim: Victim) -> Teachers:
    """Teachers as `arrays` and `config` gave them. Raises ValueError."""
    settings = validate(Config, config, "config")
    if settings.teachers < 1:
        raise ValueError(f"teachers is {settings.teachers}, expected at least 1")
    shape, classes = victim.shape, victim.classes
    return Teachers(
        settings,
        [
            networks.restore(settings.network, shape, classes, stored.under(arrays, f"{index}"))
            for index in range(settings.teachers)
        ],
    )
