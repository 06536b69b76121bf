"""What honest clients and thieves would pay, simulated from the costs that `measures` recorded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.home import default_data, default_home
from experiments.terminal import command_line
from server.options import DEFAULT_MEASURE


@dataclass(frozen=True, slots=True)
class Flags:
    """Simulate what honest clients and thieves pay, from costs that `measures` recorded."""

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


def run(flags: Flags) -> None:
    """Simulates prices."""
    from experiments.prices import simulation, tables

    plan = simulation.Plan(
        dataset=flags.dataset,
        measure=flags.measure,
        seed=flags.seed,
        service=flags.service,
        entry=flags.entry,
        clients=flags.clients,
        home=flags.home or default_home(),
        data=flags.data or default_data(),
    )
    result = simulation.simulate(plan, simulation.record(plan))
    print(tables.tabulate(result))
    if flags.json is not None:
        tables.save(result, flags.json, command_line())
