"""The figures of a run as SVG, pure functions of its records.

Colours are from the palette of Okabe and Ito, shifted where it lacks contrast on white or on black;
lines differ in marker and are labelled where they end, so that nothing rests on colour alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from core.drawing import INK, STYLE, svg
from experiments.folder import ArmRun, ClientRun, Run

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


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure ready to be shown: its title, what to see in it, and the SVG."""

    name: str
    title: str
    caption: str
    svg: str


def draw(run: Run) -> list[Drawing]:
    """The figures that this run has data for."""
    drawings = []
    for plan in (_accuracy_by_images, _accuracy_by_time, _work, _time):
        with matplotlib.rc_context(STYLE):
            drawing = plan(run)
        if drawing is not None:
            drawings.append(drawing)
    return drawings


def _accuracy_by_images(run: Run) -> Drawing | None:
    return _accuracy(
        run,
        "accuracy-by-images",
        "What the answers teach",
        "Accuracy of each surrogate on held-out images against images asked.",
        "images asked",
        lambda client: [float(c.asked) for c in client.checkpoints if c.accuracy is not None],
        log=False,
    )


def _accuracy_by_time(run: Run) -> Drawing | None:
    return _accuracy(
        run,
        "accuracy-by-time",
        "How long it takes",
        "Accuracy of each surrogate against wall time since its thief started, training included.",
        "seconds since the start",
        lambda client: [c.at for c in client.checkpoints if c.accuracy is not None],
        log=True,
    )


def _accuracy(
    run: Run,
    name: str,
    title: str,
    caption: str,
    label: str,
    where: Callable[[ClientRun], list[float]],
    *,
    log: bool,
) -> Drawing | None:
    figure, axes = _axes()
    looks = _looks(run)
    ends: list[tuple[float, float, str]] = []
    styles = _styles(run.arms)
    for arm in run.arms:
        for client in arm.clients:
            x = where(client)
            y = [100 * c.accuracy for c in client.checkpoints if c.accuracy is not None]
            if not x:
                continue
            colour, marker = looks[client.name]
            axes.plot(x, y, styles[arm.policy], color=colour, marker=marker)
            if arm is run.arms[-1]:
                ends.append((x[-1], y[-1], client.name))
    if not axes.lines:
        return None
    if log:
        axes.set_xscale("log")
        _plain_log(axes)
    else:
        axes.set_xlim(left=0)
    axes.set_ylim(0, 100)
    victim = next((a.victim_accuracy for a in run.arms if a.victim_accuracy is not None), None)
    if victim is not None:
        axes.axhline(100 * victim, color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
        ends.append((axes.get_xlim()[1], 100 * victim, "the victim"))
    axes.set_xlabel(label)
    axes.set_ylabel("accuracy on held-out images (%)")
    _label_ends(axes, ends)
    if len(run.arms) > 1:
        _legend(axes, styles)
        caption += " " + _read_styles(run.arms)
    return Drawing(name, title, caption, svg(figure, f"{title}: {caption}"))


def _work(run: Run) -> Drawing | None:
    arms = [arm for arm in run.arms if any(r.work for c in arm.clients for r in c.requests)]
    if not arms:
        return None
    figure = Figure(figsize=(5.2 if len(arms) == 1 else 8.4, 3.3), layout="constrained")
    looks = _looks(run)
    panels = figure.subplots(1, len(arms), sharey=True, squeeze=False)[0]
    for axes, arm in zip(panels, arms, strict=True):
        ends = []
        for client in arm.clients:
            points = [(r.at, r.work / r.images) for r in client.requests if r.work]
            if not points:
                continue
            colour, marker = looks[client.name]
            x, y = zip(*points, strict=True)
            axes.plot(x, y, color=colour, marker=marker, markersize=3, linewidth=1.2)
            ends.append((x[-1], y[-1], client.name))
        axes.set_yscale("log")
        axes.set_xscale("log")
        _plain_log(axes)
        axes.set_xlabel("seconds since the start")
        axes.set_title(f"policy {arm.policy}" if len(arms) > 1 else "")
        _label_ends(axes, ends)
    panels[0].set_ylabel("hashes an image (expected)")
    free = [arm.policy for arm in run.arms if arm not in arms]
    title = "What an image costs"
    caption = (
        "Work asked for each image of a request, one point a request; both axes are logarithmic."
    )
    if free:
        caption += f" Policy {', '.join(free)} asks for none."
    return Drawing("work", title, caption, svg(figure, f"{title}: {caption}"))


def _time(run: Run) -> Drawing | None:
    bars = [
        (client, arm)
        for index in range(len(run.arms[0].clients))
        for arm in run.arms
        for client in (arm.clients[index],)
        if client.requests
    ]
    if not bars:
        return None
    figure, axes = _axes(height=0.9 + 0.27 * len(bars))
    positions: list[float] = []
    for index, (client, _) in enumerate(bars):
        new = index > 0 and client.name != bars[index - 1][0].name
        positions.append((positions[-1] if positions else 0.0) + (1.45 if new else 1.0))
    left = [0.0] * len(bars)
    for part, label, colour in PARTS:
        widths = [_seconds(client, part) for client, _ in bars]
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
    axes.set_yticks(positions, [f"{client.name}, {arm.policy}" for client, arm in bars])
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, max(left) * 1.12)
    axes.set_xlabel("seconds")
    figure.legend(loc="outside upper center", ncols=len(PARTS), handlelength=1.0, fontsize=8)
    title = "Where the time went"
    caption = "Seconds of predict() by part, and of training; pauses and start-up are left out."
    return Drawing("time", title, caption, svg(figure, f"{title}: {caption}"))


