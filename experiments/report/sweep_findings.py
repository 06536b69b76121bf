"""What a sweep says, in sentences computed from its summary."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from experiments.report.findings import listed
from experiments.report.sweep_tables import label, missing, rows, short, value
from experiments.report.tables_old import count, duration, percent, ratio

Summary = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number of a group of one kind that a sweep may change."""

    name: str
    kind: str
    read: Callable[[Summary], float | None]
    form: Callable[[float], str]
    axis: str  # what a figure's axis says
    floor: float | None = None  # where the axis begins; None: it may be logarithmic


def _p99(group: Summary) -> float | None:
    return group["latency"]["ask"]["p99"] if group["latency"] else None


def _seconds(group: Summary) -> float | None:
    seconds: float = group["seconds"]["total"]
    return seconds / group["clients"] or None


def _overhead(group: Summary) -> float | None:
    return group["overhead"] if group["work"] else None  # without work it is 1 by definition


QUANTITIES = (
    Quantity("the price ratio of", "attack", lambda g: g["price_ratio"], ratio, "price ratio"),
    Quantity("the work of", "attack", lambda g: g["work"] or None, count, "work (hashes)"),
    Quantity("the time of", "attack", _seconds, duration, "time of all answers"),
    Quantity("the accuracy of", "attack", lambda g: g["accuracy"], percent, "accuracy", 0.0),
    Quantity("the overhead of", "honest", _overhead, ratio, "overhead, honest", 1.0),
    Quantity("the p99 latency of", "honest", _p99, duration, "p99 latency, honest", 0.0),
    Quantity(
        "the price ratio of", "honest", lambda g: g["price_ratio"], ratio, "price ratio, honest"
    ),
)


def sentences(summary: Summary) -> list[str]:
    """What was swept; what it changed most, for thieves and for honest clients; what is missing."""
    many = len(summary["cells"])
    swept = [
        f"{name} is {listed([_braced(each) for each in _values(summary, field)])}"
        for field, name in short(summary).items()
    ]
    found = [f"{many} combination{'s' * (many != 1)}: {'; '.join(swept)}."]
    changes = sorted(changed(summary), key=lambda change: -change.factor)
    kinds = [change.quantity.kind for change in changes]
    first = [changes[kinds.index(kind)] for kind in ("attack", "honest") if kind in kinds]
    rest = [change for change in changes if change not in first]
    return found + [change.sentence for change in (*first, *rest)[:2]] + missing(summary)


def _braced(given: Any) -> str:
    """A swept value in a list of them: tables have commas of their own."""
    return f"({value(given)})" if isinstance(given, Mapping) else value(given)


def _values(summary: Summary, field: str) -> list[Any]:
    values: list[Any] = []
    for cell in summary["cells"]:
        if cell["changes"][field] not in values:
            values.append(cell["changes"][field])
    return values


@dataclass(frozen=True, slots=True)
class Change:
    """What a sweep did to a quantity, for the group and policy it changed it most for."""

    quantity: Quantity
    factor: float  # the largest value by the least
    sentence: str


def changed(summary: Summary) -> list[Change]:
    """Of each quantity that several cells know; where there are prices, policy `none` is left out.

    In the order of QUANTITIES.
    """
    found = []
    priced = any(row.policy != "none" for row in rows(summary))
    for quantity in QUANTITIES:
        lines: dict[tuple[str, str], list[tuple[float, str]]] = {}
        for row in rows(summary):
            number = quantity.read(row.group)
            if priced and row.policy == "none":
                continue
            if row.group["kind"] == quantity.kind and number is not None:
                points = lines.setdefault((row.group["name"], row.policy), [])
                points.append((number, label(summary, row.cell)))
        spans = [
            (max(points)[0] / min(points)[0], name, policy, min(points), max(points))
            for (name, policy), points in lines.items()
            if len(points) > 1 and min(points)[0] > 0
        ]
        if spans:
            factor, name, policy, low, high = max(spans, key=lambda span: span[0])
            found.append(Change(quantity, factor, _sentence(quantity, name, policy, low, high)))
    return found


def _sentence(
    quantity: Quantity,
    name: str,
    policy: str,
    low: tuple[float, str],
    high: tuple[float, str],
) -> str:
    least, most = quantity.form(low[0]), quantity.form(high[0])
    said = f"Under policy {policy} {quantity.name} {name}"
    if least == most:
        return f"{said} is {most} in every combination."
    return f"{said} goes from {least} ({low[1]}) to {most} ({high[1]})."
