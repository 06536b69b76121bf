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

import pandas as pd

from core.learning.artifacts import write_atomically
from experiments import sweep
from experiments.docs import write_block
from experiments.groups import Attacker
from experiments.records import Run
from experiments.report.lines import Drawing, Line, Panel, lines
from experiments.report.tables import NOTHING
from experiments.studies.cells import percent, revisions, short, table
from experiments.studies.collect import Cell, Content, load

KEYS = {
    "thefts": ("defence", "thief", "seed"),
    "benign": ("defence", "seed"),
    "wire": ("defence", "policy", "client", "seed"),
    "learning": ("defence", "source", "images", "epochs", "queries", "seed"),
}
SCENARIOS = ("defences-mnist", "defences-cifar10")
KEPT = ("images", "accuracy", "fidelity", "work_per_image", "hashes", "slowdown", "status")
"""What a cell over the wire has of the summary of a client."""
CLONE = ["accuracy", "fidelity"]
SHARES = {
    "right": "right",
    "own class, honest": "own_class_honest",
    "own class, attacker's": "own_class_asked",
    "honest accuracy": "honest_accuracy",
}
"""Columns of the table of what surrogates have learnt."""
CAPTION = (
    "Accuracy of clones (mean over seeds) against the mean L1 distance of answers, on the images"
    " the attacker asked (left) and on honest ones (right). Dotted: without a defence."
)


# ── from a run ───────────────────────────────────────────────────────────────────────────────────


def cells(folder: Path, run: Run, summary: Mapping[str, Any]) -> Iterator[tuple[str, Cell]]:
    """The cells of a run."""
    first = run.scenario["seed"] + 1
    priced = len(summary["arms"]) > 1
    for arm in summary["arms"]:
        pairs = zip(arm["clients"], run.scenario["clients"], strict=True)
        for place, (client, given) in enumerate(pairs):
            images, spent, about = client["images"], client["seconds"], {"setting": setting(given)}
            seed = first + place if given["seed"] is None else given["seed"]
            key = {"defence": label(run.scenario["server"]), "seed": seed}
            if priced:
                who = {"policy": arm["policy"], "client": client["group"]}
                found = {name: client[name] for name in KEPT}
                for part in ("total", "solve", "server"):
                    found[f"{part}_seconds"] = spent[part] / images
                yield "wire", {**key, **who, **found, **about}
            if arm["policy"] != "none":
                continue
            moved = {"l1": 0.0, "kept": 1.0}
            if client["l1"] is not None:
                moved = {name: round(client[name], 5) for name in moved}
            if client["kind"] == "honest":
                found = {"accuracy": client["right"], **moved}
                for part in ("victim", "defence"):
                    found[f"{part}_ms"] = round(1e3 * spent[part] / images, 4)
                yield "benign", {**key, **found, **about}
            else:
                found = {name: client[name] for name in CLONE} | moved
                found |= {"queries": images, "cpu_seconds": round(spent["cpu"], 1)}
                yield "thefts", {**key, "thief": client["label"], **found, **about}


def setting(client: Mapping[str, Any]) -> dict[str, Any]:
    """What a cell of a client depends on, beside the defence and the seed."""
    names = ("attack", "pool", "config", "pool_size", "images")
    return {name: client[name] for name in names if name in client}


