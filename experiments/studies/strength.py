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

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

import attacks
from core import records
from core.documents import read_json
from core.learning.artifacts import write_atomically
from experiments import sweep
from experiments.docs import write_block
from experiments.records import Run
from experiments.report.lines import Drawing, Line, Panel, lines
from experiments.report.tables import NOTHING
from experiments.studies.cells import half_width, percent, revisions, table
from experiments.studies.collect import Cell, Content, load

KEYS = {"cells": ("attack", "variant", "seed")}
SCENARIOS = ("strength-mnist", "strength-cifar10")
ATTACKERS: Mapping[str, tuple[str, float]] = {
    "random": ("standard", 0.984),
    "entropyrev": ("entropyrev", 0.983),
    "worstcase": ("worstcase", 0.984),
    "copycat": ("copycat", 0),
    "copycat (TinyImageNet)": ("copycat", 0.935),
    "copycat (EMNIST letters)": ("copycat", 0.935),
    "knockoff (adaptive)": ("adaptiveknockoff", 0.897),
    "jacobian": ("jacobian", 0.833),
    "mixmatch": ("", 0.98),
    "dfme": ("data free", 0.9),
}
"""What the records of the calibrated-PoW paper call it; accuracy that was wanted on MNIST."""
ROUNDS = "250 a round"
ABOVE = (1_000, 2_000, 3_000)
"""Queries at which an active attack in such rounds should be above random queries in the same."""
ONLINE = {"price_probe", "knockoff (adaptive)", "dfme"}
"""Attacks that train, or ask for other prices, between any two requests."""

CAPTION = (
    "Surrogates on all held-out images, policy none; bands are 95 % intervals of the mean over"
    " seeds. Dashed: the paper's record of the attack. Dotted: the victim."
)
ACROSS = 3
"""Panels in a row of the figure."""
MOST = 12
"""Rows of a curve on a page, at most."""


# ── from a run ───────────────────────────────────────────────────────────────────────────────────


def cells(folder: Path, run: Run, summary: Mapping[str, Any]) -> Iterator[tuple[str, Cell]]:
    """The cell of a run."""
    (client,), (given,) = summary["arms"][0]["clients"], run.scenario["clients"]
    name = given["label"] or given["attack"]
    _, recorded = records.read(folder / "none" / "clients" / f"{given['name']}.jsonl")
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
            "overhead_ms": round(1e3 * overhead(recorded, online=name in ONLINE), 2),
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


def overhead(recorded: Sequence[Mapping[str, Any]], *, online: bool = False) -> float:
    """Seconds of a request that are neither training nor puzzle, from an attacker's record.

    The mean CPU time of asking, plus the median wall time between an answer and the next request.
    Where the surrogate was trained between two requests, choosing what to ask next counts as
    training; `online` says that it always does.
    """
    asking, between = [], []
    answered: float | None = None  # when the last answer came, unless it was trained on since
    for line in recorded:
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

    name: str
    attack: str
    variant: str  # what tells it from other attackers with this attack; may be empty
    cells: Sequence[Cell]

    @property
    def queries(self) -> list[int]:
        """Queries at which every seed has a surrogate, in order."""
        return sorted(set.intersection(*({row[0] for row in c["curve"]} for c in self.cells)))

    def at(self, queries: float) -> list[list[float]]:
        """Accuracies and fidelities of the seeds, on the line between two surrogates."""
        curves = [np.asarray(cell["curve"], float).T for cell in self.cells]
        return [[float(np.interp(queries, c[0], c[row])) for c in curves] for row in (1, 2)]

    def mean(self, key: str) -> float:
        """Of a field, over the seeds that have it."""
        return fmean(cell[key] for cell in self.cells if cell.get(key) is not None)

    def pool(self) -> str:
        """The pool's name without what says where it is kept."""
        given = self.cells[0]["setting"]
        names = [given[key] for key in ("pool", "inside") if key in given]
        short = (n.removeprefix("npz:").removesuffix(".npz").removeprefix("ood_") for n in names)
        return " and ".join(short) or NOTHING


