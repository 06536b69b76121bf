"""The settings of each attack: the fields of its `Config`.

An attack does not bring torch along, so that a scenario with a mistake in it is refused at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

import attacks
from core.documents import shown

Setting = bool | int | float | str

ACCEPTED: Mapping[type, tuple[type, ...]] = {
    bool: (bool,),
    int: (int,),
    float: (float, int),
    str: (str,),
}


def names() -> tuple[str, ...]:
    """The registered attacks."""
    return tuple(attacks.REGISTRY)


def needs(attack: str) -> tuple[str, ...]:
    """What an attack cannot do without, such as "inside"; see `attacks.REGISTRY`."""
    found: tuple[str, ...] = attacks.load(attack).NEEDS
    return found


def budget(attack: str) -> int:
    """How many images an attack asks unless it is told otherwise."""
    return int(attacks.load(attack).Config().budget)


def fields(attack: str) -> dict[str, Any]:
    """Name -> type of each setting of an attack."""
    config = attacks.load(attack).Config
    hints = get_type_hints(config)
    return {field.name: hints[field.name] for field in dataclasses.fields(config)}


def complaint(wanted: Any, value: object) -> str | None:
    """What is wrong with a value for a setting of this type; the attack itself checks ranges."""
    if get_origin(wanted) is Literal:
        choices = get_args(wanted)
        if value in choices:
            return None
        return f"is {shown(value)}, expected one of {', '.join(map(str, choices))}"
    accepted = ACCEPTED.get(wanted)
    if accepted is None:
        return None
    if isinstance(value, accepted) and (wanted is bool) == isinstance(value, bool):
        return None
    return f"is {shown(value)}, expected {wanted.__name__}"