def _seconds(client: ClientRun, part: str) -> float:
    if part == "training":
        return sum(checkpoint.train_seconds for checkpoint in client.checkpoints)
    return float(sum(getattr(request, part) for request in client.requests))


def _figures(value: float) -> str:
    """Three significant figures, plain."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _axes(height: float = 3.3) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.2, height), layout="constrained")
    return figure, figure.add_subplot()


def _looks(run: Run) -> dict[str, tuple[str, str]]:
    """Colour and marker of each client, the same in every figure."""
    names = [client.name for client in run.arms[0].clients]
    looks = zip(names, cycle(CLIENTS), cycle(MARKERS), strict=False)
    return {name: (colour, marker) for name, colour, marker in looks}


def _styles(arms: Sequence[ArmRun]) -> dict[str, LineStyle]:
    """The line style of each arm; the last one is drawn through."""
    rest = cycle(DASHES)
    return {arm.policy: "-" if arm is arms[-1] else next(rest) for arm in arms}


def _read_styles(arms: Sequence[ArmRun]) -> str:
    names = {"-": "drawn through", "--": "dashed", ":": "dotted", "-.": "dash-dotted"}
    return "; ".join(f"{names[s]}: policy {p}" for p, s in _styles(arms).items()).capitalize() + "."


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


def _plain_log(axes: Axes) -> None:
    """Ticks of a logarithmic time axis as plain numbers, enough of them to read off a value."""
    low, high = axes.get_xlim()
    axes.set_xlim(low / 1.1, high * 1.1)
    ticks = [m * 10.0**e for e in range(-3, 8) for m in (1, 2, 5)]
    axes.set_xticks([t for t in ticks if low / 1.1 <= t <= high * 1.1])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xticks([], minor=True)


def _label_ends(axes: Axes, ends: Sequence[tuple[float, float, str]]) -> None:
    """Names at the right edge, at the height where their lines end, pushed apart to be legible."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    to_pixels, height = axes.transData, axes.bbox.height
    gap = 11 * figure.dpi / 72
    heights = [float(to_pixels.transform((x, y))[1]) - float(axes.bbox.y0) for x, y, _ in ends]
    for (x, y, name), at in zip(ends, _spread(heights, gap), strict=True):
        axes.annotate(
            name,
            (x, y),
            xytext=(1.02, at / height),
            textcoords="axes fraction",
            va="center",
            fontsize=8,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": INK, "alpha": 0.25, "linewidth": 0.6},
        )


def _spread(heights: Sequence[float], gap: float) -> list[float]:
    """Heights moved as little as a sweep from below needs to keep them `gap` apart."""
    order = sorted(range(len(heights)), key=heights.__getitem__)
    groups: list[list[int]] = []

    def centre(group: Sequence[int]) -> float:
        return sum(heights[i] for i in group) / len(group)

    def edge(group: Sequence[int], side: int) -> float:
        return centre(group) + side * gap * (len(group) - 1) / 2

    for index in order:
        groups.append([index])
        while len(groups) > 1 and edge(groups[-1], -1) - edge(groups[-2], 1) < gap:
            groups[-2:] = [groups[-2] + groups[-1]]
    placed = [0.0] * len(heights)
    for group in groups:
        for rank, index in enumerate(group):
            placed[index] = edge(group, -1) + gap * rank
    return placed