def label(server: Mapping[str, Any]) -> str:
    """A defence and its settings, as a row says it; the L1 budget epsilon is called budget."""
    words = [server["defence"]]
    for name, value in server["defence_config"].items():
        text = f"{value:g}" if isinstance(value, float) else str(value).lower()
        words.append(f"{'budget' if name == 'epsilon' else name}={text}")
    return " ".join(words)


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
        frames = (pd.DataFrame(content[kind]) for kind in KEYS)
        self.thefts, self.benign, self.wire, self.learning = frames
        self.shields = {label(asdict(run.server)): asdict(run.server) for run in runs}
        attackers = [client for client in runs[0].clients if isinstance(client, Attacker)]
        pools = {each.pool: each.label for each in reversed(attackers)}
        self.attackers = list(dict.fromkeys(each.label for each in attackers))
        self.pools = list(reversed(pools.values()))  # the first attacker that asks from each

    def parts(self) -> Iterator[str]:
        """Sentences and tables, in Markdown."""
        if len(self.thefts):
            queries = sorted(self.thefts["queries"].unique())
            made = revisions([*self.thefts["provenance"], *self.benign["provenance"]])
            yield (
                f"### {self.title}\n\n"
                f"{self.victim['network']}, {100 * self.victim['accuracy']:.1f} % right on"
                f" {self.victim['images']:,} held-out images; attackers ask"
                f" {' or '.join(f'{n:,}' for n in queries)} images."
                f" [{self.name}.json](results/{self.name}.json), made at {made}; again by"
                f" `python -m experiments run {self.name} --data FOLDER`.\n"
            )
            yield table(self._ordered(self._clones()), ["defence"])
            yield f"![{CAPTION}](results/{self.name}.svg)\n"
            yield table(self._ordered(self._costs()), ["defence"])
        if len(self.wire):
            yield self._heading("with and without proof of work", self.wire)
            yield table(self._priced().reset_index(), ["defence", "client"])
        if len(self.learning):
            yield self._heading("by what the surrogates have learnt", self.learning)
            yield table(self._learnt(), ["surrogates learnt"])

    def _heading(self, what: str, cells: pd.DataFrame) -> str:
        return f"### {self.title}, {what}\n\nMade at {revisions(cells['provenance'])}.\n"

    def _ordered(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Rows of the defences that were tried, in the order of the scenario."""
        tried = set(self.thefts["defence"])
        return rows.loc[[each for each in self.shields if each in tried]].reset_index()

    def _clones(self) -> pd.DataFrame:
        seeds = self.thefts.groupby("defence")["seed"].nunique().rename("seeds")
        clones = self.thefts.groupby(["defence", "thief"])[CLONE].apply(clone).unstack()
        return seeds.to_frame().join(clones.reindex(columns=self.attackers))

    def _costs(self) -> pd.DataFrame:
        honest = self.benign.groupby("defence")
        moved = self.thefts.groupby(["defence", "thief"])["l1"].agg(short).unstack()
        return pd.DataFrame(
            {
                "honest accuracy": honest["accuracy"].agg(percent),
                "top class kept": honest["kept"].agg(percent, interval=False),
                "L1, honest": honest["l1"].agg(short),
                **{f"L1, {who}": moved[who] for who in self.pools},
                "victim ms": honest["victim_ms"].agg(short),
                "defence ms": honest["defence_ms"].agg(short),
            }
        )

    def _priced(self) -> pd.DataFrame:
        """Over the wire, policies side by side."""
        pair = ["defence", "client"]
        rows = self.wire.groupby(pair, sort=False)["seed"].nunique().rename("seeds").to_frame()
        by = {each: cells.groupby(pair) for each, cells in self.wire.groupby("policy", sort=False)}
        for policy, cells in by.items():
            rows[f"clone, {policy}"] = cells[CLONE].apply(clone)
        for policy, cells in by.items():
            rows[f"client ms, {policy}"] = cells["total_seconds"].agg(short, unit=1e-3)
        for policy, cells in by.items():
            if policy != "none":
                rows[f"of it solving, {policy}"] = cells["solve_seconds"].agg(short, unit=1e-3)
                rows[f"work, {policy}"] = cells["work_per_image"].mean().map("{:,.0f}".format)
        spent = self.benign["victim_ms"] + self.benign["defence_ms"]
        mean = spent.groupby(self.benign["defence"]).agg(short).rename("server CPU ms")
        return rows.join(mean, on="defence")

    def _learnt(self) -> pd.DataFrame:
        learnt = list(KEYS["learning"][:4])
        clones = self.learning.groupby([*learnt, "queries"])["accuracy"].agg(percent).unstack()
        once = self.learning[self.learning["queries"] == clones.columns[0]]
        by = once.groupby(learnt, sort=False)
        rows = by["seed"].nunique().rename("seeds").to_frame()
        for name, key in SHARES.items():
            rows[name] = by[key].agg(percent, interval=False)
        rows["L1, honest"] = by["honest_l1"].agg(short)
        rows = rows.join(clones.rename(columns="clone of {:,}".format))
        rows.insert(0, "surrogates learnt", [lessons(*each) for each in rows.index])
        return rows

    def draw(self) -> Drawing:
        """A row for each attacker, one point for each defence that it met."""
        panels = []
        for who in self.attackers:
            mine = self.thefts[self.thefts["thief"] == who]
            panels.append(self._panel(f"{who}: its images", mine, mine))
            panels.append(self._panel("honest images", mine, self.benign))
        title = f"{self.title}: clones against the distance of answers"
        return lines(self.name, title, CAPTION, panels, across=2, size=(4.2, 2.3), share=True)

    def _panel(self, title: str, thefts: pd.DataFrame, moved: pd.DataFrame) -> Panel:
        l1 = moved.groupby("defence")["l1"].mean()
        accuracy = 100 * thefts.groupby("defence")["accuracy"].mean()
        points = pd.DataFrame({"l1": l1, "accuracy": accuracy}).dropna()
        kinds: dict[str, list[str]] = {}
        for shield in filter(points.index.__contains__, self.shields):
            server = self.shields[shield]
            untrained = ", untrained" if server["defence_config"].get("untrained") else ""
            kinds.setdefault(f"{server['defence']}{untrained}", []).append(shield)
        bare = points.loc[kinds.pop("none", []), "accuracy"]
        drawn = ((kind, points.loc[each]) for kind, each in kinds.items())
        return Panel(
            [Line(kind, list(each["l1"]), list(each["accuracy"]), "") for kind, each in drawn],
            title=title,
            x="mean L1 distance of an answer",
            y="accuracy (%)",
            bottom=0,
            top=100,
            level=(bare.iloc[0], "no defence") if len(bare) else None,
        )


def lessons(defence: str, source: str, images: int, epochs: int) -> str:
    """What surrogates have learnt."""
    if not epochs:
        return "no defence" if defence == "none" else "nothing"
    whose = "own images" if source == "own" else "of the images asked"
    return f"{images:,} {whose}, {'once' if epochs == 1 else f'{epochs} times'}"


def clone(cells: pd.DataFrame) -> str:
    """Accuracy, and fidelity in brackets; an honest user has none."""
    accuracy = percent(cells["accuracy"])
    fidelity = percent(cells["fidelity"], interval=False)
    return NOTHING if accuracy == NOTHING else f"{accuracy} ({fidelity})"
