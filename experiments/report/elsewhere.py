"""How long the work of a run takes elsewhere: with other solvers here, and on graphics cards.

Of this project's solvers the rates are those of docs/results/puzzles.json, of graphics cards those
of `pow.rate.DEVICES`, which name their sources.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from experiments.report import sweep_tables
from experiments.report import tables_old as tables
from pow.rate import DEVICES

MEASURED = Path(__file__).parents[2] / "docs" / "results" / "puzzles.json"

Summary = Mapping[str, Any]


def rates(summary: Summary) -> dict[str, list[dict[str, Any]]]:
    """For each puzzle of the run: name, hashes a second and source of what could solve it.

    Raises OSError without the file of measured rates: results are published from a checkout.
    """
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))
    return {puzzle: list(_rates(puzzle, measured)) for puzzle in sorted(_puzzles(summary))}


def _puzzles(summary: Summary) -> set[str]:
    if summary["kind"] == "sweep":
        return {cell["puzzle"] for cell in summary["cells"] if cell["puzzle"]}
    return {summary["scenario"]["server"]["puzzle"]}


def _rates(puzzle: str, measured: Summary) -> Iterator[dict[str, Any]]:
    found = measured["rates"][puzzle]
    here = f"docs/results/puzzles.json, {measured['host']}"
    if "hashlib" in found.get("peers", {}):
        yield {"name": "hashlib, one core", "rate": found["peers"]["hashlib"], "source": here}
    yield {"name": "native, one core", "rate": found["rate"], "source": here}
    for threads, rate in found.get("wall", {}).items():
        if threads != "1":
            yield {"name": f"native, {threads} cores", "rate": rate, "source": here}
    for device in DEVICES:
        if puzzle in device.rates:
            yield {"name": device.name, "rate": device.rates[puzzle], "source": device.source}


def section(summary: Summary) -> str:
    """The table in Markdown: the work of each priced group, and seconds of it; "" without work."""
    rows = list(_rows(summary))
    if not rows:
        return ""
    names = list(
        dict.fromkeys(each["name"] for puzzle, *_ in rows for each in summary["elsewhere"][puzzle])
    )
    lines = [["", "work", *names], ["---", "--:", *("--:" for _ in names)]]
    for puzzle, who, work in rows:
        speed = {each["name"]: each["rate"] for each in summary["elsewhere"][puzzle]}
        times = [tables.duration(work / speed[n]) if n in speed else tables.NOTHING for n in names]
        lines.append([who, tables.count(work), *times])
    sources: dict[str, list[str]] = {}
    for each in (each for found in summary["elsewhere"].values() for each in found):
        if each["name"] not in sources.setdefault(each["source"], []):
            sources[each["source"]].append(each["name"])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    notes = "\n".join(f"- {'; '.join(given)}: {source}" for source, given in sources.items())
    return (
        "## What this work takes elsewhere\n\nExpected seconds of solving alone, at measured and at"
        f" published rates.\n\n{table}\n\nRates:\n\n{notes}"
    )


def _rows(summary: Summary) -> Iterator[tuple[str, str, int]]:
    """The puzzle, who solves it, and the work: all groups of a run, of a sweep the thieves."""
    if summary["kind"] == "sweep":
        for row in sweep_tables.rows(summary):
            if row.group["kind"] == "attack" and row.group["work"]:
                who = f"{row.group['name']}, {row.policy}, {sweep_tables.label(summary, row.cell)}"
                yield row.cell["puzzle"], who, row.group["work"]
        return
    puzzle = summary["scenario"]["server"]["puzzle"]
    for arm in summary["arms"]:
        for group in arm["groups"]:
            if group["work"]:
                yield puzzle, f"{_who(group)}, {arm['policy']}", group["work"]


def _who(group: Summary) -> str:
    many = group["clients"]
    return f"{group['name']} (all {many})" if many > 1 else str(group["name"])