class Study:
    """The results of one scenario, by attacker, beside the paper's.

    `found` has the attackers of the scenario with cells made with the settings there. The paper's
    are (queries, accuracy in per cent), by its name of the attack.
    """

    def __init__(
        self, scenario: str, content: Content, paper: Mapping[str, Sequence[tuple[float, float]]]
    ) -> None:
        self.scenario, self.title, self.paper = scenario, content["title"], paper
        self.best = content["victim"]["accuracy"]
        self.victim = (
            f"{content['victim']['network']}, {100 * self.best:.2f} % on"
            f" {content['victim']['images']:,} held-out images"
        )
        self.found: dict[str, Result] = {}
        for run in sweep.load(scenario):
            given = asdict(run.scenario.clients[0])
            wanted = (given["attack"], _variant(given), setting(given))
            alike = [
                cell
                for cell in content["cells"]
                if (cell["attack"], cell["variant"], cell["setting"]) == wanted
            ]
            if alike:
                name = given["label"] or given["attack"]
                self.found[name] = Result(name, given["attack"], _variant(given), alike)

    def rival(self, result: Result) -> Result | None:
        """The random queries that an active attack should be better than."""
        active = result.variant == ROUNDS and result.attack != "random"
        return self.found.get(f"random ({ROUNDS})") if active else None

    def goal(self, result: Result) -> tuple[str, str]:
        """What was wanted of an attack, and whether it was met."""
        wanted, met, random = [], [], self.rival(result)
        least = ATTACKERS.get(result.name, ("", 0))[1] if self.scenario == SCENARIOS[0] else 0
        if least:
            wanted.append(f"≥ {100 * least:.1f}")
            met.append(fmean(result.at(result.queries[-1])[0]) >= least)
        if random is not None:
            wanted.append(f"above random at {'; '.join(f'{n:,}' for n in ABOVE)}")
            met += [fmean(result.at(n)[0]) > fmean(random.at(n)[0]) for n in ABOVE]
        if not wanted:
            return NOTHING, ""
        count = f" ({sum(met)} of {len(met)})" if len(met) > 1 else ""
        return "; ".join(wanted), ("met" if all(met) else "missed") + count

    def record(self, name: str) -> Sequence[tuple[float, float]]:
        """What the paper has of an attacker; nothing of most."""
        return self.paper.get(ATTACKERS.get(name, ("", 0))[0], ())

    def published(self, name: str, queries: float) -> str:
        """The accuracy in per cent by the last record of the paper until so many queries."""
        until = [accuracy for asked, accuracy in self.record(name) if asked <= queries]
        return f"{until[-1]:.1f}" if len(until) > 1 else NOTHING  # the first is before any query

    def overview(self) -> str:
        """Where each attacker ended."""
        rows = []
        for result in self.found.values():
            last = result.queries[-1]
            accuracies, fidelities = result.at(last)
            wanted, met = self.goal(result)
            rows.append(
                {
                    "attack": result.name,
                    "pool": result.pool(),
                    "queries": f"{last:,}",
                    "seeds": str(len(result.cells)),
                    "accuracy %": percent(accuracies, 2),
                    "fidelity %": percent(fidelities, 2),
                    "of the victim's %": f"{100 * fmean(accuracies) / self.best:.1f}",
                    "paper %": self.published(result.name, last),
                    "goal": wanted,
                    "": met,
                    "CPU s": f"{result.mean('cpu_seconds'):.0f}",
                    "overhead ms": f"{result.mean('overhead_ms'):.1f}",
                }
            )
        return table(rows, ["attack", "pool", "goal", ""])

    def section(self, result: Result) -> str:
        """The curve of one attacker on the page of its attack, and how to get it again."""
        random, rows, queries = self.rival(result), [], result.queries
        picked = np.linspace(0, len(queries) - 1, min(MOST, len(queries))).round().astype(int)
        for at in [queries[place] for place in picked]:
            row = {"queries": f"{at:,}"}
            for name, values in zip(("accuracy %", "fidelity %"), result.at(at), strict=True):
                row[name] = percent(values, 2)
            if random is not None:
                row["random %"] = percent(random.at(at)[0], 2)
            if self.record(result.name):
                row["paper %"] = self.published(result.name, at)
            rows.append(row)
        config = result.cells[0]["setting"]["config"]
        settings = ", ".join(f"{key} {value}" for key, value in config.items())
        pool = "no pool" if result.pool() == NOTHING else f"pool {result.pool()}"
        return (
            f"**{self.title}{f', {result.variant}' if result.variant else ''}**: the victim is a"
            f" {self.victim}; {pool}; {settings}.\n\n"
            f"{table(rows)}\n"
            f"{result.mean('cpu_seconds'):.0f} s of one core, {result.mean('overhead_ms'):.1f} ms"
            f" of overhead a batch. Made at"
            f" {revisions(cell['provenance'] for cell in result.cells)}"
            f" ([{self.scenario}.json](../results/{self.scenario}.json)); again by"
            f" `python -m experiments run {self.scenario} --data FOLDER`.\n"
        )

    def draw(self) -> Drawing:
        """Accuracy against queries, a panel for each attack, with the paper's own curve dashed."""
        panels: list[Panel] = []
        for attack in dict.fromkeys(result.attack for result in self.found.values()):
            mine = [result for result in self.found.values() if result.attack == attack]
            drawn = [_line(result, result.variant or "here") for result in mine]
            last = max(line.x[-1] for line in drawn)
            record = next(filter(None, (self.record(result.name) for result in mine)), ())
            points = [(q, a) for q, a in record if 0 < q <= 1.1 * last]
            if points:
                x, y = zip(*points, strict=True)
                drawn.append(Line("the paper", x, y, "--", marks=False, ink=True))
            for random in filter(None, map(self.rival, mine)):
                drawn.append(_line(random, "random, likewise", ink=True))
            panels.append(
                Panel(
                    drawn,
                    title=attack,
                    x="queries",
                    y="" if len(panels) % ACROSS else "accuracy (%)",
                    bottom=10 * math.floor(min(min(line.y) for line in drawn) / 10),
                    top=100,
                    level=(100 * self.best, "the victim"),
                )
            )
        title = f"{self.title}: accuracy against queries"
        return lines(self.scenario, title, CAPTION, panels, across=ACROSS, size=(2.8, 2.2))


