"""How long the work of a run takes on named hardware: other solvers here, graphics cards.

Of this project's solvers the rates are those of docs/results/puzzles.json, of graphics cards those
of `pow.rate.DEVICES`, which name their sources. Summaries keep them as "elsewhere".
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from operator import methodcaller
from pathlib import Path
from typing import Any

from core.documents import read_json
from experiments.report.tables import Column, Row, count, duration, label, rows
from experiments.summary import Summary
from pow.rate import DEVICES

MEASURED = Path(__file__).parents[2] / "docs" / "results" / "puzzles.json"


def rates(summary: Summary) -> dict[str, list[dict[str, Any]]]:
    """For each puzzle of the run: name, hashes a second and source of what could solve it.

    Raises OSError without the file of measured rates: results are published from a checkout.
    """
    cells = summary["cells"] if summary["kind"] == "sweep" else [summary["scenario"]["server"]]
    measured = read_json(MEASURED)
    return {
        puzzle: list(_rates(puzzle, measured))
        for puzzle in sorted({cell["puzzle"] for cell in cells if cell["puzzle"]})
    }


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


def times(summary: Summary) -> tuple[list[Column], list[Row]]:
    """Columns and rows of the table: all groups with work of a run, of a sweep the attackers."""
    found: list[Row] = []
    swept = summary["kind"] == "sweep"
    for row in rows(summary):
        if row["work"] and (row["kind"] == "attack" or not swept):
            many = f" (all {row['clients']})" if row["clients"] > 1 and not swept else ""
            who = [f"{row['name']}{many}", row["policy"]]
            who += [label(summary, row["cell"])] if swept else []
            puzzle = (row["cell"] if swept else summary["scenario"]["server"])["puzzle"]
            taken = {e["name"]: row["work"] / e["rate"] for e in summary["elsewhere"][puzzle]}
            found.append({"who": ", ".join(who), "work": row["work"], **taken})
    names = [name for name in dict.fromkeys(chain(*found)) if name not in ("who", "work")]
    return [
        Column("", "", "who"),
        Column("work", "expected hashes", "work", count),
        *(Column(name, "", methodcaller("get", name), duration) for name in names),
    ], found
