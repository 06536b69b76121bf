"""What a clone is worth against how far answers were moved, on his images and on honest ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from core.drawing import INK, Axes, Figure, style, svg
from experiments.defences.plan import Bench, label
from experiments.report.figures import CLIENTS, MARKERS, Drawing

Cells = Sequence[Mapping[str, Any]]

CAPTION = (
    "Accuracy of clones (mean over seeds) against the mean L1 distance of answers, on the images"
    " the thief asked (left) and on honest ones (right). Dotted: without a defence."
)


def draw(content: Mapping[str, Any], bench: Bench) -> Drawing:
    """The figure of one dataset: a row for each thief, one point for each defence that he met."""
    thefts, benign = content["thefts"], content["benign"]
    thieves = [thief.name for thief in bench.thieves]
    title = f"{bench.title}: clones against the distance of answers"
    with style():
        figure = Figure(figsize=(8.4, 0.6 + 2.3 * len(thieves)), layout="constrained")
        panels = figure.subplots(len(thieves), 2, squeeze=False, sharey="row", sharex=True)
        for (left, right), thief in zip(panels, thieves, strict=True):
            mine = [cell for cell in thefts if cell["thief"] == thief]
            _panel(left, bench, mine, mine)
            _panel(right, bench, mine, benign)
            left.set_ylabel(thief)
        panels[0][0].set_title("the thief's images")
        panels[0][1].set_title("honest images")
        figure.supxlabel("mean L1 distance of an answer", fontsize=9)
        figure.supylabel("accuracy of the clone (%)", fontsize=9)
        handles, names = panels[0][0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=4, fontsize=8)
        text = svg(figure, f"{title}: {CAPTION}")
    return Drawing(f"defences-{bench.short}", title, CAPTION, text)


def _panel(axes: Axes, bench: Bench, thefts: Cells, moved: Cells) -> None:
    """Points of each kind of defence in one colour and marker, whatever its settings."""
    accuracy, distance = _means(thefts, "accuracy"), _means(moved, "l1")
    if "none" in accuracy:
        axes.axhline(100 * accuracy["none"], color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
    kinds: dict[str, list[str]] = {}
    for shield in bench.shields:
        kind = f"{shield.defence}{', untrained' if shield.untrained else ''}"
        kinds.setdefault(kind, []).append(label(shield))
    del kinds["none"]
    for place, (kind, names) in enumerate(kinds.items()):
        points = sorted(
            (distance[name], 100 * accuracy[name])
            for name in names
            if name in distance and name in accuracy
        )
        if points:
            axes.plot(
                *zip(*points, strict=True),
                color=CLIENTS[place % len(CLIENTS)],
                marker=MARKERS[(place + place // len(CLIENTS)) % len(MARKERS)],
                markersize=4,
                linestyle="none",
                label=kind,
            )
    axes.set_ylim(0, 100)


def _means(cells: Cells, key: str) -> dict[str, float]:
    names = dict.fromkeys(cell["defence"] for cell in cells)
    return {
        name: float(np.mean([cell[key] for cell in cells if cell["defence"] == name]))
        for name in names
    }
