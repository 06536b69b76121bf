"""The flags that choose a defence: one dataclass for all, so that a command line stays flat."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, get_args, get_type_hints

from server.defences import Defence, load

FIELDS = {"budget": "epsilon"}
"""Flags whose name differs from that of the setting."""


Name = Literal[
    "none",
    "rounding",
    "topk",
    "hard_label",
    "random",
    "reverse_sigmoid",
    "mad",
    "mad_argmax",
    "adaptive_misinformation",
    "gradient_redirection",
    "modelguard_w",
]
"""The keys of `server.defences.DEFENCES`, as a command line wants them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Perturb:
    """Which defence perturbs the answers, and how. A setting that is not given has its default."""

    defence: Name = "none"
    """What answers are perturbed by, after they were measured and priced."""
    budget: float | None = None
    """L1 distance an answer may be from the true one, 0 to 2 (default: 1)."""
    target: Literal["all-ones", "clean", "watermark"] | None = None
    """Where gradient_redirection pushes a student (default: all-ones)."""
    layers: Literal["all", "last"] | None = None
    """Layers whose gradients gradient_redirection redirects (default: all)."""
    keep_top: bool | None = None
    """Whether gradient_redirection keeps the top class (default: no)."""
    untrained: bool | None = None
    """Whether gradient_redirection looks at surrogates that learnt nothing (default: no)."""
    decimals: int | None = None
    """Decimals that rounding leaves (default: 1)."""
    classes: int | None = None
    """Classes that topk leaves a probability (default: 3)."""
    beta: float | None = None
    """How much reverse_sigmoid takes away, 0 to 2 (default: 0.64)."""
    gamma: float | None = None
    """How steep reverse_sigmoid is, 0 to 1 (default: 0.2)."""
    released_clipping: bool | None = None
    """Whether reverse_sigmoid spares probabilities above 1/2 (default: no)."""
    tau: float | None = None
    """Confidence below which adaptive_misinformation misleads, 0 to 1 (default: 0.5)."""
    nu: float | None = None
    """How sharp that edge is (default: 1000)."""

    def settings(self) -> dict[str, object]:
        """The settings that were given, by flag."""
        return {
            field.name: value
            for field in fields(self)
            if field.name != "defence" and (value := getattr(self, field.name)) is not None
        }

    def config(self) -> Defence:
        """The defence with its settings. Raises ValueError for one it has no use for."""
        config = load(self.defence).Config
        known = {field.name for field in fields(config)}
        given = {FIELDS.get(flag, flag): (flag, value) for flag, value in self.settings().items()}
        for name, (flag, value) in given.items():
            if name not in known:
                raise ValueError(
                    f"{flag} is {value!r}, but defence {self.defence} has no such setting; "
                    f"expected {', '.join(sorted(known)) or 'none at all'}"
                )
        made: Defence = config(**{name: value for name, (_, value) in given.items()})
        return made


def flags() -> dict[str, tuple[type, ...]]:
    """The settings of all defences by flag, and the types of their values in a file."""
    found: dict[str, tuple[type, ...]] = {}
    for name, hint in get_type_hints(Perturb).items():
        types = {leaf if isinstance(leaf, type) else type(leaf) for leaf in _leaves(hint)}
        found[name] = (*types, int) if float in types else tuple(types)
    del found["defence"]
    return found


def _leaves(hint: object) -> list[object]:
    """What a hint allows, None apart: types, and the values of a Literal."""
    inner = get_args(hint)
    if not inner:
        return [] if hint is type(None) else [hint]
    return [leaf for part in inner for leaf in _leaves(part)]
