"""The figures of a run as SVG, pure functions of its summary.

Colours are from the palette of Okabe and Ito, shifted where it lacks contrast on white or on black;
lines differ in marker and are labelled where they end, so that nothing rests on colour alone. The
clients of a group look alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from statistics import median
from typing import Any, Literal

from core.drawing import INK, Axes, Figure, Line2D, style, svg
from experiments.report.labels import label_ends, plain_log

CLIENTS = ("#009e73", "#d55e00", "#2a86c8", "#b8609a", "#8a7a20", "#7b6fd0")
LineStyle = Literal["-", "--", ":", "-."]
DASHES: tuple[LineStyle, ...] = ("--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P")
PARTS = (
    ("solve", "solving", "#d55e00"),
    ("server", "server", "#2a86c8"),
    ("network", "network", "#7fb8de"),
    ("open", "opening", "#b8609a"),
    ("training", "training", "#8e8e93"),
)

Summary = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure ready to be shown: its title, what to see in it, and the SVG."""

    name: str
    title: str
    caption: str
    svg: str


def draw(summary: Summary) -> list[Drawing]:
    """The figures that this run has data for."""
    from experiments.report import distributions

    drawings = []
    plans = (
        _accuracy_by_images,
        _accuracy_by_time,
        distributions.overheads,
        distributions.latencies,
        _work,
        _time,
    )
    for plan in plans:
        with style():
            drawing = plan(summary)
        if drawing is not None:
            drawings.append(drawing)
    return drawings


def _accuracy_by_images(summary: Summary) -> Drawing | None:
    return _accuracy(
        summary,
        "accuracy-by-images",
        "What the answers teach",
        "Accuracy of each surrogate on held-out images against images asked.",
        "images asked",
        "asked",
        log=False,
    )


def _accuracy_by_time(summary: Summary) -> Drawing | None:
    return _accuracy(
        summary,
        "accuracy-by-time",
        "How long it takes",
        "Accuracy of each surrogate against wall time since its thief started, training included.",
        "seconds since the start",
        "at",
        log=True,
    )


