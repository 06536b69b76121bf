"""The figures of a run and of a sweep: pure functions of their summaries.

The clients of a group look alike, and a group looks the same in every figure of a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from statistics import fmean
from typing import Any

from core.drawing import Figure, style, svg
from experiments.report.headlines import Change, changed
from experiments.report.lines import Drawing, Line, Panel, Style, lines
from experiments.report.tables import label, percent, ratio, rows, seconds, short, shown
from experiments.summary import MIN_CLIENTS_FOR_QUANTILES, Summary

PARTS = (
    ("solve", "solving", "#d55e00"),
    ("server", "server", "#2a86c8"),
    ("network", "network", "#7fb8de"),
    ("open", "opening", "#b8609a"),
    ("training", "training", "#8e8e93"),
)
CAPTIONS = {
    "images": (
        "What the answers teach",
        "Accuracy of each surrogate on held-out images against images asked.",
    ),
    "time": (
        "How long it takes",
        "Accuracy of each surrogate against seconds since its attacker started, training included.",
    ),
}
WAITS: tuple[tuple[str, Style], ...] = (("overhead", "-"), ("slowdown", "--"))
LATENCIES: tuple[tuple[str, Style], ...] = (("total", "-"), ("ask", "--"))
APART = 5.0
"""Values further apart than this factor stand on a logarithmic axis."""
MOST = 4
"""Panels of a sweep."""


def draw(summary: Summary) -> list[Drawing]:
    """The figures that there are data for."""
    if summary["kind"] == "sweep":
        return _sweep(summary)
    found = (
        _accuracy(summary, "images"),
        _accuracy(summary, "time"),
        _waiting(summary),
        _latency(summary),
        _work(summary),
        _time(summary),
    )
    return [drawing for drawing in found if drawing is not None]


def _names(summary: Summary) -> list[str]:
    return [group["name"] for group in summary["arms"][0]["groups"]]


def _accuracy(summary: Summary, against: str) -> Drawing | None:
    """Accuracy of the surrogates; the last policy is drawn through, the others are broken."""
    *others, last = (arm["policy"] for arm in summary["arms"])
    broken: tuple[Style, ...] = ("--", ":", "-.")
    styles: dict[str, Style] = {last: "-", **dict(zip(others, cycle(broken), strict=False))}
    key = "asked" if against == "images" else "at"
    found = []
    for row in rows(summary, "clients"):
        points = [point for point in row["checkpoints"] if point["accuracy"] is not None]
        if points:
            x, y = [each[key] for each in points], [100 * each["accuracy"] for each in points]
            found.append(Line(row["group"], x, y, styles[row["policy"]]))
    if not found:
        return None
    victim = summary["victim"]["accuracy"]
    panel = Panel(
        found,
        x="images asked" if against == "images" else "seconds since the start",
        y="accuracy on held-out images (%)",
        log="" if against == "images" else "x",
        bottom=0,
        top=100,
        level=(100 * victim, "the victim") if victim is not None else None,
    )
    return lines(
        f"accuracy-by-{against}",
        *CAPTIONS[against],
        [panel],
        names=_names(summary),
        styles={f"policy {policy}": each for policy, each in styles.items()} if others else None,
        size=(5.6, 3.3),
    )


def _waiting(summary: Summary) -> Drawing | None:
    """Overhead and slowdown over the clients of each large honest group."""
    found = []
    for row in rows(summary):
        crowd = row["clients"] >= MIN_CLIENTS_FOR_QUANTILES and row["kind"] == "honest"
        for key, look in WAITS if crowd and row["policy"] != "none" else ():
            values = sorted(
                each[key]
                for each in rows(summary, "clients")
                if (each["group"], each["policy"]) == (row["name"], row["policy"])
                and each[key] is not None
            )
            shares = [100 * (at + 1) / len(values) for at in range(len(values))]
            found.append(Line(_named(row), values, shares, look, marks=False))
    return _shares(
        ("overhead", "What honest clients wait longer"),
        "Share of the honest clients with at most this overhead, (service + work) / service, and"
        " with at most this slowdown.",
        ("times as long as without work", "share of clients (%)"),
        found,
        {"overhead": "-", "slowdown, measured": "--"},
    )


def _latency(summary: Summary) -> Drawing | None:
    """Milliseconds of the requests of each large honest group."""
    found = [
        Line(_named(row), [1e3 * each for each in row["quantiles"][key]], range(101), look, False)
        for row in rows(summary)
        for key, look in (LATENCIES if row["quantiles"] else ())
    ]
    return _shares(
        ("latency", "How long honest requests take"),
        "Share of honest requests answered within this time, with the solving and without.",
        ("milliseconds of predict()", "share of requests (%)"),
        found,
        {"answer": "-", "without solving": "--"},
    )


def _named(row: Summary) -> str:
    return f"{row['name']}, {row['policy']}"


def _shares(
    names: tuple[str, str],
    caption: str,
    labels: tuple[str, str],
    found: Sequence[Line],
    styles: Mapping[str, Style],
) -> Drawing | None:
    """Cumulative distributions; None if there is none."""
    values = [value for line in found for value in line.x]
    if not values:
        return None
    log = "x" if _far_apart(values) else ""
    panel = Panel([line for line in found if line.x], "", *labels, log, bottom=0, top=100)
    return lines(*names, caption, [panel], styles=styles, size=(5.6, 3.3))


def _far_apart(values: Sequence[float]) -> bool:
    return max(values) > APART * min(values) > 0


def _work(summary: Summary) -> Drawing | None:
    """Work of an image over time, a panel for each policy that asks for some."""
    panels, free = [], []
    for arm in summary["arms"]:
        found = []
        for client in arm["clients"]:
            if points := [point for point in client["course"] if point[1]]:
                x, y = zip(*points, strict=True)
                found.append(Line(client["group"], x, y))
        if found:
            title, label = f"policy {arm['policy']}", "hashes for an image"
            panels.append(Panel(found, title, y=label, log="xy"))
        else:
            free.append(arm["policy"])
    if not panels:
        return None
    panels[-1] = replace(panels[-1], x="seconds since the start")
    caption = "Expected hashes for each image of a request, a point for a request."
    if free:
        caption += f" Policy {', '.join(free)} asks for none."
    title = "What an image costs"
    return lines("work", title, caption, panels, names=_names(summary), share=True)


def _time(summary: Summary) -> Drawing | None:
    """Seconds of each group by part, the policies of a group together."""
    found = [row for row in rows(summary) if row["images"]]
    if not found:
        return None
    names = _names(summary)
    found.sort(key=lambda row: names.index(row["name"]))
    places: list[float] = []
    for before, row in zip([None, *found], found, strict=False):
        new = before is not None and before["name"] != row["name"]
        places.append((places[-1] if places else 0.0) + (1.45 if new else 1.0))
    title = "Where the time went"
    caption = "Seconds of predict() by part, and of training; pauses and start-up are left out."
    if any(row["clients"] > 1 for row in found):
        caption += " Of a group, the mean of its clients."
    with style():
        figure = Figure(figsize=(5.2, 0.9 + 0.27 * len(found)), layout="constrained")
        axes = figure.add_subplot()
        left = [0.0] * len(found)
        for part, name, colour in PARTS:
            widths = [row["seconds"][part] / row["clients"] for row in found]
            if any(widths):
                axes.barh(places, widths, height=0.8, left=left, color=colour, label=name)
            left = [start + width for start, width in zip(left, widths, strict=True)]
        for place, total in zip(places, left, strict=True):
            where: Any = {"xytext": (4, 0), "textcoords": "offset points", "va": "center"}
            axes.annotate(f"{seconds(total)} s", (total, place), fontsize=8, **where)
        axes.set_yticks(places, [_named(row) for row in found])
        axes.invert_yaxis()
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(0, max(left) * 1.12)
        axes.set_xlabel("seconds")
        figure.legend(loc="outside upper center", ncols=len(PARTS), handlelength=1.0, fontsize=8)
        return Drawing("time", title, caption, svg(figure, f"{title}: {caption}"))


def numeric(summary: Summary) -> str | None:
    """The one field with several numbers for values, seeds left out; None if there is not one."""
    found = []
    for field in summary["fields"]:
        values = [cell["changes"][field] for cell in summary["cells"]]
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
        if numbers and field.split(".")[-1] != "seed" and len(set(values)) > 1:
            found.append(field)
    return found[0] if len(found) == 1 else None


def _sweep(summary: Summary) -> list[Drawing]:
    """What changed most: against the swept number, or beside each combination."""
    field = numeric(summary)
    known = changed(summary)
    some = [each for each in known if each.factor > 1] or known[:1]
    most = sorted(some, key=lambda change: change.factor)[-MOST:]
    panels = [_quantity(summary, each, field) for each in known if each in most]
    if not panels:
        return []
    caption = f"Against {short(summary)[field]}: means." if field else "Each point is a run."
    across = min(2, len(panels))
    height = 2.7 if field else max(1.2, 0.5 + 0.24 * len(summary["cells"]))
    title, size = "What the sweep changed", (4.2 + (0 if field else 0.8), height)
    return [lines("sweep", title, caption, panels, across=across, size=size)]


def _quantity(summary: Summary, change: Change, field: str | None) -> Panel:
    places = {cell["name"]: place for place, cell in enumerate(summary["cells"])}
    points: dict[str, dict[float, list[float]]] = {}
    for row in rows(summary):
        value = change.column.read(row)
        if row["kind"] != change.kind or not value:
            continue
        others = [
            f"{word} = {shown(row['cell']['changes'][other])}"
            for other, word in short(summary).items()
            if field not in (None, other) and other.split(".")[-1] != "seed"
        ]
        x = places[row["cell"]["name"]] if field is None else row["cell"]["changes"][field]
        line = points.setdefault(", ".join((row["name"], row["policy"], *others)), {})
        line.setdefault(float(x), []).append(value)
    values = [value for line in points.values() for each in line.values() for value in each]
    xs = [x for line in points.values() for x in line]
    far = change.column.form is not percent and _far_apart(values)
    floor = 1.0 if change.column.form is ratio and min(values) >= 1 else 0.0
    heading = f"{change.column.heading}{', honest' if change.kind == 'honest' else ''}"
    form: Any = change.column.form
    return Panel(
        [
            Line(name, sorted(line), [fmean(line[x]) for x in sorted(line)], "-" if field else "")
            for name, line in points.items()
        ],
        x=short(summary)[field] if field else "",
        y=heading,
        log=("x" if field and _far_apart(xs) else "") + ("y" if far else ""),
        bottom=None if far else floor,
        form=form,
        rows=() if field else [label(summary, cell) for cell in summary["cells"]],
    )
