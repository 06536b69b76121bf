"""The main numbers of a run or of a sweep in a few lines, and what went wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from experiments.records import UNDER_WAY
from experiments.report.tables import (
    Column,
    Row,
    by_policy,
    column,
    label,
    percent,
    rows,
    short,
    shown,
)
from experiments.summary import Summary, as_planned

FEW = 4
"""Groups that a line names one by one."""
SWEPT = {
    "attack": ("price ratio", "work", "total (s)", "accuracy"),
    "honest": ("overhead", "latency p99 (ms)", "price ratio"),
}
"""Headings of columns that a sweep is looked at for, by kind of client."""


def headlines(summary: Summary) -> list[str]:
    """Price, waiting and theft as far as there was any, or what a sweep changed; then troubles."""
    found = list(_sweep(summary) if summary["kind"] == "sweep" else _run(summary))
    if any(row["virtual"] for row in rows(summary)):
        found.append("Solving times are virtual: drawn, not spent.")
    return found or ["No client got an answer."]


def _run(summary: Summary) -> Iterator[str]:
    tables = by_policy(rows(summary))
    for heading in ("price ratio", "slowdown"):
        for policy, found in tables.items():
            if policy != "none":
                yield from _line(f"Policy {policy}, {heading}", column(heading), found)
    last = tables[summary["arms"][-1]["policy"]]
    victim = summary["victim"]["accuracy"]
    if victim is not None and any(row["accuracy"] is not None for row in last):
        lead = f"Accuracy on held-out images, the victim {percent(victim)}"
        yield from _line(lead, column("accuracy"), last)
    else:
        yield from _line("Milliseconds of 99 of 100 answers", column("answer p99 (ms)"), last)
    trouble = [
        f"{row['name']} under {row['policy']} ({row['status']})"
        for row in rows(summary, "clients")
        if not as_planned(row) and row["status"] not in UNDER_WAY
    ]
    if trouble:
        yield f"Not every client finished: {', '.join(trouble)}."
    short_pools = {
        row["name"]: f"{row['name']} asked {row['images']:,} images of its budget of"
        f" {row['pool']['budget']:,}: its pool has {row['pool']['images']:,}"
        for row in rows(summary, "clients")
        if "pool" in row and row["status"] == "done" and row["images"] < row["pool"]["budget"]
    }
    if short_pools:
        yield f"{'; '.join(short_pools.values())}."
    for arm in summary["arms"]:
        if arm["server_code"]:
            yield f"The server under {arm['policy']} ended with exit code {arm['server_code']}."


def _line(lead: str, of: Column, found: list[Row]) -> Iterator[str]:
    said = [(of.read(row), f"{row['name']} {of.text(row)}") for row in found]
    said = [each for each in said if each[0] is not None]
    if len(said) > FEW:
        low, high = (end(said, key=lambda each: each[0])[1] for end in (min, max))
        yield f"{lead}: from {low} to {high} ({len(said)} groups)."
    elif said:
        yield f"{lead}: {', '.join(text for _, text in said)}."


def _sweep(summary: Summary) -> Iterator[str]:
    swept = []
    for field, name in short(summary).items():
        values = [cell["changes"][field] for cell in summary["cells"]]
        texts = [f"({shown(v)})" if isinstance(v, Mapping) else shown(v) for v in values]
        swept.append(f"{name} is {', '.join(dict.fromkeys(texts))}")
    yield f"{len(summary['cells'])} runs: {'; '.join(swept)}."
    changes = sorted(changed(summary), key=lambda change: -change.factor)
    for kind in SWEPT:
        yield from [change.text for change in changes if change.kind == kind][:1]
    for cell in summary["cells"]:
        if cell["missing"] or not cell["finished"]:
            yield f"Cell {cell['name']}: {cell['missing'] or 'did not come to its end'}."


@dataclass(frozen=True, slots=True)
class Change:
    """What a sweep did to a column, for the group and policy it changed it most for."""

    column: Column
    kind: str  # of clients
    factor: float  # the largest value by the least
    text: str


def changed(summary: Summary) -> list[Change]:
    """Of each column of SWEPT known to several cells; of priced policies, if there are any."""
    found, everybody = [], rows(summary)
    priced = [row for row in everybody if row["policy"] != "none"]
    for kind, of in ((each, column(h)) for each, headings in SWEPT.items() for h in headings):
        lines: dict[tuple[str, str], list[tuple[Any, str]]] = {}
        for row in priced or everybody:
            if row["kind"] == kind and of.read(row):
                text = f"{of.text(row)} ({label(summary, row['cell'])})"
                lines.setdefault((row["policy"], row["name"]), []).append((of.read(row), text))
        spans = [(max(each)[0] / min(each)[0], key) for key, each in lines.items() if len(each) > 1]
        if spans:
            factor, (policy, name) = max(spans)
            low, high = (end(lines[policy, name])[1] for end in (min, max))
            text = f"Policy {policy}, {of.heading} of {name}: from {low} to {high}."
            found.append(Change(of, kind, factor, text))
    return found
