"""Defences over the wire: scenarios with and without proof of work, the same thieves in each.

A scenario is run for each seed and each defence of the bench, by real processes: an honest user
and the thieves of the bench, who all ask at once, against the victim of the cells of one process.
Solving times are drawn, not spent: they do not depend on what else the machine does. Kept are the
lines of its summary. The seed is that of the clients; victim and surrogates are one.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from core.documents import read_json
from experiments import commands, report, runner
from experiments.defences.cell import VICTIM_SEED, Place, victim
from experiments.defences.plan import Bench, Perturb, Thief, label
from experiments.scenario import Scenario, parse
from server import model

if TYPE_CHECKING:
    from experiments.defences import Plan, Results

HONEST = {"name": "honest", "kind": "honest", "images": 320}
SERVER = {"policies": ["none", "rate"], "t_max": 1.0, "virtual": True}

KEPT = ("images", "accuracy", "fidelity", "work_per_image", "hashes", "slowdown", "status")
"""What the summary says of a client, and a cell keeps; beside its seconds."""


def run(plan: Plan, results: Results, say: Callable[[str], None]) -> None:
    """Runs the scenarios that are missing.

    Raises RunError, ScenarioError, DatasetError, ArtifactError.
    """
    for seed in plan.seeds or plan.bench.seeds:
        for shield in plan.bench.wire:
            if plan.defences and shield.defence not in plan.defences:
                continue
            given = tables(plan.bench, shield)
            scenario, name = scenario_of(given, seed), label(shield)
            keys = [
                {"defence": name, "policy": policy, "client": client.name, "seed": seed}
                for policy in scenario.server.policies
                for client in scenario.clients
            ]
            if all(results.has("wire", key, given) for key in keys):
                continue
            summary = _summary(scenario, plan.bench, plan.place)
            for arm in summary["arms"]:
                for client in arm["clients"]:
                    key = {
                        "defence": name,
                        "policy": arm["policy"],
                        "client": client["name"],
                        "seed": seed,
                    }
                    results.add("wire", key, given, found(client))
            say(f"{name}, seed {seed}: over the wire")


def tables(bench: Bench, shield: Perturb) -> dict[str, Any]:
    """The scenario of a defence, as its file would have it."""
    return {
        "name": f"defences-{shield.defence.replace('_', '-')}",
        "seed": VICTIM_SEED,
        "victim": {"dataset": bench.dataset, "network": bench.network},
        "server": {**SERVER, "defence": shield.defence, "defence_config": shield.given()},
        "clients": [HONEST, *(_thief(thief, bench) for thief in bench.thieves)],
    }


def _thief(thief: Thief, bench: Bench) -> dict[str, Any]:
    return {
        "name": re.sub("[^a-z0-9_]+", "-", thief.name),
        "kind": "attack",
        "attack": thief.attack,
        "pool": thief.pool,
        "pool_size": thief.pool_size,
        "network": bench.network,
        "config": dict(thief.config),
    }


def scenario_of(given: Mapping[str, Any], seed: int) -> Scenario:
    """The scenario whose clients have this seed: all the same, as in the cells of one process.

    Raises ScenarioError.
    """
    scenario = parse(given, source=given["name"])
    return replace(
        scenario, clients=tuple(replace(client, seed=seed) for client in scenario.clients)
    )


def found(client: Mapping[str, Any]) -> dict[str, Any]:
    """One client of a summary, as it is kept; seconds are those of an image."""
    per_image = {
        f"{part}_seconds": client["seconds"][part] / client["images"]
        for part in ("total", "solve", "server")
    }
    return {name: client[name] for name in KEPT} | per_image


def _summary(scenario: Scenario, bench: Bench, place: Place) -> dict[str, Any]:
    home = place.home.absolute()
    _share(scenario, bench, place)
    with tempfile.TemporaryDirectory(prefix="powgate-defences-") as scratch:
        # Names of archives in a scenario are relative to where it is run.
        with chdir(place.data or Path()):
            folder = runner.run(
                scenario,
                Path(scratch) / "run",
                home,
                console=Console(stderr=True),
                write=report.write_any,
                # One price for all: what it is must not depend on who else uses the machine.
                calibrate=not commands.calibration(scenario, home).exists(),
            )
        summary: dict[str, Any] = read_json(folder / "summary.json")
    return summary


def _share(scenario: Scenario, bench: Bench, place: Place) -> None:
    """Puts the victim of the bench where the scenario would train its own."""
    file = model.folder(place.home, commands.model_name(scenario)) / "victim.safetensors"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(victim(bench, place) / file.name, file)
