"""A scenario as a file would give it, and broken ones."""

from __future__ import annotations

import copy
from typing import Any

SMALL: dict[str, Any] = {
    "name": "swept",
    "seed": 3,
    "victim": {"dataset": "digits", "network": "lenet-thin"},
    "server": {"policies": ["rate"]},
    "clients": [{"name": "ann", "kind": "honest", "images": 10}],
}
"""One honest client of one priced gate."""

GOOD: dict[str, Any] = {
    "name": "good",
    "seed": 3,
    "victim": {"dataset": "digits", "network": "lenet"},
    "clients": [
        {"name": "ann", "kind": "honest", "images": 10},
        {
            "name": "bob",
            "kind": "attack",
            "attack": "knockoff",
            "pool": "npz:pool.npz",
            "pool_size": 50,
            "network": "lenet",
            "config": {"rounds": 2, "lr": 1},
        },
    ],
}


def broken(**changes: Any) -> dict[str, Any]:
    """GOOD with values replaced: a key is the way to the value, its steps joined by two _."""
    raw = copy.deepcopy(GOOD)
    for way, value in changes.items():
        *steps, last = [int(s) if s.isdecimal() else s for s in way.split("__")]
        table: Any = raw
        for step in steps:
            table = table.setdefault(step, {}) if isinstance(table, dict) else table[step]
        if value is None:
            del table[last]
        else:
            table[last] = value
    return raw
