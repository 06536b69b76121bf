"""What a reader cannot see in the tables of a run or of a sweep, in a few lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from experiments.records import UNDER_WAY
from experiments.report.tables import percent, rows, short, shown
from experiments.summary import Summary, as_planned


def headlines(summary: Summary) -> list[str]:
    """What a sweep changed, what went wrong, and what is not as it seems."""
    found = list(_sweep(summary) if summary["kind"] == "sweep" else _run(summary))
    if not any(row["images"] for row in rows(summary)):
        found.append("No client got an answer.")
    if any(row["virtual"] for row in rows(summary)):
        found.append("Solving times are virtual: drawn, not spent.")
    return found


def _run(summary: Summary) -> Iterator[str]:
    clients, victim = rows(summary, "clients"), summary["victim"]["accuracy"]
    if victim is not None:
        yield f"The victim is right on {percent(victim)} of held-out images."
    trouble = [
        f"{row['name']} under {row['policy']} ({row['status']})"
        for row in clients
        if not as_planned(row) and row["status"] not in UNDER_WAY
    ]
    if trouble:
        yield f"Not every client finished: {', '.join(trouble)}."
    short_pools = {
        row["name"]: f"{row['name']} asked {row['images']:,} images of its budget of"
        f" {row['pool']['budget']:,}: its pool has {row['pool']['images']:,}"
        for row in clients
        if "pool" in row and row["status"] == "done" and row["images"] < row["pool"]["budget"]
    }
    if short_pools:
        yield f"{'; '.join(short_pools.values())}."
    for arm in summary["arms"]:
        if arm["server_code"]:
            yield f"The server under {arm['policy']} ended with exit code {arm['server_code']}."


def _sweep(summary: Summary) -> Iterator[str]:
    swept = []
    for field, name in short(summary).items():
        values = [cell["changes"][field] for cell in summary["cells"]]
        texts = [f"({shown(v)})" if isinstance(v, Mapping) else shown(v) for v in values]
        swept.append(f"{name} is {', '.join(dict.fromkeys(texts))}")
    yield f"{len(summary['cells'])} runs: {'; '.join(swept)}."
    for cell in summary["cells"]:
        if cell["missing"] or not cell["finished"]:
            yield f"Cell {cell['name']}: {cell['missing'] or 'did not come to its end'}."
