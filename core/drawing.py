"""The style of all figures, and a figure as one SVG element that fits light and dark pages.

Ink is `currentColor` with a style of its own for dark pages. Use as

    with style():
        figure = ...
        text = svg(figure, "what is to be seen")

Nothing of the user's matplotlibrc gets into a figure, and no backend but that of SVG is asked for.
"""

import io
import re
import threading
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

# matplotlib reads a file `matplotlibrc` of the current folder, too: it is imported here only.
with chdir(Path(__file__).parent):
    import matplotlib
    from matplotlib.axes import Axes as Axes
    from matplotlib.figure import Figure as Figure
    from matplotlib.lines import Line2D as Line2D
    from matplotlib.ticker import MaxNLocator as MaxNLocator

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
    ".powgate{color:#1b1b1f;color-scheme:light dark}"
    "@media (prefers-color-scheme: dark){.powgate{color:#e9e9ec}}"
)
DECIMALS = 2  # of a coordinate in points: finer than can be seen, coarser than processors differ

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_LONG = re.compile(r"(?<!scale\()(?<![\d.])-?\d+\.\d{3,}")  # numbers, but of a scale

ElementTree.register_namespace("", _SVG)
ElementTree.register_namespace("xlink", _XLINK)


_ONE_AT_A_TIME = threading.RLock()  # what rc_context changes, all threads see


@contextmanager
def style() -> Iterator[None]:
    """matplotlib's own defaults with STYLE on top; afterwards all is as it was."""
    with _ONE_AT_A_TIME, matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def svg(figure: Figure, description: str) -> str:
    """The figure as one svg element with its own style sheet; coordinates are rounded."""
    sink = io.BytesIO()
    figure.savefig(sink, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(sink.getvalue())
    for metadata in root.findall(f"{{{_SVG}}}metadata"):
        root.remove(metadata)
    for element in root.iter():
        for name, value in element.attrib.items():
            element.set(name, " ".join(_LONG.sub(_rounded, value).split()))
    sheet = Element(f"{{{_SVG}}}style")
    sheet.text = SHEET
    root.insert(0, sheet)
    about = {"class": "powgate", "role": "img", "aria-label": description}
    root.attrib = {**about, **root.attrib}
    text = ElementTree.tostring(root, encoding="unicode")
    return text.replace(INK, "currentColor").replace("'DejaVu Sans'", FONTS)


def _rounded(number: re.Match[str]) -> str:
    text = f"{float(number[0]):.{DECIMALS}f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
