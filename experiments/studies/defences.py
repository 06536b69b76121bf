"""What defences take from attackers and from honest users: results and page of defences-….

Lists of cells, all with "defence" (its name and settings), "seed" of the client and "setting":

    benign   "accuracy" of an honest user's answers, "l1" how far they were moved, "kept" the share
             whose best class stayed, "victim_ms" and "defence_ms" in the gate, an image
    thefts   for each attacker ("thief"): "queries", "accuracy" and "fidelity" of the surrogate,
             "l1" and "kept" on the images it asked, "cpu_seconds"
    wire     for each policy and client of a defence that was tried with a price, too: KEPT of its
             summary, and total, solve and server seconds an image
    learning for what surrogates have learnt ("source", "images", "epochs") and "queries": how often
             a surrogate is "right", what honest users get, how often the best score is that of the
             surrogates' own class, and what the attacker gets. Was made by code that is gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from core.learning.artifacts import write_atomically
from experiments import sweep
from experiments.docs import write_block
from experiments.groups import Attacker
from experiments.records import Run
from experiments.report.lines import Drawing, Line, Panel, lines
from experiments.report.tables import NOTHING
from experiments.studies.cells import (
    Cell,
    Cells,
    Content,
    among,
    known,
    load,
    percent,
    revisions,
    short,
    table,
)

KEYS = {
    "thefts": ("defence", "thief", "seed"),
    "benign": ("defence", "seed"),
    "wire": ("defence", "policy", "client", "seed"),
    "learning": ("defence", "source", "images", "epochs", "queries", "seed"),
}
SCENARIOS = ("defences-mnist", "defences-cifar10")
KEPT = ("images", "accuracy", "fidelity", "work_per_image", "hashes", "slowdown", "status")
"""What a cell over the wire has of the summary of a client."""
CAPTION = (
    "Accuracy of clones (mean over seeds) against the mean L1 distance of answers, on the images"
    " the attacker asked (left) and on honest ones (right). Dotted: without a defence."
)


# ── from a run ───────────────────────────────────────────────────────────────────────────────────


def cells(folder: Path, run: Run, summary: Mapping[str, Any]) -> Iterator[tuple[str, Cell]]:
    """The cells of a run."""
    scenario = run.scenario
    shield, priced = label(scenario["server"]), len(summary["arms"]) > 1
    for arm in summary["arms"]:
        for place, (client, given) in enumerate(
            zip(arm["clients"], scenario["clients"], strict=True)
        ):
            seed, images = given["seed"], client["images"]
            key = {
                "defence": shield,
                "seed": scenario["seed"] + 1 + place if seed is None else seed,
            }
            if priced:
                per_image = {
                    f"{part}_seconds": client["seconds"][part] / images
                    for part in ("total", "solve", "server")
                }
                found = {name: client[name] for name in KEPT} | per_image
                who = {"policy": arm["policy"], "client": client["group"]}
                yield "wire", {**key, **who, **found, "setting": setting(given)}
            if arm["policy"] != "none":
                continue
            moved = {"l1": 0.0, "kept": 1.0} if client["l1"] is None else client
            moved = {name: round(moved[name], 5) for name in ("l1", "kept")}
            if client["kind"] == "honest":
                spent = {
                    f"{part}_ms": round(1e3 * client["seconds"][part] / images, 4)
                    for part in ("victim", "defence")
                }
                found = {"accuracy": client["right"], **moved, **spent}
                yield "benign", {**key, **found, "setting": setting(given)}
            else:
                found = {name: client[name] for name in ("accuracy", "fidelity")} | moved
                found |= {"queries": images, "cpu_seconds": round(client["seconds"]["cpu"], 1)}
                yield (
                    "thefts",
                    {**key, "thief": client["label"], **found, "setting": setting(given)},
                )


def setting(client: Mapping[str, Any]) -> dict[str, Any]:
    """What a cell of a client depends on, beside the defence and the seed."""
    names = ("attack", "pool", "config", "pool_size", "images")
    return {name: client[name] for name in names if name in client}


def label(server: Mapping[str, Any]) -> str:
    """A defence and its settings, as a row says it; the L1 budget epsilon is called budget."""
    settings = [
        f"{'budget' if name == 'epsilon' else name}={_short(value)}"
        for name, value in server["defence_config"].items()
    ]
    return " ".join([server["defence"], *settings])


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


# ── the page ─────────────────────────────────────────────────────────────────────────────────────


def write_docs(docs: Path) -> None:
    """Rewrites the figures and the block of defences.md."""
    parts: list[str] = []
    for scenario in SCENARIOS:
        content = load(docs / "results" / f"{scenario}.json", KEYS)
        if content is not None:
            study = Study(scenario, content)
            parts += study.parts()
            svg = study.draw().svg
            write_atomically(docs / "results" / f"{scenario}.svg", f"{svg}\n".encode())
    write_block(docs / "defences.md", "defences", "\n".join(parts))


class Study:
    """The results of one scenario; defences and attackers are in its order."""

    def __init__(self, scenario: str, content: Content) -> None:
        runs = [run.scenario for run in sweep.load(scenario)]
        self.name, self.title, self.victim = scenario, content["title"], content["victim"]
        self.thefts, self.benign, self.wire, self.learning = (content[kind] for kind in KEYS)
        self.shields = {label(asdict(run.server)): asdict(run.server) for run in runs}
        attackers = [client for client in runs[0].clients if isinstance(client, Attacker)]
        pools = {each.pool: each.label for each in reversed(attackers)}
        self.attackers = list(dict.fromkeys(each.label for each in attackers))
        self.pools = list(reversed(pools.values()))  # the first attacker that asks from each

    def parts(self) -> Iterator[str]:
        """Sentences and tables, in Markdown."""
        again = f"again by `python -m experiments run {self.name} --data FOLDER`"
        if self.thefts:
            queries = sorted({cell["queries"] for cell in self.thefts})
            yield (
                f"### {self.title}\n\n"
                f"{self.victim['network']}, {100 * self.victim['accuracy']:.1f} % right on"
                f" {self.victim['images']:,} held-out images; attackers ask"
                f" {' or '.join(f'{n:,}' for n in queries)} images. Clones: accuracy (fidelity), in"
                f" %. [{self.name}.json](results/{self.name}.json), made at"
                f" {revisions([*self.thefts, *self.benign])}; {again}.\n"
            )
            yield table([self._clones(each) for each in self._tried()], ["defence"])
            yield f"![{CAPTION}](results/{self.name}.svg)\n"
            yield (
                "What that costs: honest users' accuracy in %, mean L1 moved on their images and on"
                " those of each attacker, and milliseconds an image.\n"
            )
            yield table([self._costs(each) for each in self._tried()], ["defence"])
        if self.wire:
            yield (
                f"### {self.title}, with and without proof of work, over loopback\n\n"
                f"The same victim and attackers, each a process, beside an honest user; all ask at"
                f" once, without work and with the work that policy `rate` asks. An image:"
                f" milliseconds of the client's wall time, on a machine that had other work, too;"
                f" solving is drawn, not spent; work in hashes; the server's CPU time is that of"
                f" victim and defence, from the table above. Made at {revisions(self.wire)};"
                f" {again}.\n"
            )
            pairs = dict.fromkeys((cell["defence"], cell["client"]) for cell in self.wire)
            yield table([self._priced(*pair) for pair in pairs], ["defence", "client"])
        if self.learning:
            shield = self.learning[-1]["defence"]
            yield (
                f"### {self.title}, by what the surrogates have learnt\n\n"
                f"{shield} against `{self.attackers[0]}`: how often a surrogate is right on"
                f" held-out images, how often the best score is that of the surrogates' own class,"
                f" what honest users get, and the accuracy of clones, in %. Made at"
                f" {revisions(self.learning)} by code that is no longer here"
                f" (`experiments/defences/learning.py`).\n"
            )
            names = KEYS["learning"][:4]
            sets = dict.fromkeys(tuple(cell[name] for name in names) for cell in self.learning)
            found = [dict(zip(names, each, strict=True)) for each in sets]
            yield table([self._learnt(each) for each in found], ["surrogates learnt"])

    def _tried(self) -> list[str]:
        return [shield for shield in self.shields if among(self.thefts, defence=shield)]

    def _clones(self, shield: str) -> dict[str, str]:
        mine = among(self.thefts, defence=shield)
        clones = {who: clone(among(mine, thief=who)) for who in self.attackers}
        return {"defence": shield, "seeds": seeds(mine), **clones}

    def _costs(self, shield: str) -> dict[str, str]:
        mine = among(self.benign, defence=shield)
        asked = {who: among(self.thefts, defence=shield, thief=who) for who in self.pools}
        return {
            "defence": shield,
            "honest accuracy": percent(known(mine, "accuracy")),
            "top class kept": percent(known(mine, "kept"), interval=False),
            "L1, honest": short(known(mine, "l1")),
            **{f"L1, {who}": short(known(cells, "l1")) for who, cells in asked.items()},
            "victim ms": short(known(mine, "victim_ms")),
            "defence ms": short(known(mine, "defence_ms")),
        }

    def _priced(self, shield: str, client: str) -> dict[str, str]:
        """Over the wire, policies side by side."""
        policies = dict.fromkeys(cell["policy"] for cell in self.wire)
        mine = among(self.wire, defence=shield, client=client)
        by = {policy: among(mine, policy=policy) for policy in policies}
        row = {"defence": shield, "client": client, "seeds": seeds(mine)}
        row |= {f"clone, {policy}": clone(cells) for policy, cells in by.items()}
        for policy, cells in by.items():
            row[f"client ms, {policy}"] = short(known(cells, "total_seconds"), 1e-3)
        for policy, cells in by.items():
            if policy != "none":
                row[f"of it solving, {policy}"] = short(known(cells, "solve_seconds"), 1e-3)
                row[f"work, {policy}"] = f"{np.mean(known(cells, 'work_per_image')):,.0f}"
        honest = among(self.benign, defence=shield)
        spent = [cell["victim_ms"] + cell["defence_ms"] for cell in honest]
        return {**row, "server CPU ms": short(spent)}

    def _learnt(self, learnt: Mapping[str, Any]) -> dict[str, str]:
        mine = among(self.learning, **learnt)
        queries = sorted({cell["queries"] for cell in self.learning})
        once = among(mine, queries=queries[0])
        whose = "own images" if learnt["source"] == "own" else "of the images asked"
        times = "once" if learnt["epochs"] == 1 else f"{learnt['epochs']} times"
        what = f"{learnt['images']:,} {whose}, {times}" if learnt["epochs"] else "nothing"
        shares = {
            "right": "right",
            "own class, honest": "own_class_honest",
            "own class, thief's": "own_class_asked",
            "honest accuracy": "honest_accuracy",
        }
        return {
            "surrogates learnt": "no defence" if learnt["defence"] == "none" else what,
            "seeds": seeds(once),
            **{name: percent(known(once, key), interval=False) for name, key in shares.items()},
            "L1, honest": short(known(once, "honest_l1")),
            **{
                f"clone of {n:,}": percent(known(among(mine, queries=n), "accuracy"))
                for n in queries
            },
        }

    def draw(self) -> Drawing:
        """A row for each attacker, one point for each defence that it met."""
        panels = []
        for who in self.attackers:
            mine = among(self.thefts, thief=who)
            panels.append(self._panel(f"{who}: its images", mine, mine))
            panels.append(self._panel("honest images", mine, self.benign))
        title = f"{self.title}: clones against the distance of answers"
        return lines(self.name, title, CAPTION, panels, across=2, size=(4.2, 2.3), share=True)

    def _panel(self, title: str, thefts: Cells, moved: Cells) -> Panel:
        kinds: dict[str, list[tuple[float, float]]] = {}
        for shield, server in self.shields.items():
            l1 = known(among(moved, defence=shield), "l1")
            accuracy = known(among(thefts, defence=shield), "accuracy")
            if l1 and accuracy:
                untrained = ", untrained" if server["defence_config"].get("untrained") else ""
                points = kinds.setdefault(f"{server['defence']}{untrained}", [])
                points.append((float(np.mean(l1)), float(100 * np.mean(accuracy))))
        bare = kinds.pop("none", [])
        return Panel(
            [Line(k, [x for x, _ in each], [y for _, y in each], "") for k, each in kinds.items()],
            title=title,
            x="mean L1 distance of an answer",
            y="accuracy (%)",
            bottom=0,
            top=100,
            level=(bare[0][1], "no defence") if bare else None,
        )


def clone(cells: Cells) -> str:
    """Accuracy, and fidelity in brackets; an honest user has none."""
    if not known(cells, "accuracy"):
        return NOTHING
    fidelity = percent(known(cells, "fidelity"), interval=False)
    return f"{percent(known(cells, 'accuracy'))} ({fidelity})"


def seeds(cells: Cells) -> str:
    """How many seeds there are."""
    return str(len({cell["seed"] for cell in cells}))
