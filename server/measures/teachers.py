"""PATE votes of N independent small networks, each trained on its own shard: the paper's way.

Papernot et al., ICLR 2017 and 2018; Dziedzic et al., ICLR 2022, section 3. Differs from the paper:
thin networks (8-16-64), run one after another in bfloat16 and channels-last, which on a CPU is
faster than any way of batching them.
"""

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
from core.privacy.pate import gnmax_epsilon
from server.measures import DELTA, SIGMA_SHARE, Arrays, shards, stored, voters, votes
from server.victim import Answer, TorchVictim

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
    teachers: int  # N
    sigma: float  # standard deviation of the votes' noise
    delta: float = DELTA
    network: str = NETWORK
    schedule: Mapping[str, object]
    seed: int = 0


class Teachers:
    """N networks with votes."""

    def __init__(self, config: Config, ensemble: list[networks.Network]) -> None:
        self._config = config
        self._stored = ensemble  # float32, as trained
        self._voting = [_for_voting(network) for network in ensemble]

    def cost(self, images: NDArray[np.float32], answer: Answer) -> NDArray[np.float64]:
        """GNMax epsilon (b,) of the teachers' votes on images (b, c, h, w)."""
        config = self._config
        return gnmax_epsilon(
            self.votes(images), config.sigma, config.delta, teachers=config.teachers
        )

    def votes(self, images: NDArray[np.float32]) -> NDArray[np.int64]:
        """Teacher votes (b, k)."""
        writable = np.require(images, requirements=("C", "W"))  # torch holds nothing else
        pixels = torch.from_numpy(writable).to(torch.bfloat16, memory_format=torch.channels_last)
        with torch.inference_mode():
            labels = torch.stack([teacher(pixels).argmax(1) for teacher in self._voting], dim=1)
        return votes(labels.numpy(), self._voting[0].classes)

    def arrays(self) -> Arrays:
        return {
            f"{index}.{name}": tensor.numpy()
            for index, network in enumerate(self._stored)
            for name, tensor in network.state_dict().items()
        }

    def config(self) -> dict[str, object]:
        return asdict(self._config)


def train(victim: TorchVictim, split: Split, *, seed: int, most: int | None = None) -> Teachers:
    """Trains the teachers, MOST of them if not said otherwise, one after another.

    Raises ValueError where there are too few images, or a teacher learns nothing from them.
    """
    from rich.console import Console
    from rich.progress import track

    count = voters(len(split.images), most=MOST if most is None else most)
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
                f"teacher {number} learnt nothing from its {len(part)} images: its training loss "
                f"is {loss:.2f}; expected less than {GUESS} ln {victim.classes}"
            )
        ensemble.append(teacher)
    return Teachers(config, ensemble)


def schedule_for(images: int) -> Schedule:
    """The schedule of a teacher with so many images."""
    epochs = math.ceil(STEPS / math.ceil(images / SCHEDULE.batch))
    return replace(SCHEDULE, epochs=max(SCHEDULE.epochs, epochs))


def train_one(
    shard: Split, shape: tuple[int, int, int], classes: int, *, seed: int
) -> tuple[networks.Network, float]:
    """One teacher, of its own shard, and its training loss in nats."""
    teacher = networks.build(NETWORK, shape, classes, seed=seed)
    schedule = schedule_for(len(shard))
    loss = fit(teacher, shard.images, shard.labels, schedule, seed=seed)
    return teacher.eval(), loss


def restore(arrays: Arrays, config: Mapping[str, Any], victim: TorchVictim) -> Teachers:
    """Teachers as `arrays` and `config` gave them. Raises ValueError."""
    settings = stored.config(Config, config)
    if settings.teachers < 1:
        raise ValueError(f"teachers is {settings.teachers}, expected at least 1")
    ensemble = []
    for index in range(settings.teachers):
        prefix = f"{index}."
        own = {
            name.removeprefix(prefix): array
            for name, array in arrays.items()
            if name.startswith(prefix)
        }
        ensemble.append(networks.restore(settings.network, victim.shape, victim.classes, own))
    return Teachers(settings, ensemble)


def _for_voting(network: networks.Network) -> networks.Network:
    """A copy in bfloat16 and channels-last."""
    copy = networks.build(network.name, network.shape, network.classes, seed=0)
    copy.load_state_dict(network.state_dict())
    copy.eval().to(torch.bfloat16)
    for parameter in copy.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)
    return copy
