"""The verb `prices`: what honest clients and attackers would pay, from costs that were recorded."""

from __future__ import annotations

import json
import math
import shlex
from dataclasses import dataclass
from pathlib import Path

from core import records
from core.home import default_data, default_home
from core.learning.artifacts import write_atomically
from experiments.studies.measures import rounded
from experiments.terminal import command_line
from server import measures
from server.options import DEFAULT_MEASURE


@dataclass(frozen=True, slots=True)
class Flags:
    """Simulate what honest clients and attackers pay, from costs that `measures` recorded."""

    dataset: str = "mnist5k"
    """The victim's data, as given to `measures`."""
    measure: str = DEFAULT_MEASURE
    """The measure whose costs are priced."""
    seed: int = 0
    """The victim's, and that of what is drawn."""
    service: float = 0.008
    """Seconds a client waits for 64 images without work; only `paper` depends on it."""
    entry: float = 500.0
    """Entry work of an account, in prices of one honest query."""
    clients: int = 100
    """Honest clients of each kind."""
    json: Path | None = None
    """Also write the result to this file."""
    home: Path | None = None
    """Where `measures` kept its costs (default: the user's cache folder)."""
    data: Path | None = None
    """Folder of image archives (default: POWGATE_DATA)."""


def check(flags: Flags) -> None:
    """Raises ValueError for what cannot be simulated."""
    measures.parse(flags.measure)
    if not (math.isfinite(flags.service) and flags.service > 0):
        raise ValueError(f"--service is {flags.service}; expected a finite number above 0")
    if not (math.isfinite(flags.entry) and flags.entry >= 0):
        raise ValueError(f"--entry is {flags.entry}; expected a finite number from 0")
    if flags.clients < 10:
        raise ValueError(f"--clients is {flags.clients}; expected at least 10")
    if flags.seed < 0:
        raise ValueError(f"--seed is {flags.seed}; expected a number from 0")


def run(flags: Flags) -> None:
    """Simulates prices."""
    check(flags)
    from experiments.studies import price_simulation, price_tables  # with them comes torch
    from server.calibration.make import CAP
    from server.calibration.targets import SERVICE_SHARE
    from server.pricing.vectorised import Terms

    home, data = flags.home or default_home(), flags.data or default_data()
    costs = price_simulation.record(flags.dataset, flags.measure, flags.seed, home, data)
    t_min = SERVICE_SHARE * flags.service
    found = price_simulation.simulate(
        costs,
        Terms(flags.service, t_min, CAP * t_min),
        entry=flags.entry * SERVICE_SHARE,
        clients=flags.clients,
        seed=flags.seed,
        scale=price_simulation.Scale(),
    )
    names = ("dataset", "measure", "seed", "entry", "service")
    result = {**{name: getattr(flags, name) for name in names}, **found}
    print(price_tables.tabulate(result), end="")
    if flags.json is not None:
        command, about = shlex.join(command_line()), records.provenance(flags.seed)
        content = rounded({"command": command, "provenance": about, **result}, 4)
        text = json.dumps(content, indent=1, allow_nan=False)
        write_atomically(flags.json, (text + "\n").encode())
