"""How good each attack is where answers cost nothing: results of strength-….

A cell of "cells" is one attacker alone at a gate with policy `none`:

    attack, variant, seed, setting
    curve          [queries, accuracy, fidelity] of each surrogate on all held-out images
    batches        requests answered
    cpu_seconds    of the attacker's process, start-up included
    wall_seconds   from its start to its end
    train_seconds  wall time of training and of choosing the batch after it
    overhead_ms    see `overhead`
    cost_per_image privacy cost by the server's measure

The paper's accuracy is that of its own record at as many queries, or at its end where it asked no
more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

import attacks
from core import records
from experiments import sweep
from experiments.records import Run
from experiments.report.tables import NOTHING
from experiments.studies.cells import Cell, Cells, Content, among

KEYS = {"cells": ("attack", "variant", "seed")}
SCENARIOS = ("strength-mnist", "strength-cifar10")
PAPERS: Mapping[str, str] = {
    "random": "standard",
    "entropyrev": "entropyrev",
    "worstcase": "worstcase",
    "copycat": "copycat",
    "copycat (TinyImageNet)": "copycat",
    "copycat (EMNIST letters)": "copycat",
    "knockoff (adaptive)": "adaptiveknockoff",
    "jacobian": "jacobian",
    "dfme": "data free",
}
"""The names of attacks in the records of the calibrated-PoW paper."""
GOALS: Mapping[str, Mapping[str, float]] = {
    "strength-mnist": {
        "random": 0.984,
        "entropyrev": 0.983,
        "worstcase": 0.984,
        "copycat (TinyImageNet)": 0.935,
        "copycat (EMNIST letters)": 0.935,
        "knockoff (adaptive)": 0.897,
        "jacobian": 0.833,
        "mixmatch": 0.98,
        "dfme": 0.9,
    }
}
"""Accuracies that were wanted at the end."""
ROUNDS = "250 a round"
ABOVE = (1_000, 2_000, 3_000)
"""Queries at which an active attack in such rounds should be above random queries in the same."""
ONLINE = {"price_probe", "knockoff (adaptive)", "dfme"}
"""Attacks that train, or ask for other prices, between any two requests."""

Paper = Mapping[str, Sequence[tuple[float, float]]]
"""By the paper's name of an attack: (queries, accuracy in per cent)."""


# ── from a run ───────────────────────────────────────────────────────────────────────────────────


def cells(folder: Path, run: Run, summary: Mapping[str, Any]) -> Iterator[tuple[str, Cell]]:
    """The cell of a run."""
    (client,), (given,) = summary["arms"][0]["clients"], run.scenario["clients"]
    name = given["label"] or given["attack"]
    _, lines = records.read(folder / "none" / "clients" / f"{given['name']}.jsonl")
    yield (
        "cells",
        {
            "attack": given["attack"],
            "variant": _variant(given),
            "seed": run.scenario["seed"] + 1 if given["seed"] is None else given["seed"],
            "setting": setting(given),
            "curve": [[p["asked"], p["accuracy"], p["fidelity"]] for p in client["checkpoints"]],
            "batches": len(run.policies[0].clients[0].requests),
            "cpu_seconds": round(client["seconds"]["cpu"], 1),
            "wall_seconds": round(client["seconds"]["wall"], 1),
            "train_seconds": round(client["seconds"]["training"], 1),
            "overhead_ms": round(1e3 * overhead(lines, online=name in ONLINE), 2),
            "cost_per_image": round(client["cost_per_image"], 4),
        },
    )


def setting(client: Mapping[str, Any]) -> dict[str, Any]:
    """What the result of an attacker depends on, beside victim and seed."""
    return {
        **({"pool": client["pool"], "pool_size": client["pool_size"]} if client["pool"] else {}),
        "config": dict(client["config"]),
        **({"inside": client["inside"]} if client["inside"] else {}),
        **({"costs": True} if "costs" in attacks.load(client["attack"]).NEEDS else {}),
    }


