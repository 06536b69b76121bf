"""The pages of strength-…: the overview, a section for each attack, and the figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from core.learning.artifacts import write_atomically
from experiments.docs import write_block
from experiments.report.lines import Drawing, Line, Panel, lines
from experiments.report.tables import NOTHING, Column, markdown, whole
from experiments.studies.collect import Content, Estimate, load, revisions
from experiments.studies.strength import (
    KEYS,
    PAPERS,
    SCENARIOS,
    Paper,
    Result,
    goal,
    published,
    read_paper,
    results,
    rival,
)

CAPTION = (
    "Surrogates on all held-out images, policy none; bands are 95 % intervals of the mean over"
    " seeds. Dashed: the paper's record of the attack. Dotted: the victim."
)

ACROSS = 3
"""Panels in a row of the figure."""


def _tenths(value: float) -> str:
    return f"{value:.1f}"


COLUMNS = (
    Column("attack", "its name", "name"),
    Column("pool", "where its queries come from", "pool"),
    Column("queries", "images asked", "queries", whole),
    Column("seeds", "of the attacker", "seeds", whole),
    Column("accuracy %", "on held-out images", "accuracy", Estimate.percent),
    Column("fidelity %", "agreement with the victim on them", "fidelity", Estimate.percent),
    Column("of the victim's %", "accuracy as a share of the victim's", "share", _tenths),
    Column("paper %", "the paper's accuracy at as many queries", "paper", _tenths),
    Column("goal", "what was wanted", "goal"),
    Column("", "whether it was met", "met"),
    Column("CPU s", "of the attacker's process", "cpu", lambda value: f"{value:.0f}"),
    Column("overhead ms", "of a request, without training and puzzle", "overhead", _tenths),
)


def write_docs(docs: Path) -> None:
    """Rewrites the figures, the overview strength.md and the pages of the attacks."""
    kept = docs / "results"
    papers, overview = read_paper(kept), []
    sections: dict[str, list[str]] = {}
    for scenario in SCENARIOS:
        content = load(kept / f"{scenario}.json", KEYS)
        if content is None:
            continue
        found, paper = results(content, scenario), papers.get(scenario, {})
        drawing = draw(content, scenario, found, paper)
        write_atomically(kept / f"{scenario}.svg", f"{drawing.svg}\n".encode())
        overview.append(table(content, found, paper))
        for result in found.values():
            sections.setdefault(result.attack, []).append(section(content, result, found, paper))
    write_block(docs / "strength.md", "strength", "\n".join(overview))
    for page in sorted((docs / "attacks").glob("*.md")):
        if "<!-- strength:begin -->" not in page.read_text(encoding="utf-8"):
            continue
        unknown = ["Not measured: no scenario strength-… has this attack.\n"]
        write_block(page, "strength", "\n".join(sections.get(page.stem, unknown)))


def table(content: Content, found: Mapping[str, Result], paper: Paper) -> str:
    """Markdown: a row for each attacker, where it ended."""
    victim = content["victim"]
    rows = []
    for result in found.values():
        last = result.queries[-1]
        accuracy = result.accuracy(last)
        wanted, met = goal(result, found)
        rows.append(
            {
                "name": result.name,
                "pool": result.pool,
                "queries": last,
                "seeds": len(result.cells),
                "accuracy": accuracy,
                "fidelity": result.fidelity(last),
                "share": 100 * accuracy.mean / victim["accuracy"],
                "paper": published(paper, result.name, last),
                "goal": wanted,
                "met": met,
                "cpu": result.mean("cpu_seconds"),
                "overhead": result.mean("overhead_ms"),
            }
        )
    return (
        f"**{content['title']}** (`{content['dataset']}`; victim {victim['network']}, "
        f"{100 * victim['accuracy']:.2f} % on {victim['images']:,} held-out images)\n\n"
        f"{markdown(COLUMNS, rows)}"
    )


def section(content: Content, result: Result, found: Mapping[str, Result], paper: Paper) -> str:
    """Markdown: the curve of one attacker on the page of its attack, and how to get it again."""
    columns = [
        Column("queries", "images asked", "at", whole),
        Column(
            "accuracy %",
            "on held-out images",
            lambda row: result.accuracy(row["at"]),
            Estimate.percent,
        ),
        Column("fidelity %", "agreement", lambda row: result.fidelity(row["at"]), Estimate.percent),
    ]
    random = rival(result, found)
    if random is not None:
        columns.append(
            Column(
                "random %",
                "random queries",
                lambda row: random.accuracy(row["at"]),
                Estimate.percent,
            )
        )
    if result.name in PAPERS:
        columns.append(
            Column(
                "paper %",
                "the paper's",
                lambda row: published(paper, result.name, row["at"]),
                _tenths,
            )
        )
    victim, given = content["victim"], result.cells[0]["setting"]
    settings = ", ".join(f"{key} {value}" for key, value in given["config"].items())
    pool = "no pool" if result.pool == NOTHING else f"pool {result.pool}"
    return (
        f"**{content['title']}{f', {result.variant}' if result.variant else ''}**: the victim is a"
        f" {victim['network']}, {100 * victim['accuracy']:.2f} % on {victim['images']:,} held-out"
        f" images; {pool}; {settings}.\n\n"
        f"{markdown(columns, [{'at': at} for at in _few(result.queries)])}\n"
        f"{result.mean('cpu_seconds'):.0f} s of one core, {result.mean('overhead_ms'):.1f} ms of"
        f" overhead a batch. Made at {revisions(result.cells)}"
        f" ([{result.scenario}.json](../results/{result.scenario}.json)); again by"
        f" `python -m experiments run {result.scenario} --data FOLDER`.\n"
    )


def _few(queries: Sequence[int], most: int = 12) -> list[int]:
    """At most so many of them, evenly, the last one included."""
    if len(queries) <= most:
        return list(queries)
    picked = np.unique(np.linspace(0, len(queries) - 1, most).round().astype(int))
    return [queries[at] for at in picked]


def draw(content: Content, scenario: str, found: Mapping[str, Result], paper: Paper) -> Drawing:
    """Accuracy against queries, a panel for each attack, with the paper's own curve dashed."""
    panels: list[Panel] = []
    for attack in dict.fromkeys(result.attack for result in found.values()):
        mine = [result for result in found.values() if result.attack == attack]
        drawn = [_line(result, result.variant or "here") for result in mine]
        last = max(line.x[-1] for line in drawn)
        for name in dict.fromkeys(PAPERS.get(result.name, "") for result in mine):
            points = [(q, a) for q, a in paper.get(name, ()) if 0 < q <= 1.1 * last]
            if points:
                x, y = zip(*points, strict=True)
                drawn.append(Line("the paper", x, y, "--", marks=False, ink=True))
        for random in filter(None, (rival(result, found) for result in mine)):
            drawn.append(_line(random, "random, likewise", ink=True))
        lowest = min(min(line.y) for line in drawn)
        panels.append(
            Panel(
                drawn,
                title=attack,
                x="queries",
                y="" if len(panels) % ACROSS else "accuracy (%)",
                bottom=10 * math.floor(lowest / 10),
                top=100,
                level=(100 * content["victim"]["accuracy"], "the victim"),
            )
        )
    title = f"{content['title']}: accuracy against queries"
    return lines(scenario, title, CAPTION, panels, across=ACROSS, size=(2.8, 2.2))


def _line(result: Result, name: str, *, ink: bool = False) -> Line:
    points = [result.accuracy(queries) for queries in result.queries]
    return Line(
        name,
        result.queries,
        [100 * each.mean for each in points],
        marks=not ink,
        band=None if ink else [100 * (each.half or 0.0) for each in points],
        ink=ink,
    )
