"""Accuracy against queries, one panel an attack, with the paper's own curve dashed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from core.drawing import INK, Axes, Figure, Line2D, style, svg
from experiments.report.figures import CLIENTS, MARKERS, Drawing
from experiments.strength.plan import Bench
from experiments.strength.tables import Content, Paper, Points, Result, baseline, results

COLUMNS = 3


def draw(content: Content, bench: Bench, paper: Paper) -> Drawing:
    """The figure of one dataset; what has no surrogate yet has no panel."""
    by_attack: dict[str, list[Result]] = {}
    everything = results(content, bench)
    for result in everything:
        by_attack.setdefault(result.trial.attack, []).append(result)
    title = f"{bench.title}: accuracy against queries"
    caption = (
        "Surrogates on all held-out images, policy none; bands are 95 % intervals of the mean over"
        " seeds. Dashed: the paper's record of the attack. Dotted: the victim."
    )
    with style():
        rows = math.ceil(len(by_attack) / COLUMNS)
        figure = Figure(figsize=(8.4, 0.5 + 2.0 * rows), layout="constrained")
        panels = figure.subplots(rows, COLUMNS, squeeze=False).flatten()
        for axes, (attack, found) in zip(panels, by_attack.items(), strict=False):
            _panel(axes, found, everything, paper.get(bench.short, {}))
            victim = 100 * content["victim"]["accuracy"]
            axes.axhline(victim, color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
            axes.set_title(attack)
        for axes in panels[len(by_attack) :]:
            axes.set_axis_off()
        figure.supxlabel("queries", fontsize=9)
        figure.supylabel("accuracy on held-out images (%)", fontsize=9)
        figure.legend(
            handles=[
                Line2D([], [], color=CLIENTS[0], marker=MARKERS[0], label="here"),
                Line2D([], [], color=INK, linestyle="--", label="the paper"),
                Line2D([], [], color=INK, linestyle=":", label="the victim"),
            ],
            loc="outside upper center",
            ncols=3,
            fontsize=8,
        )
        text = svg(figure, f"{title}: {caption}")
    return Drawing(f"strength-{bench.short}", title, caption, text)


def _panel(
    axes: Axes, found: Sequence[Result], everything: Sequence[Result], paper: Mapping[str, Points]
) -> None:
    last = max(result.queries[-1] for result in found)
    for result, colour, marker in zip(found, CLIENTS, MARKERS, strict=False):
        x = result.queries
        estimates = [result.accuracy(queries) for queries in x]
        y = [100 * each.mean for each in estimates]
        label = result.trial.variant
        axes.plot(x, y, color=colour, marker=marker, markersize=3, linewidth=1.2, label=label)
        if len(result.cells) > 1:
            half = [100 * (each.half or 0.0) for each in estimates]
            low = [a - b for a, b in zip(y, half, strict=True)]
            high = [min(100.0, a + b) for a, b in zip(y, half, strict=True)]
            axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    for name in dict.fromkeys(result.trial.paper for result in found):
        points = [(q, a) for q, a in paper.get(name, ()) if 0 < q <= 1.1 * last]
        if points:
            axes.plot(*zip(*points, strict=True), color=INK, linestyle="--", linewidth=1.0)
    for rival in filter(None, (baseline(result.trial, everything) for result in found)):
        y = [100 * rival.accuracy(queries).mean for queries in rival.queries]
        axes.plot(rival.queries, y, color=INK, alpha=0.5, linewidth=1.0, label="random, likewise")
    axes.set_xlim(0, 1.05 * last)
    lowest = min(float(np.min(np.asarray(line.get_ydata(), float))) for line in axes.lines)
    axes.set_ylim(10 * math.floor(lowest / 10), 100)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g} k" if value else "0")
    if any(result.trial.variant for result in found):
        axes.legend(fontsize=7, loc="lower right")
