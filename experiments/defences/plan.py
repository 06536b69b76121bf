"""What `defences` runs: defences with their settings, thieves, and seeds, for each dataset.

One thief of natural images learns from probabilities (`knockoff`), one asks the very same and
learns from labels (`copycat`), one steps from genuine images across boundaries (`jacobian_tr`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from numpy.typing import NDArray

from experiments import benches
from experiments.scenario import Setting
from server.defences import Context, Defence, Name, Rows, configured


class Undefended(Defence):
    """Leaves answers as they are."""

    __slots__ = ()

    def perturb(self, posterior: Rows, inputs: NDArray[Any], context: Context) -> Rows:
        return posterior


@dataclass(frozen=True, slots=True, kw_only=True)
class Perturb:
    """A defence and those of its settings that differ from the default."""

    defence: Name = "none"
    budget: float | None = None  # `epsilon`
    untrained: bool | None = None
    keep_top: bool | None = None
    decimals: int | None = None
    classes: int | None = None
    beta: float | None = None
    gamma: float | None = None
    tau: float | None = None

    def settings(self) -> dict[str, Setting]:
        """The settings that were given, as rows name them."""
        return {
            field.name: value
            for field in fields(self)
            if field.name != "defence" and (value := getattr(self, field.name)) is not None
        }

    def given(self) -> dict[str, Setting]:
        """The settings that were given, as the defence names them."""
        return {
            "epsilon" if name == "budget" else name: value
            for name, value in self.settings().items()
        }

    def config(self) -> Defence:
        """The defence with its settings."""
        return configured(self.defence, self.given()) or Undefended()


TINY = "npz:ood_tinyimagenet32.npz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thief:
    """One attack, and what it has to query."""

    name: str
    attack: str
    pool: str
    config: Mapping[str, Setting]
    pool_size: int = 10_000


@dataclass(frozen=True, slots=True)
class Learnt:
    """What surrogates have learnt from before they are looked at."""

    source: str = ""  # "own" images of the server, those a thief "asked", or "" for none
    images: int = 0
    epochs: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What is tried on one dataset; the surrogates of thief and server have the victim's network.

    `seeds` are those of a thief and, at once, of the server's surrogates: the victim is one.
    """

    dataset: str
    title: str
    short: str  # in file names
    network: str
    shields: tuple[Perturb, ...]
    thieves: tuple[Thief, ...]
    seeds: tuple[int, ...]
    benign: int = 2_000  # held-out images asked by honest users
    wire: tuple[Perturb, ...] = ()  # of the shields, those tried over the wire, too
    learnt: tuple[Learnt, ...] = ()  # see `learning`
    learnt_queries: tuple[int, ...] = ()


def label(shield: Perturb) -> str:
    """A defence and its settings, as a row says it."""
    return " ".join(
        [shield.defence, *(f"{name}={_short(value)}" for name, value in shield.settings().items())]
    )


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


def bench(dataset: str) -> Bench:
    """What is tried on a dataset. Raises ValueError for one that is not there."""
    return benches.find(BENCHES, dataset)


def _redirections(*budgets: float) -> tuple[Perturb, ...]:
    return tuple(Perturb(defence="gradient_redirection", budget=budget) for budget in budgets)


_NONE = Perturb()
REDIRECTION = Perturb(defence="gradient_redirection", budget=0.9)
"""Of which `learning` varies the surrogates."""
_UNTRAINED = Perturb(defence="gradient_redirection", budget=0.9, untrained=True)
_KEEP = Perturb(defence="gradient_redirection", budget=0.9, keep_top=True)
# Not 1: half the mass then goes to another class, and every confident label is lost at one stroke.
_RIVALS = (
    Perturb(defence="hard_label"),
    Perturb(defence="random", budget=0.9),
    Perturb(defence="mad", budget=0.9),
    Perturb(defence="mad_argmax", budget=0.9),
    Perturb(defence="modelguard_w", budget=0.9),
    Perturb(defence="adaptive_misinformation", tau=0.9),
)


def _thieves(dataset: str, *, budget: int, epochs: int, rounds: int) -> tuple[Thief, ...]:
    learning: Mapping[str, Setting] = {
        "lr": 0.05,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "decay": "cosine",
        "precision": "bfloat16",
    }
    once = {**learning, "budget": budget, "rounds": 1, "epochs": epochs}
    steps = {**learning, "budget": budget, "labels": "soft", "epochs": rounds}
    return (
        Thief(name="knockoff, soft", attack="knockoff", pool=TINY, config=once),
        Thief(name="knockoff, hard labels", attack="copycat", pool=TINY, config=once),
        Thief(name="jacobian_tr", attack="jacobian_tr", pool=dataset, config=steps),
    )


_WIRED = (
    _NONE,
    *_redirections(0.9),
    _UNTRAINED,
    Perturb(defence="adaptive_misinformation", tau=0.9),
    Perturb(defence="mad_argmax", budget=0.9),
    Perturb(defence="hard_label"),
)

BENCHES = (
    Bench(
        dataset="digits",
        title="scikit-learn's digits",
        short="digits",
        network="lenet-thin",
        shields=(_NONE, Perturb(defence="hard_label"), *_redirections(0.9)),
        thieves=(
            Thief(
                name="random",
                attack="random",
                pool="digits",
                config={"budget": 160, "batch": 32, "rounds": 1, "epochs": 30},
            ),
        ),
        seeds=(0,),
        benign=100,
        wire=(_NONE,),
        learnt=(Learnt(),),
        learnt_queries=(160,),
    ),
    Bench(
        dataset="npz:mnist.npz",
        title="MNIST",
        short="mnist",
        network="lenet",
        shields=(
            _NONE,
            *_redirections(0.9, 0.5, 1.2),
            *_RIVALS,
            _UNTRAINED,
            _KEEP,
            Perturb(defence="rounding", decimals=1),
            Perturb(defence="topk", classes=3),
            Perturb(defence="reverse_sigmoid", beta=0.64, gamma=0.2),
            Perturb(defence="mad", budget=0.5),
            Perturb(defence="adaptive_misinformation", tau=0.99),
        ),
        thieves=_thieves("npz:mnist.npz", budget=2_000, epochs=10, rounds=4),
        seeds=(0, 1, 2),
        wire=_WIRED,
        learnt=(
            Learnt(),
            Learnt("own", 640, 1),
            Learnt("own", 2_560, 1),
            Learnt("own", 10_000, 2),
            Learnt("asked", 2_000, 1),
            Learnt("asked", 2_000, 10),
            Learnt("asked", 10_000, 2),
        ),
        learnt_queries=(2_000, 10_000),
    ),
    Bench(
        dataset="npz:cifar10.npz",
        title="CIFAR-10",
        short="cifar10",
        network="resnet10-thin",
        shields=(_NONE, *_redirections(0.9, 0.5), *_RIVALS, _UNTRAINED, _KEEP),
        thieves=_thieves("npz:cifar10.npz", budget=2_000, epochs=6, rounds=2),
        seeds=(0, 1, 2),
        benign=1_000,
        wire=_WIRED,
        learnt=(Learnt(), Learnt("own", 2_560, 1), Learnt("asked", 10_000, 2)),
        learnt_queries=(2_000,),
    ),
)
"""By dataset: `digits` takes seconds and is there to try the tool."""
