"""Defences that perturb the answer: a posterior and its inputs in, another posterior out.

Each module of DEFENCES has a frozen dataclass `Config`, a `Defence`: its fields are the settings
(flags `--defence.x` of `python -m server serve`, keys of `defence_config` in a scenario), and its
`perturb` maps probabilities (b, k) to probabilities (b, k). The arithmetic is in pure functions of
arrays beside it. docs/defences.md has the formulas and what each defence promises.

Axes: b inputs, k classes.
"""

from __future__ import annotations

import hashlib
import hmac
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from core.arrays import digest
from core.suggest import suggest

if TYPE_CHECKING:
    from server.defences.surrogates import Surrogates

DEFENCES: dict[str, str | None] = {
    "none": None,
    "rounding": "server.defences.rounding",
    "topk": "server.defences.topk",
    "hard_label": "server.defences.hard_label",
    "random": "server.defences.random_class",
    "reverse_sigmoid": "server.defences.reverse_sigmoid",
    "mad": "server.defences.mad",
    "mad_argmax": "server.defences.mad_argmax",
    "adaptive_misinformation": "server.defences.adaptive_misinformation",
    "gradient_redirection": "server.defences.gradient_redirection",
    "modelguard_w": "server.defences.modelguard_w",
}
"""Name -> module; `none` leaves answers as they are."""

if TYPE_CHECKING:
    Name = str
else:
    Name = Literal[tuple(DEFENCES)]
"""The name of a defence, as a command line wants it."""

SUM_TOLERANCE = 1e-4
"""How far probabilities may be from summing to one: beyond what float32 does to 10 000 classes."""

LARGEST_L1 = 2.0
"""The distance of two posteriors that share no class."""

Rows = NDArray[np.float64]
"""Probabilities (b, k), each row summing to one, and other numbers for each class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The client that asks, and what only the server has.

    `key` is a secret that keys noise; `surrogates` are networks like the victim, for the defences
    that look at what a student would learn.
    """

    client: str
    key: bytes
    surrogates: Surrogates | None = None

    def needed(self) -> Surrogates:
        """The surrogates. Raises ValueError where there are none."""
        if self.surrogates is None:
            raise ValueError("the defence needs surrogates of the victim; prepare them first")
        return self.surrogates

    def draws(self, inputs: NDArray[Any]) -> NDArray[np.uint64]:
        """A number (b,) for each input (b, ...): the same whenever this client asks it again.

        HMAC-SHA256 of client and input under the key, so that no client can foresee it or, by
        asking one input often, average it out.
        """
        canonical = inputs + np.zeros((), inputs.dtype)  # -0.0 is no other input
        client = self.client.encode()
        state = hmac.new(self.key, digest("client", (len(client),), client), hashlib.sha256)
        out = np.empty(len(canonical), np.uint64)
        for i, one in enumerate(canonical):
            mac = state.copy()
            mac.update(digest(one.dtype.name, one.shape, one.tobytes()))
            out[i] = int.from_bytes(mac.digest()[:8], "little")
        return out


class Defence(ABC):
    """A defence with its settings: the base class of every `Config`."""

    __slots__ = ()

    @abstractmethod
    def perturb(self, posterior: Rows, inputs: NDArray[Any], context: Context) -> Rows:
        """The probabilities (b, k) to give out for inputs (b, ...) and the victim's posterior."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgeted(Defence):
    """A defence whose answers stay within a distance of the true ones. Raises ValueError."""

    epsilon: float = 1.0
    """L1 distance an answer may be from the true one, 0 to 2."""

    def __post_init__(self) -> None:
        if not 0 <= self.epsilon <= LARGEST_L1:
            raise ValueError(f"epsilon is {self.epsilon}, expected 0 to {LARGEST_L1:g}")


@dataclass(frozen=True, slots=True)
class Perturbation:
    """A defence ready to serve: settings, secret, and the surrogates it looks at."""

    name: str
    defence: Defence
    key: bytes
    surrogates: Surrogates | None = None

    def answer(
        self, posterior: NDArray[np.float32], inputs: NDArray[Any], client: str
    ) -> NDArray[np.float32]:
        """What a client gets instead of the posterior (b, k); asked again, it gets the same.

        Raises ValueError for what is no posterior, and surrogates that are missing or of another
        victim.
        """
        if self.surrogates is not None:
            self.surrogates.check(inputs, posterior)
        context = Context(client=client, key=self.key, surrogates=self.surrogates)
        given = self.defence.perturb(checked(posterior), inputs, context)
        return given.astype(np.float32)


def load(name: str) -> type[Defence] | None:
    """The `Config` of a defence; None for `none`. Raises ValueError for an unknown one."""
    if name not in DEFENCES:
        hint = suggest(name, DEFENCES)
        raise ValueError(f"unknown defence {name!r}, expected one of {', '.join(DEFENCES)}{hint}")
    module = DEFENCES[name]
    config: type[Defence] | None = None if module is None else import_module(module).Config
    return config


def configured(name: str, settings: Mapping[str, object], where: str = "") -> Defence | None:
    """A defence with settings from a file; None for `none`, which has none.

    `where` is their place in the file. Raises ValueError: `core.validation.Mistakes` with all that
    is wrong with the settings.
    """
    from core.validation import Mistakes, validate

    config = load(name)
    if config is not None:
        return validate(config, dict(settings), where)
    if settings:
        raise Mistakes([f"{where} is given, but there is no defence; expected no settings".strip()])
    return None


def checked(posterior: NDArray[np.float32]) -> Rows:
    """The probabilities (b, k) in float64. Raises ValueError for what is none, and for k < 2."""
    if posterior.ndim != 2 or posterior.shape[1] < 2:
        raise ValueError(f"posterior has shape {posterior.shape}, expected (b, k) with k >= 2")
    wide = posterior.astype(np.float64)
    if not (wide >= 0).all():  # NaN, too
        wrong = wide[~(wide >= 0)][0]
        raise ValueError(f"posterior contains {wrong:.6g}, expected probabilities")
    total = wide.sum(axis=1)
    if (np.abs(total - 1) > SUM_TOLERANCE).any():
        raise ValueError(
            f"probabilities sum to {total[np.abs(total - 1).argmax()]:.6g}, expected 1"
        )
    return wide


def towards(posterior: Rows, target: Rows, epsilon: float) -> Rows:
    """The point (b, k) on the way from each posterior to its target that is `epsilon` away in L1.

    A target that is nearer is reached: the step is never longer than the way.
    """
    distance = np.abs(target - posterior).sum(axis=1, keepdims=True)
    step = np.minimum(1.0, epsilon / np.maximum(distance, np.finfo(float).tiny))
    out: Rows = posterior + step * (target - posterior)
    return out


def one_hot(classes: NDArray[np.int64], k: int) -> Rows:
    """Vertices (b, k) of the simplex."""
    return np.eye(k)[classes]
