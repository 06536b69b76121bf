"""The table of a sweep: a row for each cell, policy and group of clients."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable
from rich.text import Text

from experiments.report import tables_old as tables

LESS = {*tables.DETAIL, "client", "cost/image", "slowdown p99"}
"""Headings of a run's columns that a sweep does not show."""

FIRST = ("status", "accuracy", "work", "total (s)", "latency p99 (ms)", "overhead", "price ratio")
"""Those that a terminal is wide enough for."""

Summary = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """A group of clients under one policy in one cell."""

    cell: Summary
    policy: str
    group: Summary


def rows(summary: Summary) -> Iterator[Row]:
    """All of a sweep, in the order of its cells."""
    for cell in summary["cells"]:
        for arm in cell["arms"]:
            for group in arm["groups"]:
                yield Row(cell, arm["policy"], group)


def columns(summary: Summary) -> list[tables.Column]:
    """The telling columns with something in them."""
    groups = [row.group for row in rows(summary)]
    return [
        column
        for column in tables.COLUMNS
        if column.heading not in LESS and any(column.value(group) is not None for group in groups)
    ]


def short(summary: Summary) -> dict[str, str]:
    """The name of each swept field: its last word, or all where that is not enough."""
    fields: list[str] = summary["fields"]
    last = [field.split(".")[-1] for field in fields]
    return {
        field: word if last.count(word) == 1 else field
        for field, word in zip(fields, last, strict=True)
    }


def value(given: Any) -> str:
    """A swept value as text: tables and lists as in TOML, on one line."""
    if isinstance(given, Mapping):
        return ", ".join(f"{key} = {value(each)}" for key, each in given.items())
    return given if isinstance(given, str) else json.dumps(given)


def label(summary: Summary, cell: Summary) -> str:
    """What makes a cell differ from the others."""
    names = short(summary)
    return ", ".join(
        value(change) if isinstance(change, Mapping) else f"{names[field]} = {value(change)}"
        for field, change in cell["changes"].items()
    )


def missing(summary: Summary) -> list[str]:
    """A sentence for each cell there is nothing of, or not all."""
    return [
        f"Cell {cell['name']} is missing: {cell['missing']}."
        if cell["missing"]
        else f"Cell {cell['name']} did not come to its end."
        for cell in summary["cells"]
        if cell["missing"] or not cell["finished"]
    ]


def labels(summary: Summary) -> int:
    """How many columns of the table say which row it is."""
    return len(short(summary)) + 2


def terminal(summary: Summary) -> RichTable:
    """The first columns for a terminal, without what is missing."""
    table = RichTable(title=summary["name"], title_justify="left", box=SIMPLE_HEAD)
    names = short(summary)
    shown = [column for column in columns(summary) if column.heading in FIRST]
    for name in (*names.values(), "policy", "client"):
        table.add_column(Text(name))
    for column in shown:
        table.add_column(tables.folded(column), justify="right", no_wrap=True)
    for row in rows(summary):
        changes = [value(row.cell["changes"][field]) for field in names]
        cells = [tables.cell(column, row.group) for column in shown]
        table.add_row(*map(Text, changes), row.policy, row.group["name"], *cells)
    return table


def markdown(summary: Summary) -> str:
    """The table in Markdown; the cells that are missing are not in it."""
    names, shown = short(summary), columns(summary)
    lines = [
        [
            *(f"`{name}`" for name in names.values()),
            "policy",
            "client",
            *(column.heading for column in shown),
        ],
        [*("---" for _ in names), "---", "---", *("--:" for _ in shown)],
    ]
    for row in rows(summary):
        changes = [value(row.cell["changes"][field]) for field in names]
        cells = [tables.cell(column, row.group) for column in shown]
        lines.append([*changes, row.policy, row.group["name"], *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
