"""Means over the cells of committed results, and tables of them in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from experiments.report.tables import NOTHING, Column, markdown


def half_width(values: Sequence[float]) -> float:
    """Half the width of the 95 % interval of a mean (Student's t); 0 for a single value."""
    if len(values) < 2:
        return 0.0
    quantile = stats.t.ppf(0.975, len(values) - 1)
    return float(quantile * np.std(values, ddof=1) / len(values) ** 0.5)


def percent(values: Sequence[float], digits: int = 1, *, interval: bool = True) -> str:
    """The mean of what is known in per cent, with its interval where that is several values."""
    known = pd.Series(values, dtype=float).dropna()
    if known.empty:
        return NOTHING
    half = f" ± {100 * half_width(known):.{digits}f}" if interval and len(known) > 1 else ""
    return f"{100 * known.mean():.{digits}f}{half}"


def short(values: Sequence[float], unit: float = 1.0) -> str:
    """The mean to three figures."""
    mean = pd.Series(values, dtype=float).mean()
    return NOTHING if np.isnan(mean) else f"{mean / unit:.3g}"


def table(rows: pd.DataFrame | Sequence[Mapping[str, Any]], words: Iterable[str] = ()) -> str:
    """Markdown of rows from heading to text; columns that are not of words go to the right."""
    frame = pd.DataFrame(rows).fillna(NOTHING)
    forms = {heading: str if heading in words else "{}".format for heading in frame}
    columns = [Column(heading, "", heading, form) for heading, form in forms.items()]
    return markdown(columns, frame.to_dict("records"))


def revisions(provenance: Iterable[Mapping[str, Any]]) -> str:
    """The revisions that made cells, in short."""
    return ", ".join(sorted({str(each["git_revision"])[:7] for each in provenance}))
