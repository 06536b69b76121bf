"""The settings of each attack: the fields of its `Config`, read from its source.

Read, not imported, because an attack brings torch along, and a scenario with a mistake in it should
be refused at once.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from attacks import REGISTRY

ACCEPTED: Mapping[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int": (int,),
    "float": (float, int),
    "str": (str,),
}


def names() -> tuple[str, ...]:
    """The registered attacks."""
    return tuple(REGISTRY)


def fields(attack: str) -> dict[str, str]:
    """Name -> annotation of each setting of an attack."""
    spec = find_spec(REGISTRY[attack])
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"the attack {attack!r} has no source at {REGISTRY[attack]}")
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    config = next(
        node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Config"
    )
    return {
        line.target.id: ast.unparse(line.annotation)
        for line in config.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
    }


def complaint(annotation: str, value: object) -> str | None:
    """What is wrong with a value for a setting; the attack itself checks ranges."""
    accepted = ACCEPTED.get(annotation)
    if accepted is None:
        return None
    if isinstance(value, accepted) and (annotation == "bool") == isinstance(value, bool):
        return None
    return f"is {value!r}, expected {annotation}"
