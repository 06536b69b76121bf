"""The flood is measured, not judged: what it counts and what it reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments import flood


def test_each_kind_of_flood_is_measured() -> None:
    result = flood.flood(1.0)
    rows: dict[str, Any] = {row["kind"]: row for row in result["rows"]}
    assert set(rows) == set(flood.KINDS)
    assert rows["quiet"]["answers"] == {}
    for kind in ("new wrong counters", "the same wrong counters"):
        answers = rows[kind]["answers"]
        assert answers["WRONG_COUNTERS"] == 16  # then the client is cut off
        assert set(answers) == {"WRONG_COUNTERS", "TOO_MANY_WRONG_COUNTERS"}
    assert set(rows["the right counters again"]["answers"]) == {"KEY"}
    for row in rows.values():
        assert 0 < row["honest_ms"]["p50"] <= row["honest_ms"]["p99"]
        assert row["gate_cpu_share"] > 0
    console = Console(width=200, record=True)
    console.print(flood.tabulate(result))
    assert "TOO_MANY_WRONG_COUNTERS" in console.export_text()


def test_the_documentation_quotes_the_committed_result() -> None:
    root = Path(__file__).parents[2]
    text = " ".join((root / "docs/puzzles.md").read_text().split())
    rows = json.loads((root / "docs/results/redeem-flood.json").read_text())["rows"]
    quiet, wrong = rows[0], rows[1]
    assert f"of {sum(wrong['answers'].values()):,} wrong Redeems in 10 s" in text
    waits = [f"{row['honest_ms']['p50']:.1f} ms" for row in (wrong, quiet)]
    assert f"waited {waits[0]} for the gate (median) instead of {waits[1]}" in text
