"""What a measure was stored as, checked before it is used: settings by type, arrays by shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from core.learning.datasets import Split
from server.measures import Arrays
from server.victims import Victim

Axes = tuple[int | None, ...]
"""A shape; None is any length from 1."""

Count = Annotated[int, Field(ge=0)]
Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Stored:
    """A measure that is made of settings (a dataclass, or None) and arrays."""

    def __init__(self, config: Any, arrays: Arrays) -> None:
        self._config = config
        self._arrays = arrays

    def arrays(self) -> Arrays:
        return self._arrays

    def config(self) -> dict[str, object]:
        return {} if self._config is None else asdict(self._config)


class Untrained(Stored):
    """A measure that is a formula."""

    def __init__(self) -> None:
        super().__init__(None, {})

    @classmethod
    def train(cls, victim: Victim, split: Split, *, seed: int) -> Self:
        """Nothing to train."""
        return cls()

    @classmethod
    def restore(cls, arrays: Arrays, config: Mapping[str, Any], victim: Victim) -> Self:
        """Nothing to restore."""
        return cls()


def arrays(given: Arrays, wanted: Mapping[str, tuple[type, Axes]]) -> dict[str, NDArray[Any]]:
    """The arrays of a measure, which are exactly those wanted: name -> (type, shape).

    Raises ValueError for one that is missing, unknown, of another type or shape, or not finite.
    """
    for name in sorted(given.keys() - wanted.keys()):
        raise ValueError(f"the array {name!r} is unknown; expected {', '.join(wanted)}")
    for name, (kind, axes) in wanted.items():
        if name not in given:
            raise ValueError(f"the array {name!r} is missing")
        array = given[name]
        fits = array.ndim == len(axes) and all(
            length > 0 if axis is None else length == axis
            for length, axis in zip(array.shape, axes, strict=True)
        )
        if array.dtype != kind or not fits:
            shape = ", ".join("any" if axis is None else str(axis) for axis in axes)
            raise ValueError(
                f"the array {name!r} is {array.dtype} {array.shape}, "
                f"expected {np.dtype(kind)} ({shape})"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"the array {name!r} holds numbers that are not finite")
    return dict(given)


def under(arrays: Arrays, prefix: str) -> Arrays:
    """The arrays whose names begin with `prefix` and a dot, by the rest of their names."""
    start = f"{prefix}."
    return {
        name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)
    }
