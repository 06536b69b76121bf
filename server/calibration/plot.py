"""What a calibration found, as a figure: honest means and their band, and what honest users pay."""

from pathlib import Path
from typing import Literal

import numpy as np

from core.drawing import INK, Figure, style, svg
from core.learning.artifacts import write_atomically
from server.calibration import Calibration
from server.ledger import WINDOWS

COLOURS = ("#2a86c8", "#009e73", "#d55e00")
DASHES: tuple[Literal["-", "--", ":"], ...] = ("-", "--", ":")


def draw(found: Calibration, file: Path) -> Path:
    """Writes the figure whole or not at all, and returns its path. Raises OSError."""
    with style():
        figure = Figure(figsize=(4.0 * (len(found.scores) + 1), 3.6), layout="constrained")
        *bands, bars = figure.subplots(1, len(found.scores) + 1)
        for axes, score in zip(bands, found.scores, strict=True):
            images, limits = score.band.images, score.band.limits
            for window, row, colour, dash in zip(WINDOWS, limits, COLOURS, DASHES, strict=True):
                axes.plot(images, row, dash, color=colour, label=f"window of {window}")
            axes.axhline(
                score.honest, color=INK, linewidth=0.9, linestyle=(0, (1, 2)), label="mean"
            )
            axes.set_xscale("log")
            axes.set_xlabel("images of an account")
            above = score.threshold
            what = f"above {above:.3g}" if above else ""
            axes.set_ylabel(f"privacy cost of an image {what}".strip())
            axes.set_title(f"99 % of honest clients stay below\nkappa {score.kappa:g}")
            axes.set_ylim(bottom=0)
            axes.legend()
        kinds = list(found.overhead)
        rows = np.arange(len(kinds))[::-1]
        for what, marker, colour, size in (
            ("median", "o", COLOURS[0], 9.0),
            ("p99", "s", COLOURS[2], 4.5),
        ):
            values = [getattr(found.overhead[kind], what) for kind in kinds]
            bars.plot(
                values,
                rows,
                marker,
                color=colour,
                label=what,
                markersize=size,
                fillstyle="none" if what == "median" else "full",
            )
        bars.axvline(found.bearable, color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
        bars.set_yticks(rows, kinds)
        bars.set_xscale("log", base=2)
        bars.set_xlim(left=1)
        bars.xaxis.set_major_formatter("{x:g}")
        bars.set_xlabel("(service + work) / service, images not seen before")
        bars.set_title("What honest users wait")
        bars.legend(loc="center right")
        text = svg(figure, f"Calibration of {found.model}, measure {found.measure}")
    write_atomically(file, text.encode(), private=True)
    return file
