"""Whether virtual solving takes as long as real solving: each scenario run both ways, compared.

Compared are seconds of predict() under the last policy of a scenario, pauses excluded, added over
its clients. The real run spends its solving time on this machine: beside other work it takes longer
than the hash rate of the calibration says, which the load of both runs, kept in the result, tells.
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from core.documents import read_json
from core.home import default_home
from core.records import provenance
from experiments import bench, report, runner
from experiments.arm import RunError
from experiments.scenario import Scenario, ScenarioError, load, parse
from experiments.terminal import command_line, say

TOLERANCE = 0.1
"""How far virtual seconds may lie from real ones, as a share of these."""


def both(name: str) -> tuple[Scenario, Scenario]:
    """A scenario as it is and with virtual solving. Raises ScenarioError."""
    scenario, given = load(name)
    if scenario.server.virtual:
        raise ScenarioError(name, ["server.virtual is true, expected false: both are run"])
    server = {**given.get("server", {}), "virtual": True}
    drawn = parse({**given, "server": server}, source=name)
    last = scenario.server.policies[-1:]  # what comes before it is of no use here
    return (
        replace(scenario, server=replace(scenario.server, policies=last)),
        replace(drawn, server=replace(drawn.server, policies=last)),
    )


def measure(names: tuple[str, ...], *, home: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Runs the scenarios for real and virtually. Raises ScenarioError before it runs any, RunError.

    The result has `provenance`, `tolerance`, `scenarios` as `compare` makes them, and `agree`.
    """
    pairs = {name: both(name) for name in names}
    found = []
    for name, scenarios in pairs.items():
        real = _run(scenarios[0], home, calibrate=True)
        virtual = _run(scenarios[1], home, calibrate=False)  # at the same prices
        found.append(compare(name, real, virtual))
        say(f"{name}: virtual / real seconds = {found[-1]['ratio']:.3f}")
    return {
        "provenance": provenance(None),
        "tolerance": TOLERANCE,
        "agree": all(each["agree"] for each in found),
        "scenarios": found,
    }


def compare(name: str, real: Mapping[str, Any], virtual: Mapping[str, Any]) -> dict[str, Any]:
    """Two summaries of one scenario, side by side: seconds, work and hashes of each client.

    Raises ValueError where a client did not finish, or asked or owed something else.
    """
    clients = []
    (one,), (other,) = real["arms"], virtual["arms"]
    for spent, drawn in zip(one["clients"], other["clients"], strict=True):
        for client in (spent, drawn):
            if client["status"] != "done":
                raise ValueError(f"{name}: {client['name']} ended as {client['status']}")
        if spent["images"] != drawn["images"] or spent["virtual"] or not drawn["virtual"]:
            raise ValueError(f"{name}: {spent['name']} did not do the same in both runs")
        clients.append({"name": spent["name"], "real": _figures(spent), "virtual": _figures(drawn)})
    seconds = {
        way: sum(client[way]["total_seconds"] for client in clients) for way in ("real", "virtual")
    }
    ratio = seconds["virtual"] / seconds["real"]
    return {
        "name": name,
        "seconds": seconds,
        "ratio": ratio,
        "agree": abs(ratio - 1) <= TOLERANCE,
        "load": {"real": one["load"], "virtual": other["load"]},
        "rates": {"real": real["calibration"]["rates"], "virtual": virtual["calibration"]["rates"]},
        "clients": clients,
    }


def table(found: Mapping[str, Any]) -> str:
    """Markdown: a row for each scenario."""
    lines = [
        "| scenario | real (s) | virtual (s) | virtual / real | solving (s) | load |",
        "| --- | --: | --: | --: | --: | --: |",
    ]
    for each in found["scenarios"]:
        solving = [
            sum(client[way]["solve_seconds"] for client in each["clients"])
            for way in ("real", "virtual")
        ]
        load = [each["load"][way]["mean"] for way in ("real", "virtual")]
        lines.append(
            f"| {each['name']} | {each['seconds']['real']:.1f} | {each['seconds']['virtual']:.1f}"
            f" | {each['ratio']:.3f} | {solving[0]:.1f}, {solving[1]:.1f}"
            f" | {load[0]:.1f}, {load[1]:.1f} |"
        )
    return "\n".join(lines)


def _figures(client: Mapping[str, Any]) -> dict[str, Any]:
    parts = {f"{part}_seconds": client["seconds"][part] for part in ("total", "solve", "server")}
    return {"images": client["images"], "work": client["work"], "hashes": client["hashes"], **parts}


def _run(scenario: Scenario, home: Path, *, calibrate: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="powgate-virtual-") as scratch:
        folder = runner.run(
            scenario,
            Path(scratch) / "run",
            home,
            console=Console(stderr=True),
            write=report.write_any,
            calibrate=calibrate,
        )
        summary: dict[str, Any] = read_json(folder / "summary.json")
    return summary


@dataclass(frozen=True, slots=True)
class Flags:
    """Run scenarios for real and virtually: do they take as long? Wants an idle machine."""

    scenarios: tyro.conf.Positional[tuple[str, ...]] = (
        "virtual-thief",
        "virtual-sybil",
        "virtual-mixed",
    )
    """Files or names; of each, the last policy is run."""
    json: Path | None = None
    """Also write the result to this file."""
    home: Path | None = None
    """Where victims are kept (default: the user's cache folder)."""


def run(flags: Flags) -> None:
    """Holds virtual solving against real solving. Raises RunError where they disagree."""
    home = (flags.home or default_home()).absolute()
    found = measure(flags.scenarios, home=home, say=say)
    print(table(found))
    if flags.json is not None:
        bench.save({"command": shlex.join(command_line()), **found}, flags.json)
    if not found["agree"]:
        raise RunError(f"further apart than {TOLERANCE:.0%}")