def write_docs(docs: Path) -> None:
    """Rewrites the figures, the overview strength.md and the pages of the attacks."""
    results = docs / "results"
    papers = read_json(results / "strength-paper.json")["accuracy"]
    overview: list[str] = []
    sections: dict[str, list[str]] = {}
    for scenario in SCENARIOS:
        content = load(results / f"{scenario}.json", KEYS)
        if content is None:
            continue
        study = Study(scenario, content, papers[scenario.removeprefix("strength-")])
        write_atomically(results / f"{scenario}.svg", f"{study.draw().svg}\n".encode())
        title = f"**{study.title}** (`{content['dataset']}`; victim {study.victim})"
        overview.append(f"{title}\n\n{study.overview()}")
        for result in study.found.values():
            sections.setdefault(result.attack, []).append(study.section(result))
    write_block(docs / "strength.md", "strength", "\n".join(overview))
    for page in sorted((docs / "attacks").glob("*.md")):
        if "<!-- strength:begin -->" in page.read_text(encoding="utf-8"):
            unknown = ["Not measured: no scenario strength-… has this attack.\n"]
            write_block(page, "strength", "\n".join(sections.get(page.stem, unknown)))


def _variant(client: Mapping[str, Any]) -> str:
    return str(client["label"].removeprefix(client["attack"]).strip(" ()"))


def _line(result: Result, name: str, *, ink: bool = False) -> Line:
    accuracies = [result.at(queries)[0] for queries in result.queries]
    means = [100 * fmean(each) for each in accuracies]
    band = None if ink else [100 * half_width(each) for each in accuracies]
    return Line(name, result.queries, means, marks=not ink, band=band, ink=ink)
