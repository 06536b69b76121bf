"""Figures made of lines: panels that share a legend, as one SVG.

    panel = Panel(
        [Line("random", [100, 200], [61.0, 75.2], band=[1.2, 0.8]),
         Line("the paper", [100, 200], [60.0, 70.0], "--", ink=True)],
        title="digits", x="queries", y="accuracy (%)", level=(96.8, "the victim"), bottom=0,
    )
    drawing = lines("strength-digits", "Accuracy against queries", "Bands: ...", [panel])

Colours are from the palette of Okabe and Ito, shifted where it lacks contrast on white or on black;
lines also differ in their markers, so that nothing rests on colour alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from core.drawing import INK, Axes, Figure, Line2D, MaxNLocator, style, svg
from experiments.report.tables import count

COLOURS = ("#009e73", "#d55e00", "#2a86c8", "#b8609a", "#8a7a20", "#7b6fd0")
MARKERS = ("o", "s", "^", "D", "v", "P")
Style = Literal["-", "--", ":", "-.", "", "bar"]
DOTTED: Any = (0, (1, 2))
STEPS = ((1.0,), (1.0, 2.0, 5.0), (1.0, 2.0, 3.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0))


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure ready to be shown: the name of its file, its title, what to see in it, the SVG."""

    name: str
    title: str
    caption: str
    svg: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line, its markers alone with the style "", or with "bar" a part of the bars of `rows`.

    Lines of one name look alike.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    style: Style = "-"
    marks: bool = True
    band: Sequence[float] | None = None  # half the height of a band around it
    ink: bool = False  # in the colour of text, for what others are compared with


def _plain(value: float) -> str:
    return count(value) if abs(value) >= 1e5 else f"{value:g}"


@dataclass(frozen=True, slots=True)
class Panel:
    """Lines on common axes. With `rows`, x is a place in them and the axes change their sides."""

    lines: Sequence[Line]
    title: str = ""
    x: str = ""  # labels of the axes
    y: str = ""
    log: str = ""  # logarithmic axes: "", "x", "y" or "xy"
    bottom: float | None = None  # where y begins, and where it ends
    top: float | None = None
    level: tuple[float, str] | None = None  # a y that is dotted across, and its name
    form: Callable[[float], str] = _plain  # of ticks of y
    rows: Sequence[str] = ()


def lines(
    name: str,
    title: str,
    caption: str,
    panels: Sequence[Panel],
    *,
    across: int = 1,
    size: tuple[float, float] = (5.2, 2.9),  # inches of a panel
    names: Iterable[str] = (),  # gives these names their looks first, drawn or not
    styles: Mapping[str, Style] | None = None,  # what the styles of lines mean, for the legend
    share: bool | Literal["x"] = False,  # all panels have the same scales, or that of x
    heights: Sequence[float] | None = None,  # of the rows of panels, relative
) -> Drawing:
    """The panels in rows of `across`, under one legend."""
    drawn = [line for panel in panels for line in panel.lines]
    looks: dict[str, tuple[str, str]] = {}
    for each in (*names, *(line.name for line in drawn if not line.ink)):
        looks.setdefault(each, look(len(looks)))
    looks |= {line.name: (INK, "") for line in drawn if line.ink}
    down = -(-len(panels) // across)
    with style():
        figure = Figure(figsize=(size[0] * across, 0.4 + size[1] * down), layout="constrained")
        grid = figure.subplots(
            *(down, across),
            squeeze=False,
            sharex=bool(share),
            sharey=share is True,
            height_ratios=heights,
        ).flatten()
        for axes, panel in zip(grid, panels, strict=False):
            _draw(axes, panel, looks)
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        handles: dict[str, Line2D] = {}
        for line in drawn:
            colour, marker = looks[line.name]
            marker = "s" if line.style == "bar" else marker if line.marks else ""
            through = line.style if line.ink else "" if line.style in ("", "bar") else "-"
            handles.setdefault(line.name, _handle(line.name, through, colour, marker))
        for label, linestyle in (styles or {}).items():
            handles[label] = _handle(label, linestyle)
        for _, label in filter(None, (panel.level for panel in panels)):
            handles[label] = _handle(label, DOTTED)
        room = 72 * size[0] * across / (5 * max(map(len, handles), default=1) + 40)  # points
        figure.legend(
            handles=list(handles.values()),
            loc="outside upper center",
            ncols=max(1, min(len(handles), int(room))),
            fontsize=8,
        )
        return Drawing(name, title, caption, svg(figure, f"{title}: {caption}"))


def _handle(label: str, linestyle: Any, colour: str = INK, marker: str = "") -> Line2D:
    return Line2D([], [], color=colour, marker=marker, linestyle=linestyle, label=label)


def look(place: int) -> tuple[str, str]:
    """Colour and marker; no pair comes again before all have been."""
    return COLOURS[place % len(COLOURS)], MARKERS[(place + place // len(COLOURS)) % len(MARKERS)]


def _draw(axes: Axes, panel: Panel, looks: Mapping[str, tuple[str, str]]) -> None:
    across, up = (panel.y, panel.x) if panel.rows else (panel.x, panel.y)
    axes.set(title=panel.title, xlabel=across, ylabel=up)
    ends = np.zeros(len(panel.rows))  # where the bars end so far
    for line in panel.lines:
        colour, marker = looks[line.name]
        if line.style == "bar":
            places = np.asarray(line.x, int)
            axes.barh(places, line.y, height=0.8, left=ends[places], color=colour)
            ends[places] += line.y
            continue
        axes.plot(
            *((line.y, line.x) if panel.rows else (line.x, line.y)),
            color=colour,
            linestyle=line.style or "none",
            marker=marker if line.marks else "",
            markersize=4,
            linewidth=1.4,
        )
        if line.band is not None:
            low, high = np.subtract(line.y, line.band), np.add(line.y, line.band)
            axes.fill_between(line.x, low, high, color=colour, alpha=0.2, linewidth=0)
    if panel.level is not None:
        axes.axhline(panel.level[0], color=INK, linewidth=0.9, linestyle=DOTTED)
    if panel.rows:
        axes.set_yticks(range(len(panel.rows)), panel.rows)
        axes.set_ylim(len(panel.rows) - 0.5, -0.5)
        _scale(axes, "x", log="y" in panel.log, form=panel.form)
        axes.set_xlim(panel.bottom, panel.top)
    else:
        _scale(axes, "x", log="x" in panel.log, form=_plain)
        _scale(axes, "y", log="y" in panel.log, form=panel.form)
        axes.set_ylim(panel.bottom, panel.top)


def _scale(
    axes: Axes, which: Literal["x", "y"], *, log: bool, form: Callable[[float], str]
) -> None:
    """Gives an axis ticks that can be read off, also where it is logarithmic."""
    axis = axes.xaxis if which == "x" else axes.yaxis

    def tick(value: float, _: object = None) -> str:
        """Without zeros at the end of its digits."""
        return re.sub(r"\.0+(?!\d)|(\.\d*?[1-9])0+(?!\d)", r"\1", form(value))

    if not log:
        axis.set_major_locator(MaxNLocator(5))
        axis.set_major_formatter(tick)
        return
    axes.set(**{f"{which}scale": "log"})
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    low, high = low / 1.1, high * 1.1
    for steps in STEPS:
        ticks = [step * 10.0**power for power in range(-4, 16) for step in steps]
        ticks = [each for each in ticks if low <= each <= high]
        if len(ticks) >= 3:
            break
    axis.set_ticks(ticks, labels=[tick(each) for each in ticks])
    axis.set_ticks([], minor=True)
    axes.set(**{f"{which}lim": (low, high)})
