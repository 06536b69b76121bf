"""The figures of a run and of a sweep: pure functions of their summaries.

The clients of a group look alike, and a group looks the same in every figure of a run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle
from statistics import fmean
from textwrap import shorten

from experiments.report.lines import Drawing, Line, Panel, Style, lines
from experiments.report.tables import (
    column,
    label,
    percent,
    ratio,
    rows,
    seconds,
    short,
    shown,
)
from experiments.summary import Summary

PARTS = {
    "solve": "solving",
    "server": "server",
    "network": "network",
    "open": "opening",
    "training": "training",
}
SWEPT = {
    "attack": ("price ratio", "work", "total (s)", "accuracy"),
    "honest": ("overhead", "latency p99 (ms)", "price ratio"),
}
"""Headings of the columns that a sweep may draw, by kind of client."""
APART = 5.0
"""Values further apart than this factor stand on a logarithmic axis."""
MOST = 4
"""Panels of a sweep."""
SIZE = (5.6, 3.3)


def draw(summary: Summary) -> list[Drawing]:
    """The figures that there are data for."""
    if summary["kind"] == "sweep":
        return list(_sweep(summary))
    parts = (_accuracy, _distributions, _work, _time)
    return [drawing for part in parts for drawing in part(summary)]


def _names(summary: Summary) -> list[str]:
    return [group["name"] for group in summary["arms"][0]["groups"]]


def _named(row: Summary) -> str:
    return f"{row['name']}, {row['policy']}"


def _accuracy(summary: Summary) -> Iterator[Drawing]:
    """Accuracy of the surrogates; the last policy is drawn through, the others are broken."""
    *others, last = (arm["policy"] for arm in summary["arms"])
    broken: tuple[Style, ...] = ("--", ":", "-.")
    styles: dict[str, Style] = {last: "-", **dict(zip(others, cycle(broken), strict=False))}
    victim = summary["victim"]["accuracy"]
    for name, key, axis, title, caption in (
        (
            *("images", "asked", "images asked", "What the answers teach"),
            "Accuracy of each surrogate on held-out images against images asked.",
        ),
        (
            *("time", "at", "seconds since the start", "How long it takes"),
            "Accuracy of each surrogate against seconds since its attacker started, training"
            " included.",
        ),
    ):
        found = []
        for row in rows(summary, "clients"):
            points = [each for each in row["checkpoints"] if each["accuracy"] is not None]
            x, y = [each[key] for each in points], [100 * each["accuracy"] for each in points]
            if points:
                found.append(Line(row["group"], x, y, styles[row["policy"]]))
        if not found:
            return
        panel = Panel(
            found,
            x=axis,
            y="accuracy on held-out images (%)",
            log="x" if name == "time" else "",
            bottom=0,
            top=100,
            level=(100 * victim, "the victim") if victim is not None else None,
        )
        meaning = {f"policy {policy}": style for policy, style in styles.items()}
        yield lines(
            *(f"accuracy-by-{name}", title, caption, [panel]),
            names=_names(summary),
            styles=meaning if others else None,
            size=SIZE,
        )


def _distributions(summary: Summary) -> Iterator[Drawing]:
    """Overhead and slowdown of the clients of each large honest group; time of its requests."""
    waits, takes = [], []
    waiting: dict[str, Style] = {"overhead": "-", "slowdown": "--"}
    taking: dict[str, Style] = {"total": "-", "ask": "--"}
    for row in (each for each in rows(summary) if each["quantiles"]):
        for key, style in taking.items():
            times = [1e3 * each for each in row["quantiles"][key]]
            takes.append(Line(_named(row), times, range(101), style, marks=False))
        for key, style in waiting.items() if row["policy"] != "none" else ():
            members = [
                each[key]
                for each in rows(summary, "clients")
                if (each["group"], each["policy"]) == (row["name"], row["policy"])
            ]
            values = sorted(each for each in members if each is not None)
            shares = [100 * (at + 1) / len(values) for at in range(len(values))]
            if values:
                waits.append(Line(_named(row), values, shares, style, marks=False))
    for found, name, title, caption, axis, share, styles in (
        (
            *(waits, "overhead", "What honest clients wait longer"),
            "Share of the honest clients with at most this overhead, (service + work) / service,"
            " and with at most this slowdown.",
            *("times as long as without work", "clients", ("overhead", "slowdown, measured")),
        ),
        (
            *(takes, "latency", "How long honest requests take"),
            "Share of honest requests answered within this time, with the solving and without.",
            *("milliseconds of predict()", "requests", ("answer", "without solving")),
        ),
    ):
        if found:
            log = "x" if _far_apart([value for line in found for value in line.x]) else ""
            panel = Panel(found, "", axis, f"share of {share} (%)", log, bottom=0, top=100)
            meaning: dict[str, Style] = {styles[0]: "-", styles[1]: "--"}
            yield lines(name, title, caption, [panel], styles=meaning, size=SIZE)


def _far_apart(values: Sequence[float]) -> bool:
    return max(values) > APART * min(values) > 0


def _work(summary: Summary) -> Iterator[Drawing]:
    """Work of an image over time, a panel for each policy that asks for some."""
    found: dict[str, list[Line]] = {arm["policy"]: [] for arm in summary["arms"]}
    for row in rows(summary, "clients"):
        if points := [point for point in row["course"] if point[1]]:
            x, y = zip(*points, strict=True)
            found[row["policy"]].append(Line(row["group"], x, y))
    priced = [policy for policy, drawn in found.items() if drawn]
    free = [policy for policy in found if policy not in priced]
    if not priced:
        return
    caption = "Expected hashes for each image of a request, a point for a request."
    if free:
        caption += f" Policy {', '.join(free)} asks for none."
    panels = [
        Panel(
            found[policy],
            title=f"policy {policy}",
            x="seconds since the start" if policy == priced[-1] else "",
            y="hashes for an image",
            log="xy",
        )
        for policy in priced
    ]
    title = "What an image costs"
    yield lines("work", title, caption, panels, names=_names(summary), share=True)


def _time(summary: Summary) -> Iterator[Drawing]:
    """Seconds of each group by part, the policies of a group together."""
    names = _names(summary)
    found = [row for row in rows(summary) if row["images"]]
    found.sort(key=lambda row: names.index(row["name"]))
    spent = [{part: row["seconds"][part] / row["clients"] for part in PARTS} for row in found]
    bars = [
        Line(name, range(len(found)), widths, "bar")
        for part, name in PARTS.items()
        if any(widths := [each[part] for each in spent])
    ]
    if not bars:
        return
    caption = "Seconds of predict() by part, and of training; pauses and start-up are left out."
    if any(row["clients"] > 1 for row in found):
        caption += " Of a group, the mean of its clients."
    totals = [sum(each.values()) for each in spent]
    places = [f"{_named(row)}: {seconds(s)} s" for row, s in zip(found, totals, strict=True)]
    panel = Panel(bars, y="seconds", bottom=0, rows=places)
    size = (SIZE[0], 0.5 + 0.27 * len(found))
    known = PARTS.values()  # a part has its colour whether or not others were drawn
    yield lines("time", "Where the time went", caption, [panel], names=known, size=size)


def numeric(summary: Summary) -> str | None:
    """The one field with several numbers for values, seeds left out; None if there is not one."""
    found = []
    for field in summary["fields"]:
        values = [cell["changes"][field] for cell in summary["cells"]]
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
        if numbers and field.split(".")[-1] != "seed" and len(set(values)) > 1:
            found.append(field)
    return found[0] if len(found) == 1 else None


def _sweep(summary: Summary) -> Iterator[Drawing]:
    """What changed most: against the swept number, or beside each combination."""
    field = numeric(summary)
    known = [
        each
        for kind, headings in SWEPT.items()
        for heading in headings
        if (each := _quantity(summary, kind, heading, field))
    ]
    some = [each for each in known if each[0] > 1] or known[:1]
    most = sorted(some, key=lambda each: each[0])[-MOST:]
    panels = [panel for factor, panel in known if (factor, panel) in most]
    if not panels:
        return
    caption = f"Against {short(summary)[field]}: means." if field else "Each point is a run."
    across = min(2, len(panels))
    height = 2.7 if field else max(1.2, 0.5 + 0.24 * len(summary["cells"]))
    title, size = "What the sweep changed", (4.2 + (0 if field else 0.8), height)
    yield lines("sweep", title, caption, panels, across=across, size=size)


def _quantity(
    summary: Summary, kind: str, heading: str, field: str | None
) -> tuple[float, Panel] | None:
    """By which factor a column changed at most for a client, and its panel; None without values."""
    of, cells = column(heading), summary["cells"]
    found: dict[str, dict[float, list[float]]] = {}
    for row in rows(summary):
        value = of.read(row)
        if row["kind"] != kind or not value:
            continue
        others = [
            f"{word} = {shown(row['cell']['changes'][other])}"
            for other, word in short(summary).items()
            if field not in (None, other) and other.split(".")[-1] != "seed"
        ]
        x = cells.index(row["cell"]) if field is None else row["cell"]["changes"][field]
        line = found.setdefault(", ".join((_named(row), *others)), {})
        line.setdefault(float(x), []).append(value)
    if not found:
        return None
    means = {name: {x: fmean(line[x]) for x in sorted(line)} for name, line in found.items()}
    values = [value for line in means.values() for value in line.values()]
    far = of.form is not percent and _far_apart(values)
    floor = 1.0 if of.form is ratio and min(values) >= 1 else 0.0
    log = "x" if field and _far_apart([x for line in means.values() for x in line]) else ""
    return max(max(line.values()) / min(line.values()) for line in means.values()), Panel(
        [
            Line(name, list(line), list(line.values()), "-" if field else "")
            for name, line in means.items()
        ],
        x=short(summary)[field] if field else "",
        y=f"{heading}{', honest' if kind == 'honest' else ''}",
        log=log + ("y" if far else ""),
        bottom=None if far else floor,
        form=of.form,
        rows=()
        if field
        else [shorten(label(summary, cell), 50, placeholder=" …") for cell in cells],
    )
