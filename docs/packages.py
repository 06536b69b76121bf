"""Draws docs/packages.svg: the packages, what is in each, and their imports.

Run as `python docs/packages.py` after the imports between packages or the first line of a
package's docstring changed. The arrows are read from the code by grimp, the rows from the layers
in pyproject.toml.
"""

from __future__ import annotations

import ast
import textwrap
import tomllib
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

import grimp

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "packages.svg"
BOX, GAP, MARGIN, LINE = 250, 40, 20, 15  # pixels
COLUMNS = 3
WIDTH = COLUMNS * BOX + (COLUMNS - 1) * GAP + 2 * MARGIN


class Box(NamedTuple):
    """A package as drawn: position in pixels, its name, the lines below the name."""

    x: float
    y: int
    height: int
    name: str
    lines: list[str]


def rows() -> list[list[str]]:
    """The packages by layer, highest first."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    layers = next(c["layers"] for c in contracts if c["type"] == "layers" and "containers" not in c)
    return [[name.strip() for name in layer.split("|")] for layer in layers]


def arrows() -> set[tuple[str, str]]:
    """(importer, imported) for pairs of packages.

    Without the imports of commands (`__main__`), and without an import that others imply.
    """
    packages = [name for row in rows() for name in row]
    graph = grimp.build_graph(packages[0], *packages[1:], cache_dir=None)
    for name in packages:
        if f"{name}.__main__" in graph.modules:
            graph.remove_module(f"{name}.__main__")
        graph.squash_module(name)
    direct = {a: graph.find_modules_directly_imported_by(a) - {a} for a in packages}
    for a in packages:
        for b in direct[a]:
            graph.remove_import(importer=a, imported=b)
            if not graph.chain_exists(importer=a, imported=b):
                graph.add_import(importer=a, imported=b)
    return {(a, b) for a in packages for b in graph.find_modules_directly_imported_by(a) - {a}}


def boxes() -> list[Box]:
    """Where each package is drawn, and what it says."""
    lefts = _lefts()
    found, y = [], MARGIN
    for row in rows():
        texts = {name: _text(name) for name in row}
        height = 34 + LINE * max(len(lines) for lines in texts.values())
        found += [Box(lefts[name], y, height, name, lines) for name, lines in texts.items()]
        y += height + 2 * GAP
    return found


def _lefts() -> dict[str, float]:
    """Where each box begins: side by side, or alone above the middle of what it imports."""
    lefts: dict[str, float] = {}
    for row in reversed(rows()):
        left = (WIDTH - len(row) * BOX - (len(row) - 1) * GAP) / 2
        lefts |= {name: left + place * (BOX + GAP) for place, name in enumerate(row)}
        if len(row) == 1:
            below = [lefts[imported] for importer, imported in arrows() if importer == row[0]]
            lefts[row[0]] = sum(below) / len(below)
    return lefts


def _text(package: str) -> list[str]:
    """The first line of a package's docstring, then its subpackages."""
    folder = ROOT / package
    first = _summary(folder / "__init__.py")
    inner = sorted(path.parent.name for path in folder.glob("*/__init__.py"))
    lines = textwrap.wrap(first, 38)
    return lines + textwrap.wrap("/ ".join([*inner, ""]), 38) if inner else lines


def _summary(file: Path) -> str:
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0].partition(": ")[2] or text.partition("\n")[0]


def svg() -> str:
    """The picture."""
    drawn = boxes()
    places = {box.name: box for box in drawn}
    parts = []
    for importer, imported in sorted(arrows()):
        a, b = places[importer], places[imported]
        x1, x2 = (box.x + BOX / 2 for box in (a, b))
        if a.y == b.y:
            side = (BOX if x1 < x2 else -BOX) / 2
            line = f"M{x1 + side:.0f} {a.y + 20} L{x2 - side:.0f} {a.y + 20}"
        else:
            line = f"M{x1:.0f} {a.y + a.height} L{x2 + (x1 - x2) * 0.12:.0f} {b.y - 3}"
        parts.append(
            f'<path class="arrow" data-from="{importer}" data-to="{imported}" d="{line}"/>'
        )
    for box in drawn:
        parts.append(
            f'<rect x="{box.x:.0f}" y="{box.y:.0f}" width="{BOX}" height="{box.height}" rx="6"/>'
            f'<text class="name" x="{box.x + 12:.0f}" y="{box.y + 21:.0f}">{box.name}/</text>'
        )
        for number, line in enumerate(box.lines, 1):
            y = box.y + 22 + LINE * number
            parts.append(f'<text x="{box.x + 12:.0f}" y="{y:.0f}">{escape(line)}</text>')
    height = max(box.y + box.height for box in drawn) + MARGIN
    return TEMPLATE.format(width=WIDTH, height=round(height), content="\n".join(parts))


TEMPLATE = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<title>The packages of powgate and their imports</title>
<style>
rect {{ fill: #fffdf7; stroke: #555; }}
text {{ font: 12px sans-serif; fill: #333; }}
.name {{ font: bold 14px monospace; }}
.arrow {{ fill: none; stroke: #99a; stroke-width: 1.3; marker-end: url(#head); }}
</style>
<defs><marker id="head" markerWidth="8" markerHeight="8" refX="6" refY="3" orient="auto">
<path d="M0 0 L6 3 L0 6 z" fill="#99a"/></marker></defs>
<rect x="0" y="0" width="{width}" height="{height}" style="fill: white; stroke: none"/>
{content}
</svg>
"""

if __name__ == "__main__":
    PICTURE.write_text(svg(), encoding="utf-8")
    print(PICTURE)