def overhead(lines: Sequence[Mapping[str, Any]], *, online: bool = False) -> float:
    """Seconds of a request that are neither training nor puzzle, from an attacker's record.

    The mean CPU time of asking, plus the median wall time between an answer and the next request.
    Where the surrogate was trained between two requests, choosing what to ask next counts as
    training; `online` says that it always does.
    """
    asking, between = [], []
    answered: float | None = None  # when the last answer came, unless it was trained on since
    for line in lines:
        if line["kind"] == "predict":
            asking.append(line["cpu"] - line["solve"])
            if answered is not None:
                between.append(line["at"] - line["total"] - answered)
            answered = line["at"]
        else:
            answered = None
    return fmean(asking) + (median(between) if between and not online else 0.0)


# ── what was found ───────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Result:
    """All seeds of one attacker of a scenario."""

    scenario: str
    name: str
    cells: Cells

    @property
    def attack(self) -> str:
        """The attack's name."""
        return str(self.cells[0]["attack"])

    @property
    def variant(self) -> str:
        """What tells it from other attackers with this attack; may be empty."""
        return str(self.cells[0]["variant"])

    @property
    def queries(self) -> list[int]:
        """Queries at which every seed has a surrogate, in order."""
        return sorted(set.intersection(*({row[0] for row in c["curve"]} for c in self.cells)))

    def accuracy(self, queries: float, column: int = 1) -> list[float]:
        """Of each seed on held-out images, between two surrogates on the line through both."""
        curves = [np.asarray(cell["curve"], float) for cell in self.cells]
        return [float(np.interp(queries, curve[:, 0], curve[:, column])) for curve in curves]

    def fidelity(self, queries: float) -> list[float]:
        """The share of held-out images on which surrogate and victim agree, of each seed."""
        return self.accuracy(queries, 2)

    def pool(self) -> str:
        """The pool's name without what says where it is kept."""
        given = self.cells[0]["setting"]
        names = [given[key] for key in ("pool", "inside") if key in given]
        short = (n.removeprefix("npz:").removesuffix(".npz").removeprefix("ood_") for n in names)
        return " and ".join(short) or NOTHING


def results(content: Content, scenario: str) -> dict[str, Result]:
    """Of each attacker of the scenario that has cells made with the settings there, by name."""
    found = {}
    for run in sweep.load(scenario):
        given = asdict(run.scenario.clients[0])
        name = given["label"] or given["attack"]
        wanted = {"attack": given["attack"], "variant": _variant(given), "setting": setting(given)}
        if alike := among(content["cells"], **wanted):
            found[name] = Result(scenario, name, alike)
    return found


def _variant(client: Mapping[str, Any]) -> str:
    return str(client["label"].removeprefix(client["attack"]).strip(" ()"))


def rival(result: Result, found: Mapping[str, Result]) -> Result | None:
    """The random queries that an active attack should be better than."""
    active = result.variant == ROUNDS and result.attack != "random"
    return found.get(f"random ({ROUNDS})") if active else None


def goal(result: Result, found: Mapping[str, Result]) -> tuple[str, str]:
    """What was wanted of an attack, and whether it was met."""
    wanted, met = [], []
    least = GOALS.get(result.scenario, {}).get(result.name)
    if least is not None:
        wanted.append(f"≥ {100 * least:.1f}")
        met.append(fmean(result.accuracy(result.queries[-1])) >= least)
    random = rival(result, found)
    if random is not None:
        wanted.append(f"above random at {'; '.join(f'{n:,}' for n in ABOVE)}")
        met += [fmean(result.accuracy(n)) > fmean(random.accuracy(n)) for n in ABOVE]
    if not wanted:
        return NOTHING, ""
    count = f" ({sum(met)} of {len(met)})" if len(met) > 1 else ""
    return "; ".join(wanted), ("met" if all(met) else "missed") + count


def published(paper: Paper, name: str, queries: float) -> str:
    """The paper's accuracy after so many queries, in per cent, by its last record until then."""
    points = paper.get(PAPERS.get(name, ""), ())
    until = [accuracy for asked, accuracy in points if asked <= queries]
    return f"{until[-1]:.1f}" if len(until) > 1 else NOTHING  # the first is before any query
