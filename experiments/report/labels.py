"""Labels of figures that stand where lines end, and ticks that can be read off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from core.drawing import INK, Axes

ENOUGH = 3  # ticks
STEPS = ((1.0,), (1.0, 2.0, 5.0), (1.0, 2.0, 3.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0))


def plain_log(
    axes: Axes, which: Literal["x", "y"] = "x", form: Callable[[float], str] = "{:g}".format
) -> None:
    """Ticks of a logarithmic axis as plain numbers, enough of them to read off a value."""
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    low, high = low / 1.1, high * 1.1
    axis = axes.xaxis if which == "x" else axes.yaxis
    for steps in STEPS:
        ticks = [m * 10.0**e for e in range(-4, 16) for m in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= ENOUGH:
            break
    axis.set_ticks(ticks, [form(tick) for tick in ticks])
    axis.set_ticks([], minor=True)
    (axes.set_xlim if which == "x" else axes.set_ylim)(low, high)


def label_ends(axes: Axes, ends: Sequence[tuple[float, float, str]]) -> None:
    """Names at the right edge, at the height where their lines end, pushed apart to be legible."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    to_pixels, height = axes.transData, axes.bbox.height
    gap = 11 * figure.dpi / 72
    heights = [float(to_pixels.transform((x, y))[1]) - float(axes.bbox.y0) for x, y, _ in ends]
    for (x, y, name), at in zip(ends, spread(heights, gap), strict=True):
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


def spread(heights: Sequence[float], gap: float) -> list[float]:
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
