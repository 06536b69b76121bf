"""The pages of strength-…: the overview, a section for each attack, and the figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

import numpy as np

from core.documents import read_json
from core.learning.artifacts import write_atomically
from experiments.docs import write_block
from experiments.report.lines import Drawing, Line, Panel, lines
from experiments.report.tables import NOTHING
from experiments.studies.cells import Content, half_width, known, load, percent, revisions, table
from experiments.studies.strength import (
    KEYS,
    PAPERS,
    SCENARIOS,
    Paper,
    Result,
    goal,
    published,
    results,
    rival,
)

CAPTION = (
    "Surrogates on all held-out images, policy none; bands are 95 % intervals of the mean over"
    " seeds. Dashed: the paper's record of the attack. Dotted: the victim."
)
ACROSS = 3
"""Panels in a row of the figure."""
MOST = 12
"""Rows of a curve on a page, at most."""


def write_docs(docs: Path) -> None:
    """Rewrites the figures, the overview strength.md and the pages of the attacks."""
    kept = docs / "results"
    papers = read_json(kept / "strength-paper.json")["accuracy"]
    overview: list[str] = []
    sections: dict[str, list[str]] = {}
    for scenario in SCENARIOS:
        content = load(kept / f"{scenario}.json", KEYS)
        if content is None:
            continue
        found, paper = results(content, scenario), papers[scenario.removeprefix("strength-")]
        svg = draw(content, scenario, found, paper).svg
        write_atomically(kept / f"{scenario}.svg", f"{svg}\n".encode())
        rows = [row(content, result, found, paper) for result in found.values()]
        title = f"**{content['title']}** (`{content['dataset']}`; victim {_victim(content)})"
        overview.append(f"{title}\n\n{table(rows, ['attack', 'pool', 'goal', ''])}")
        for result in found.values():
            sections.setdefault(result.attack, []).append(section(content, result, found, paper))
    write_block(docs / "strength.md", "strength", "\n".join(overview))
    for page in sorted((docs / "attacks").glob("*.md")):
        if "<!-- strength:begin -->" in page.read_text(encoding="utf-8"):
            unknown = ["Not measured: no scenario strength-… has this attack.\n"]
            write_block(page, "strength", "\n".join(sections.get(page.stem, unknown)))


def _victim(content: Content) -> str:
    victim = content["victim"]
    accuracy = f"{100 * victim['accuracy']:.2f} % on {victim['images']:,} held-out"
    return f"{victim['network']}, {accuracy} images"


def row(
    content: Content, result: Result, found: Mapping[str, Result], paper: Paper
) -> dict[str, str]:
    """Where an attacker ended, as the overview says it."""
    last = result.queries[-1]
    accuracy = result.accuracy(last)
    wanted, met = goal(result, found)
    return {
        "attack": result.name,
        "pool": result.pool(),
        "queries": f"{last:,}",
        "seeds": str(len(result.cells)),
        "accuracy %": percent(accuracy, 2),
        "fidelity %": percent(result.fidelity(last), 2),
        "of the victim's %": f"{100 * fmean(accuracy) / content['victim']['accuracy']:.1f}",
        "paper %": published(paper, result.name, last),
        "goal": wanted,
        "": met,
        "CPU s": f"{fmean(known(result.cells, 'cpu_seconds')):.0f}",
        "overhead ms": f"{fmean(known(result.cells, 'overhead_ms')):.1f}",
    }


def section(content: Content, result: Result, found: Mapping[str, Result], paper: Paper) -> str:
    """The curve of one attacker on the page of its attack, and how to get it again."""
    random, rows, queries = rival(result, found), [], result.queries
    picked = np.linspace(0, len(queries) - 1, min(MOST, len(queries))).round().astype(int)
    for at in [queries[place] for place in picked]:
        line = {
            "queries": f"{at:,}",
            "accuracy %": percent(result.accuracy(at), 2),
            "fidelity %": percent(result.fidelity(at), 2),
        }
        if random is not None:
            line["random %"] = percent(random.accuracy(at), 2)
        if result.name in PAPERS:
            line["paper %"] = published(paper, result.name, at)
        rows.append(line)
    config = result.cells[0]["setting"]["config"]
    settings = ", ".join(f"{key} {value}" for key, value in config.items())
    pool = "no pool" if result.pool() == NOTHING else f"pool {result.pool()}"
    cpu, overhead = (fmean(known(result.cells, k)) for k in ("cpu_seconds", "overhead_ms"))
    return (
        f"**{content['title']}{f', {result.variant}' if result.variant else ''}**: the victim is a"
        f" {_victim(content)}; {pool}; {settings}.\n\n"
        f"{table(rows, [])}\n"
        f"{cpu:.0f} s of one core, {overhead:.1f} ms of"
        f" overhead a batch. Made at {revisions(result.cells)}"
        f" ([{result.scenario}.json](../results/{result.scenario}.json)); again by"
        f" `python -m experiments run {result.scenario} --data FOLDER`.\n"
    )


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
        panels.append(
            Panel(
                drawn,
                title=attack,
                x="queries",
                y="" if len(panels) % ACROSS else "accuracy (%)",
                bottom=10 * math.floor(min(min(line.y) for line in drawn) / 10),
                top=100,
                level=(100 * content["victim"]["accuracy"], "the victim"),
            )
        )
    title = f"{content['title']}: accuracy against queries"
    return lines(scenario, title, CAPTION, panels, across=ACROSS, size=(2.8, 2.2))


def _line(result: Result, name: str, *, ink: bool = False) -> Line:
    accuracies = [result.accuracy(at) for at in result.queries]
    means = [100 * float(np.mean(each)) for each in accuracies]
    band = None if ink else [100 * half_width(each) for each in accuracies]
    return Line(name, result.queries, means, marks=not ink, band=band, ink=ink)
