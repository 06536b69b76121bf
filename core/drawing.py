"""The style of all figures, and a figure as one SVG element that fits light and dark pages.

Ink is `currentColor` with a style of its own for dark pages. Use as

    with matplotlib.rc_context(STYLE):
        figure = ...
        text = svg(figure, "what is to be seen")
"""

import io
import re
from typing import Any

from matplotlib.figure import Figure

INK = "#010102"  # stands for currentColor until the SVG is written
FONTS = "'DejaVu Sans', Verdana, sans-serif"  # the first two are equally wide
STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "grid.alpha": 0.15,
    "grid.color": INK,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "powgate",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
SHEET = (
    "<style>.powgate{color:#1b1b1f;color-scheme:light dark}"
    "@media (prefers-color-scheme: dark){.powgate{color:#e9e9ec}}</style>"
)


def svg(figure: Figure, description: str) -> str:
    """The figure as one svg element with its own style sheet, the same bytes every time."""
    sink = io.StringIO()
    figure.savefig(sink, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = sink.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = text.replace("'DejaVu Sans'", FONTS)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    label = description.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    text = text.replace("<svg ", f'<svg class="powgate" role="img" aria-label="{label}" ', 1)
    head, _, rest = text.partition(">")
    return f"{head}>{SHEET}{rest}"
