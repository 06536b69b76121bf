"""Cells of committed results: their file, means over seeds, and tables of them in Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.documents import read_json
from core.learning.artifacts import write_atomically
from experiments.report.tables import NOTHING, Column, markdown

FORMAT = 1
Cell = Mapping[str, Any]
Cells = Sequence[Cell]
Content = dict[str, Any]


def load(file: Path, kinds: Iterable[str]) -> Content | None:
    """Committed results, None if there are none. Raises ValueError for a file of another kind."""
    if not file.exists():
        return None
    try:
        content: Content = read_json(file)
        cells = [cell for kind in kinds for cell in content.setdefault(kind, [])]
        if content["format"] == FORMAT and all(cell.keys() >= {"setting"} for cell in cells):
            return content
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise ValueError(f"{file} holds no results of a study, format {FORMAT}")


def save(content: Content, file: Path) -> None:
    """Writes results, a line a cell. Raises ArtifactError."""
    head = {key: value for key, value in content.items() if not isinstance(value, list)}
    parts = [json.dumps(head)[:-1]]
    for kind, cells in content.items():
        if isinstance(cells, list):
            lines = ",\n".join(json.dumps(cell, allow_nan=False) for cell in cells)
            parts.append(f'"{kind}": [\n{lines}\n]')
    write_atomically(file, f"{', '.join(parts)}}}\n".encode())


def among(cells: Cells, **wanted: Any) -> Cells:
    """The cells with these values."""
    return [cell for cell in cells if all(cell[key] == value for key, value in wanted.items())]


def known(cells: Cells, key: str) -> list[float]:
    """The values that there are."""
    return [cell[key] for cell in cells if cell.get(key) is not None]


def half_width(values: Sequence[float]) -> float:
    """Half the width of the 95 % interval of a mean (Student's t); 0 for a single value."""
    from scipy import stats

    if len(values) < 2:
        return 0.0
    quantile = stats.t.ppf(0.975, len(values) - 1)
    return float(quantile * np.std(values, ddof=1) / len(values) ** 0.5)


def percent(values: Sequence[float], digits: int = 1, *, interval: bool = True) -> str:
    """The mean in per cent, with its interval where there are several values."""
    if not values:
        return NOTHING
    half = f" ± {100 * half_width(values):.{digits}f}" if interval and len(values) > 1 else ""
    return f"{100 * np.mean(values):.{digits}f}{half}"


def short(values: Sequence[float], unit: float = 1.0) -> str:
    """The mean to three figures."""
    return f"{np.mean(values) / unit:.3g}" if values else NOTHING


def table(rows: Sequence[Mapping[str, str]], words: Sequence[str]) -> str:
    """Markdown of rows from heading to text; columns that are not of words go to the right."""

    def column(heading: str) -> Column:
        form = str if heading in words else "{}".format
        return Column(heading, "", lambda row: row[heading], form)

    return markdown([column(heading) for heading in rows[0]], rows)


def revisions(cells: Cells) -> str:
    """The revisions that made the cells, in short."""
    return ", ".join(sorted({str(cell["provenance"]["git_revision"])[:7] for cell in cells}))
