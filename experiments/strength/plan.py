"""What `strength` runs: attack, pool, settings, seeds and goal, for each dataset.

A plan is a table of trials. Budgets are those of the calibrated-PoW paper; epochs are fewer than
its 50 a round, so that an attack stays under ten minutes of one core.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from attacks import REGISTRY
from experiments import benches
from experiments.scenario import Setting
from experiments.settings import complaint, fields

EMNIST = "npz:ood_emnist_letters.npz"
TINY = "npz:ood_tinyimagenet32.npz"

ALL = (0, 1, 2)
"""Seeds of a thief whose attack takes less than five minutes of one core."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One attack as it is tried: what the thief has, how he goes about it, and what he should get.

    `variant` tells trials of one attack apart. `paper` is the attack's name in the records of the
    calibrated-PoW paper, where it has one. `goal` is an accuracy at the end; `above` are numbers of
    queries at which the accuracy should be above that of `random`, the variant of the same name.
    """

    attack: str
    variant: str = ""
    pool: str = ""  # none: the attack makes its queries up
    pool_size: int = 10_000
    network: str = ""  # of the surrogate; none: the victim's
    config: Mapping[str, Setting] = field(default_factory=dict)
    inside: str = ""  # the dataset of the thief's own genuine images, beside the pool
    costs: bool = False  # whether the thief knows what each image of the pool costs
    online: bool = False  # whether it learns, or asks for other prices, between any two requests
    seeds: tuple[int, ...] = (0,)
    paper: str = ""
    goal: float | None = None
    above: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Attack and variant, as a heading."""
        return f"{self.attack} ({self.variant})" if self.variant else self.attack

    def setting(self) -> dict[str, Any]:
        """What the result depends on, besides victim and seed: ready for JSON."""
        return {
            **({"pool": self.pool, "pool_size": self.pool_size} if self.pool else {}),
            "config": dict(self.config),
            **({"network": self.network} if self.network else {}),
            **({"inside": self.inside} if self.inside else {}),
            **({"costs": True} if self.costs else {}),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The trials on one dataset, and the network of victim and surrogates alike."""

    dataset: str
    title: str
    short: str  # in file names, and the dataset in the paper's records
    network: str
    trials: tuple[Trial, ...]


def bench(dataset: str) -> Bench:
    """The trials on a dataset. Raises ValueError for one that has none."""
    return benches.find(BENCHES, dataset)


def check(trial: Trial) -> None:
    """Raises ValueError for a trial whose attack or settings are not there."""
    if trial.attack not in REGISTRY:
        raise ValueError(f"there is no attack {trial.attack!r}; known: {', '.join(REGISTRY)}")
    known = fields(trial.attack)
    for name, value in trial.config.items():
        if name not in known:
            raise ValueError(
                f"{trial.name}: the attack has no setting {name!r}; known: {', '.join(known)}"
            )
        if wrong := complaint(known[name], value):
            raise ValueError(f"{trial.name}: {name} {wrong}")


MNIST = "npz:mnist.npz"
CIFAR = "npz:cifar10.npz"

# Each round goes on from the one before: a fifth of the paper's steps are then as good.
_MNIST: Mapping[str, Setting] = {
    "budget": 10_000,
    "rounds": 10,
    "epochs": 5,
    "scratch": False,
    "precision": "bfloat16",
}
# Rounds of 250, where choosing well should pay; `random` is run the same way to be held against.
_FEW = "250 a round"
_FINE: Mapping[str, Setting] = {**_MNIST, "budget": 3_000, "rounds": 12, "epochs": 10}
_EARLY = (1_000, 2_000, 3_000)

_CIFAR: Mapping[str, Setting] = {
    "budget": 9_000,
    "rounds": 3,
    "epochs": 8,
    "lr": 0.05,
    "momentum": 0.9,
    "decay": "cosine",
    "scratch": False,
    "precision": "bfloat16",
}

BENCHES = (
    Bench(
        dataset="digits",
        title="scikit-learn's digits",
        short="digits",
        network="lenet-thin",
        trials=(
            Trial(
                attack="random",
                pool="digits",
                config={"budget": 160, "batch": 32, "rounds": 2, "epochs": 30},
            ),
            Trial(
                attack="copycat",
                pool="photos",
                pool_size=160,
                config={"budget": 160, "batch": 32, "rounds": 2, "epochs": 30},
            ),
        ),
    ),
    Bench(
        dataset=MNIST,
        title="MNIST",
        short="mnist",
        network="lenet",
        trials=(
            Trial(
                attack="random",
                pool=MNIST,
                config=_MNIST,
                seeds=ALL,
                paper="standard",
                goal=0.984,
            ),
            Trial(
                attack="entropyrev",
                pool=MNIST,
                config={**_MNIST, "decay": "cosine"},
                seeds=ALL,
                paper="entropyrev",
                goal=0.983,
            ),
            Trial(
                attack="worstcase",
                pool=MNIST,
                config={**_MNIST, "decay": "cosine"},
                costs=True,
                seeds=ALL,
                paper="worstcase",
                goal=0.984,
            ),
            # To the end of the pool, where all choices are alike: what the choosing itself costs.
            *(
                Trial(attack=attack, pool=MNIST, config={**_MNIST, "decay": "cosine"}, seeds=ALL)
                for attack in ("entropy", "gap", "kcenter", "deepfool")
            ),
            # Here every price is the same: what the probing itself costs.
            Trial(attack="price_probe", pool=TINY, config=_MNIST, online=True, seeds=ALL),
            Trial(attack="random", variant=_FEW, pool=MNIST, config=_FINE, seeds=ALL),
            *(
                Trial(
                    attack=attack,
                    variant=_FEW,
                    pool=MNIST,
                    config=_FINE,
                    seeds=ALL,
                    above=_EARLY,
                )
                for attack in ("entropy", "gap", "kcenter", "deepfool")
            ),
            Trial(
                attack="copycat",
                variant="TinyImageNet",
                pool=TINY,
                config=_MNIST,
                seeds=ALL,
                paper="copycat",
                goal=0.935,
            ),
            Trial(
                attack="copycat",
                variant="EMNIST letters",
                pool=EMNIST,
                pool_size=10_400,
                config={**_MNIST, "budget": 10_400},
                seeds=ALL,
                paper="copycat",
                goal=0.935,
            ),
            Trial(
                attack="knockoff",
                variant="random",
                pool=TINY,
                config={**_MNIST, "decay": "constant", "momentum": 0.5},
                seeds=ALL,
            ),
            Trial(
                attack="knockoff",
                variant="adaptive",
                pool=TINY,
                config={
                    **_MNIST,
                    "strategy": "adaptive",
                    "decay": "constant",
                    "momentum": 0.5,
                },
                online=True,
                seeds=ALL,
                paper="adaptiveknockoff",
                goal=0.897,
            ),
            Trial(attack="inoutdist", pool=TINY, inside=MNIST, config=_MNIST, seeds=ALL),
            Trial(
                attack="jacobian",
                pool=MNIST,
                config={"budget": 10_000, "epochs": 5, "precision": "bfloat16"},
                seeds=ALL,
                paper="jacobian",
                goal=0.833,
            ),
            Trial(
                attack="jacobian_tr",
                pool=MNIST,
                config={"budget": 10_000, "epochs": 5, "precision": "bfloat16"},
                seeds=ALL,
            ),
            Trial(
                attack="mixmatch",
                pool=MNIST,
                config={"budget": 1_000, "precision": "bfloat16"},
                seeds=ALL,
                goal=0.98,
            ),
            Trial(
                attack="dfme",
                config={"budget": 100_000, "precision": "bfloat16"},
                online=True,
                seeds=ALL,
                paper="data free",
                goal=0.9,
            ),
        ),
    ),
    Bench(
        dataset=CIFAR,
        title="CIFAR-10",
        short="cifar10",
        network="resnet10-thin",
        trials=(
            # The pool of genuine images has 3 333.
            Trial(
                attack="random",
                pool=CIFAR,
                config={**_CIFAR, "budget": 3_333, "epochs": 16},
                seeds=ALL,
                paper="standard",
            ),
            Trial(attack="copycat", pool=TINY, config=_CIFAR, seeds=ALL, paper="copycat"),
            Trial(attack="knockoff", variant="random", pool=TINY, config=_CIFAR, seeds=ALL),
            Trial(
                attack="jacobian",
                pool=CIFAR,
                config={
                    "budget": 9_000,
                    "seeds": 500,
                    "growth": 2_000,
                    "epochs": 5,
                    "precision": "bfloat16",
                },
                seeds=ALL,
                paper="jacobian",
            ),
            Trial(
                attack="mixmatch",
                pool=CIFAR,
                config={"budget": 1_000, "steps": 600, "precision": "bfloat16"},
                seeds=ALL,
            ),
        ),
    ),
)
"""By dataset: `digits` takes seconds and is there to try the tool."""
