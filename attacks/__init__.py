"""Model extraction attacks: one file each, run as client processes against a gate."""

from importlib import import_module
from types import ModuleType

REGISTRY: dict[str, str] = {
    "copycat": "attacks.copycat",
    "deepfool": "attacks.deepfool",
    "dfme": "attacks.dfme",
    "entropy": "attacks.entropy",
    "entropyrev": "attacks.entropyrev",
    "gap": "attacks.gap",
    "inoutdist": "attacks.inoutdist",
    "jacobian": "attacks.jacobian",
    "jacobian_tr": "attacks.jacobian_tr",
    "kcenter": "attacks.kcenter",
    "knockoff": "attacks.knockoff",
    "mixmatch": "attacks.mixmatch",
    "price_probe": "attacks.price_probe",
    "random": "attacks.random_queries",
    "worstcase": "attacks.worstcase",
}
"""Name -> module.

Each module has a frozen dataclass `Config` (with `budget` and `batch`, both in images), a generator
`plan` that refuses a bad Config with ValueError before its first query, and says of itself: SOURCE
(authors, where, year), LABELS ("soft", "hard" or "soft or hard": what it learns from) and NEEDS,
some of

    pool     images to query; without it the attack is data-free
    classes  the pool's own labels (they come with every pool that has them)
    costs    privacy cost of each image of the pool (--costs)
    inside   a second pool, in distribution (--inside)
"""


def load(name: str) -> ModuleType:
    """The module of an attack. Raises KeyError for one that is not in the registry."""
    return import_module(REGISTRY[name])


def name_of(attack: ModuleType) -> str:
    """The name of an attack, given its module: that of the registry, if it is there."""
    names = {module: name for name, module in REGISTRY.items()}
    return names.get(attack.__name__, attack.__name__.removeprefix("attacks."))
