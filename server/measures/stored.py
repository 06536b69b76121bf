"""What a measure was stored as, checked before it is used: settings by type, arrays by shape."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from core.documents import shown
from server.measures import Arrays

T = TypeVar("T")

Axes = tuple[int | None, ...]
"""A shape; None is any length from 1."""

_MEANING = {int: "a whole number from 0", float: "a finite number from 0", str: "text"}


def config(kind: type[T], given: object) -> T:
    """The dataclass `kind` with stored settings. Counts and numbers are from 0.

    Raises ValueError for a setting that is missing, unknown or of another type.
    """
    if not isinstance(given, Mapping):
        raise ValueError(f"config is {shown(given)}, expected a table")
    hints = get_type_hints(kind)
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    for name in given:
        if name not in known:
            raise ValueError(f"config has the unknown {shown(name)}; known: {', '.join(known)}")
    for name, field in known.items():
        if name not in given:
            if field.default is MISSING:
                raise ValueError(f"config has no {name!r}")
            continue
        wanted, value = get_origin(hints[name]) or hints[name], given[name]
        accepted = (int, float) if wanted is float else wanted
        fits = isinstance(value, accepted) and not isinstance(value, bool)
        if not fits or (isinstance(value, int | float) and not 0 <= value < math.inf):
            meaning = _MEANING.get(wanted, "a table")
            raise ValueError(f"config has {name} = {shown(value)}, expected {meaning}")
    return kind(**given)


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
