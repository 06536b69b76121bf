"""The figure of a sweep: quantities against the swept field, or beside each combination."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, Literal

from core.drawing import Axes, Figure, Line2D, MaxNLocator, style, svg
from experiments.report.figures import CLIENTS, MARKERS, Drawing
from experiments.report.labels import plain_log
from experiments.report.sweep_findings import Quantity, changed
from experiments.report.sweep_tables import label, rows, short, value

MOST = 4  # panels
WIDTH = 4.2  # inches of one
WIDE = 10.0  # swept values further apart than this factor stand on a logarithmic axis
APART = 3.0  # so do quantities

Summary = Mapping[str, Any]
Points = list[tuple[float, float]]


def draw(summary: Summary) -> list[Drawing]:
    """The figure of what changed most, if there is a quantity that more than one cell knows."""
    field = numeric(summary)
    known = changed(summary)
    changes = [change for change in known if change.factor > 1] or known[:1]
    most = sorted(changes, key=lambda change: -change.factor)[:MOST]
    panels = [
        (change.quantity, _lines(summary, change.quantity, field))
        for change in changes
        if change in most
    ]
    if not panels:
        return []
    across = min(2, len(panels))
    down = -(-len(panels) // across)
    labels = [label(summary, cell) for cell in summary["cells"]]
    height = 2.7 if field else max(1.2, 0.5 + 0.24 * len(labels))
    with style():
        figure = Figure(figsize=(WIDTH * across, 0.5 + height * down), layout="constrained")
        grid = figure.subplots(down, across, squeeze=False, sharey=field is None)
        axes = list(grid.flatten())
        names = list(dict.fromkeys(name for _, lines in panels for name in lines))
        looks = {name: _look(place) for place, name in enumerate(names)}
        for each, (quantity, lines) in zip(axes, panels, strict=False):
            for name, points in lines.items():
                colour, marker = looks[name]
                _curve(each, points, colour, marker) if field else each.plot(
                    [y for _, y in points], [x for x, _ in points], marker, color=colour
                )
            if field:
                _dress(each, quantity, short(summary)[field], lines)
            else:
                each.set_xlabel(quantity.axis)
                each.set_yticks(range(len(labels)), labels)
                _scale(each, "x", quantity, lines)
        if field is None:
            axes[0].invert_yaxis()
        for each in axes[len(panels) :]:
            each.set_axis_off()
        figure.legend(
            handles=[
                Line2D([], [], color=colour, marker=marker, label=name)
                for name, (colour, marker) in looks.items()
            ],
            loc="outside upper center",
            ncols=max(1, int(72 * WIDTH * across / (5 * max(map(len, names)) + 40))),  # points
            fontsize=8,
        )
        title = "What the sweep changed"
        caption = (
            f"Against {short(summary)[field]}; a point is a run, a line joins means."
            if field
            else "Each point is a run."
        )
        text = svg(figure, f"{title}: {caption}")
    return [Drawing("sweep", title, caption, text)]


def numeric(summary: Summary) -> str | None:
    """The one field with several numbers for values, seeds left out; None if there is not one."""
    found = []
    for field in summary["fields"]:
        values = [cell["changes"][field] for cell in summary["cells"]]
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
        if numbers and field.split(".")[-1] != "seed" and len(set(values)) > 1:
            found.append(field)
    return found[0] if len(found) == 1 else None


def _lines(summary: Summary, quantity: Quantity, field: str | None) -> dict[str, Points]:
    """The points of each group under each policy, and with each of the other changes."""
    lines: dict[str, Points] = {}
    places = {cell["name"]: place for place, cell in enumerate(summary["cells"])}
    for row in rows(summary):
        number = quantity.read(row.group)
        if row.group["kind"] != quantity.kind or number is None:
            continue
        name = f"{row.group['name']}, {row.policy}"
        if field is not None:
            others = [
                f"{word} = {value(row.cell['changes'][other])}"
                for other, word in short(summary).items()
                if other != field and other.split(".")[-1] != "seed"
            ]
            name = ", ".join((name, *others))
        x = row.cell["changes"][field] if field is not None else places[row.cell["name"]]
        lines.setdefault(name, []).append((float(x), number))
    return lines


def _curve(axes: Axes, points: Points, colour: str, marker: str) -> None:
    by_x: dict[float, list[float]] = {}
    for x, y in sorted(points):
        by_x.setdefault(x, []).append(y)
    axes.plot([*by_x], [fmean(y) for y in by_x.values()], color=colour)
    axes.plot([x for x, _ in points], [y for _, y in points], marker, color=colour)


def _dress(axes: Axes, quantity: Quantity, field: str, lines: Mapping[str, Points]) -> None:
    values = sorted({x for points in lines.values() for x, _ in points})
    if values[0] > 0 and values[-1] > WIDE * values[0]:
        axes.set_xscale("log")
        axes.set_xticks([], minor=True)
    _ticks(axes, values)
    axes.set_xlabel(field)
    axes.set_ylabel(quantity.axis)
    _scale(axes, "y", quantity, lines)


def _scale(
    axes: Axes, which: Literal["x", "y"], quantity: Quantity, lines: Mapping[str, Points]
) -> None:
    """The axis of a quantity: from its floor, or logarithmic where its values are far apart."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    values = [y for points in lines.values() for _, y in points]
    if quantity.floor is not None:
        top = quantity.floor + 1.12 * max(max(values) - quantity.floor, 0.02)
        (axes.set_xlim if which == "x" else axes.set_ylim)(quantity.floor, top)
    elif max(values) > APART * min(values):
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        plain_log(axes, which, lambda value: _tick(quantity, value))
        return
    axis.set_major_locator(MaxNLocator(5))
    axis.set_major_formatter(lambda value, _: _tick(quantity, value))


def _tick(quantity: Quantity, value: float) -> str:
    """A value without zeros behind its point."""
    return re.sub(r"\.0+(?!\d)|(\.\d*?[1-9])0+(?!\d)", r"\1", quantity.form(value))


def _look(place: int) -> tuple[str, str]:
    """Colour and marker; no pair comes again before all have been."""
    return CLIENTS[place % len(CLIENTS)], MARKERS[(place + place // len(CLIENTS)) % len(MARKERS)]


def _ticks(axes: Axes, values: Sequence[float]) -> None:
    """At the values themselves, as long as they are few."""
    if len(values) <= 8:
        axes.set_xticks(values, [f"{v:g}" for v in values])