def _accuracy(
    summary: Summary, name: str, title: str, caption: str, label: str, where: str, *, log: bool
) -> Drawing | None:
    figure, axes = _axes()
    looks = _looks(summary)
    ends: list[tuple[float, float, str]] = []
    styles = _styles(summary)
    for arm in summary["arms"]:
        last: dict[str, list[tuple[float, float]]] = {}
        for client in arm["clients"]:
            scored = [c for c in client["checkpoints"] if c["accuracy"] is not None]
            if not scored:
                continue
            x, y = [c[where] for c in scored], [100 * c["accuracy"] for c in scored]
            colour, marker = looks[client["group"]]
            axes.plot(x, y, styles[arm["policy"]], color=colour, marker=marker)
            last.setdefault(client["group"], []).append((x[-1], y[-1]))
        if arm is summary["arms"][-1]:
            ends = [(*_middle(points), group) for group, points in last.items()]
    if not axes.lines:
        return None
    if log:
        axes.set_xscale("log")
        plain_log(axes)
    else:
        axes.set_xlim(left=0)
    axes.set_ylim(0, 100)
    victim = summary["victim"]["accuracy"]
    if victim is not None:
        axes.axhline(100 * victim, color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
        ends.append((axes.get_xlim()[1], 100 * victim, "the victim"))
    axes.set_xlabel(label)
    axes.set_ylabel("accuracy on held-out images (%)")
    label_ends(axes, ends)
    if len(summary["arms"]) > 1:
        _legend(axes, styles)
        caption += " " + _read_styles(styles)
    return Drawing(name, title, caption, svg(figure, f"{title}: {caption}"))


def _work(summary: Summary) -> Drawing | None:
    arms = [arm for arm in summary["arms"] if any(c["work"] for c in arm["clients"])]
    if not arms:
        return None
    figure = Figure(figsize=(5.2, 0.7 + 2.6 * len(arms)), layout="constrained")
    looks = _looks(summary)
    panels = figure.subplots(len(arms), sharex=True, sharey=True, squeeze=False)[:, 0]
    ends: list[dict[str, list[tuple[float, float]]]] = []
    for axes, arm in zip(panels, arms, strict=True):
        last: dict[str, list[tuple[float, float]]] = {}
        for client in arm["clients"]:
            points = [(at, work) for at, work in client["course"] if work]
            if not points:
                continue
            colour, marker = looks[client["group"]]
            x, y = zip(*points, strict=True)
            axes.plot(x, y, color=colour, marker=marker, markersize=3, linewidth=1.2)
            last.setdefault(client["group"], []).append(points[-1])
        ends.append(last)
        axes.set_title(f"policy {arm['policy']}" if len(arms) > 1 else "")
        axes.set_ylabel("hashes an image (expected)")
    panels[0].set_yscale("log")
    panels[0].set_xscale("log")
    plain_log(panels[0])
    panels[-1].set_xlabel("seconds since the start")
    for axes, last in zip(panels, ends, strict=True):  # when all of them have their limits
        label_ends(axes, [(*_middle(points), group) for group, points in last.items()])
    free = [arm["policy"] for arm in summary["arms"] if arm not in arms]
    title = "What an image costs"
    caption = (
        "Work asked for each image of a request, one point a request (of a client with many, some);"
        " both axes are logarithmic."
    )
    if free:
        caption += f" Policy {', '.join(free)} asks for none."
    return Drawing("work", title, caption, svg(figure, f"{title}: {caption}"))


def _time(summary: Summary) -> Drawing | None:
    bars = [
        (group, arm)
        for index in range(len(summary["arms"][0]["groups"]))
        for arm in summary["arms"]
        for group in (arm["groups"][index],)
        if group["images"]
    ]
    if not bars:
        return None
    figure, axes = _axes(height=0.9 + 0.27 * len(bars))
    positions: list[float] = []
    for index, (group, _) in enumerate(bars):
        new = index > 0 and group["name"] != bars[index - 1][0]["name"]
        positions.append((positions[-1] if positions else 0.0) + (1.45 if new else 1.0))
    left = [0.0] * len(bars)
    for part, label, colour in PARTS:
        widths = [group["seconds"][part] / group["clients"] for group, _ in bars]
        if any(widths):
            axes.barh(positions, widths, height=0.8, left=left, color=colour, label=label)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    for position, total in zip(positions, left, strict=True):
        axes.annotate(
            f"{_figures(total)} s",
            (total, position),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.set_yticks(positions, [f"{group['name']}, {arm['policy']}" for group, arm in bars])
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, max(left) * 1.12)
    axes.set_xlabel("seconds")
    figure.legend(loc="outside upper center", ncols=len(PARTS), handlelength=1.0, fontsize=8)
    title = "Where the time went"
    caption = "Seconds of predict() by part, and of training; pauses and start-up are left out."
    if any(group["clients"] > 1 for group, _ in bars):
        caption += " Of a group, the mean of its clients."
    return Drawing("time", title, caption, svg(figure, f"{title}: {caption}"))


def _figures(value: float) -> str:
    """Three significant figures, plain."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _middle(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Where the label of a group points: the furthest it came, at half the height of its ends."""
    return max(x for x, _ in points), median(y for _, y in points)


def _axes(height: float = 3.3) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.2, height), layout="constrained")
    return figure, figure.add_subplot()


def _looks(summary: Summary) -> dict[str, tuple[str, str]]:
    """Colour and marker of each group, the same in every figure."""
    names = [group["name"] for group in summary["arms"][0]["groups"]]
    looks = zip(names, cycle(CLIENTS), cycle(MARKERS), strict=False)
    return {name: (colour, marker) for name, colour, marker in looks}


def _styles(summary: Summary) -> dict[str, LineStyle]:
    """The line style of each arm; the last one is drawn through."""
    rest = cycle(DASHES)
    *others, last = (arm["policy"] for arm in summary["arms"])
    return {**{policy: next(rest) for policy in others}, last: "-"}


def _read_styles(styles: Mapping[str, LineStyle]) -> str:
    names = {"-": "drawn through", "--": "dashed", ":": "dotted", "-.": "dash-dotted"}
    return "; ".join(f"{names[s]}: policy {p}" for p, s in styles.items()).capitalize() + "."


def _legend(axes: Axes, styles: Mapping[str, LineStyle]) -> None:
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.legend(
        handles=[
            Line2D([], [], linestyle=style, color=INK, label=f"policy {name}")
            for name, style in styles.items()
        ],
        loc="outside upper center",
        ncols=len(styles),
        fontsize=8,
    )
