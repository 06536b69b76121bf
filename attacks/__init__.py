"""Model extraction attacks: one file each, run as client processes against a gate."""

from importlib import import_module
from types import ModuleType

REGISTRY: dict[str, str] = {
    "copycat": "attacks.copycat",
    "knockoff": "attacks.knockoff",
    "random": "attacks.random_queries",
}
"""Name -> module; each module has a frozen dataclass `Config` and a generator `plan`."""


def load(name: str) -> ModuleType:
    """The module of an attack. Raises KeyError for one that is not in the registry."""
    return import_module(REGISTRY[name])
