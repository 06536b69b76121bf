"""Defences over the wire: scenarios with and without proof of work, the same thieves in each.

The scenario of the bench is run once for each seed and for each of SHIELDS, by real processes; all
clients of an arm run at once, as they do in every run of a scenario. Solving times are drawn, not
spent, if the scenario says so. Kept are the lines of its summary.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from experiments import runner
from experiments.defences_plan import label
from experiments.scenario import Scenario, parse
from server.defences.options import Perturb

if TYPE_CHECKING:
    from experiments.defences import Plan, Results

SHIELDS = (
    Perturb(),
    Perturb(defence="gradient_redirection", budget=0.9),
    Perturb(defence="hard_label"),
    Perturb(defence="gradient_redirection", budget=0.9, untrained=True),
    Perturb(defence="adaptive_misinformation", tau=0.9),
)

LATER = {"start": 0.0, "seed": None, "accounts": 1, "deal": "parallel"}
"""Fields that clients of a scenario have got since the first results, as they are if not given."""

KEPT = ("images", "accuracy", "fidelity", "work_per_image", "hashes", "slowdown", "status")
"""What the summary says of a client, and a cell keeps; beside its seconds."""


def run(plan: Plan, results: Results, say: Callable[[str], None]) -> None:
    """Runs the scenarios that are missing. Raises RunError, ScenarioError, ArtifactError."""
    wanted = {shield.defence for shield in SHIELDS}
    chosen = set(plan.defences) or wanted
    for seed in plan.seeds or plan.bench.seeds:
        for shield in SHIELDS:
            if shield.defence not in chosen:
                continue
            scenario = scenario_of(plan.bench.wire, shield, seed)
            name, setting = label(shield), _setting(scenario)
            keys = [
                {"defence": name, "policy": policy, "client": client.name, "seed": seed}
                for policy in scenario.server.policies
                for client in scenario.clients
            ]
            if all(results.has("wire", key, setting) for key in keys):
                continue
            summary = _summary(scenario, plan.place.home)
            for arm in summary["arms"]:
                for client in arm["clients"]:
                    key = {
                        "defence": name,
                        "policy": arm["policy"],
                        "client": client["name"],
                        "seed": seed,
                    }
                    results.add("wire", key, setting, found(client))
            say(f"{name}, seed {seed}: over the wire")


def scenario_of(wire: Mapping[str, Any], shield: Perturb, seed: int) -> Scenario:
    """The scenario of one defence and seed. Raises ScenarioError."""
    server = {**wire["server"], "defence": shield.defence, "defence_config": shield.settings()}
    name = f"defences-{shield.defence.replace('_', '-')}"
    return parse({**wire, "name": name, "seed": seed, "server": server}, source=name)


def found(client: Mapping[str, Any]) -> dict[str, Any]:
    """One client of a summary, as it is kept; seconds are those of an image."""
    per_image = {
        f"{part}_seconds": client["seconds"][part] / client["images"]
        for part in ("total", "solve", "server")
    }
    return {name: client[name] for name in KEPT} | per_image


def _summary(scenario: Scenario, home: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="powgate-defences-") as scratch:
        folder = runner.run(scenario, Path(scratch) / "run", home, console=Console(stderr=True))
        summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return summary


def _setting(scenario: Scenario) -> dict[str, Any]:
    """What a cell depends on besides its seed: as JSON has it."""
    resolved = scenario.resolved()
    for name in ("name", "seed", "source"):
        del resolved[name]
    setting: dict[str, Any] = json.loads(json.dumps(resolved))
    for client in setting["clients"]:  # not in the settings of the first results
        usual = LATER | ({"pace": 0.0} if client["kind"] == "attack" else {})
        for name in [name for name, value in usual.items() if client.get(name) == value]:
            del client[name]
    return setting
