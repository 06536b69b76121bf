"""The paper's timelines again: what proof of work adds to the attacks that its authors recorded.

Dziedzic et al., ICLR 2022. Their repository records, for each dataset, an honest user's privacy
cost (time_privacy_cost_DATASET.csv) and each attack's time, accuracy, batches and privacy cost
(model_extraction_attack_accuracy_DATASET.csv). As in their evaluation, a line is fitted to the
honest user, and each row of an attack pays base^|cost - line(queries)| seconds once, clipped at
0.1 s and 2948 s. One row is about a thousand queries; a server that charges each batch of 64, as
the text of the paper has it, takes the second number, `per batch`.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from server.pricing.paper import Paper

DATASETS = ("mnist", "svhn", "cifar10")
BASE = 1.0075
T_MIN, T_MAX = 0.1, 2948.467908
"""Seconds: 16 bits and 32 bits in the paper's table of hashcash times."""

QUERIES = 62.5
"""Queries counted for each batch: 1000 in 16 batches of 64."""

_ATTACKS = {
    "time": "time (sec)",
    "accuracy": "accuracy",
    "batches": "diff queries",
    "cost": "privacy cost",
}
_HONEST = {"time": "time", "cost": "privacy", "queries": "queries"}


class ReplayError(ValueError):
    """Files that are missing or are not the paper's; one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An attack after one row of its record, from the beginning. Seconds."""

    time: float  # without proof of work
    accuracy: float  # per cent
    batches: float  # since the row before
    queries: float  # counted so far
    cost: float  # privacy cost so far
    delay: float  # proof of work of this row
    worked: float  # time with one delay a row
    per_batch: float  # time with one delay a batch


@dataclass(frozen=True, slots=True)
class Timeline:
    """All rows of one attack."""

    dataset: str
    attack: str
    rows: tuple[Row, ...]

    @property
    def at_cap(self) -> int:
        """Rows that pay the dearest price."""
        return sum(row.delay >= T_MAX for row in self.rows)


def replay(folder: Path) -> list[Timeline]:
    """Timelines of every dataset whose two files are in the folder. Raises ReplayError."""
    found: list[Timeline] = []
    for dataset in DATASETS:
        honest = folder / f"time_privacy_cost_{dataset}.csv"
        attacks = folder / f"model_extraction_attack_accuracy_{dataset}.csv"
        if not honest.is_file() and not attacks.is_file():
            continue
        policy = line(_read(honest, _HONEST)[1])
        modes, table = _read(attacks, _ATTACKS, "mode")
        for attack in dict.fromkeys(modes):
            own = [i for i, mode in enumerate(modes) if mode == attack]
            rows = timeline(
                {name: [column[i] for i in own] for name, column in table.items()}, policy
            )
            found.append(Timeline(dataset, attack, rows))
    if not found:
        raise ReplayError(
            f"{folder} holds none of the paper's records; expected time_privacy_cost_DATASET.csv "
            f"and model_extraction_attack_accuracy_DATASET.csv for one of {', '.join(DATASETS)}"
        )
    return found


def line(honest: Mapping[str, Sequence[float]]) -> Paper:
    """The paper's price with the least-squares line of an honest user's cost over queries."""
    slope, intercept = np.polyfit(honest["queries"], honest["cost"], 1)
    return Paper(BASE, float(slope), float(intercept), T_MIN, T_MAX)


def timeline(columns: Mapping[str, Sequence[float]], policy: Paper) -> tuple[Row, ...]:
    """Rows of one attack with what they pay.

    The first row is the state before any query: it is priced as such, less the second of price 1.
    """
    rows: list[Row] = []
    for time, accuracy, batches, cost in zip(*(columns[name] for name in _ATTACKS), strict=True):
        if not rows:
            delay = policy.seconds(0, 0) - 1
            queries, worked, per_batch = 0.0, time + delay, time + delay
        else:
            last = rows[-1]
            queries = last.queries + QUERIES * batches
            delay = policy.seconds(queries, cost)
            worked = last.worked + time - last.time + delay
            per_batch = last.per_batch + time - last.time + delay * batches
        rows.append(
            Row(
                time=time,
                accuracy=accuracy,
                batches=batches,
                queries=queries,
                cost=cost,
                delay=delay,
                worked=worked,
                per_batch=per_batch,
            )
        )
    return tuple(rows)


def table(timelines: Sequence[Timeline]) -> str:
    """Markdown: the end of each timeline."""
    head = ["dataset", "attack", "queries", "accuracy %", "best %", "cost/query", "time s"]
    head += ["with work s", "ratio", "per batch s", "ratio", "rows at cap"]
    lines = [" | ".join(head), " | ".join("---" for _ in head)]
    for each in timelines:
        end = each.rows[-1]
        cells = [
            each.dataset,
            each.attack,
            f"{end.queries:.0f}",
            f"{end.accuracy:.2f}",
            f"{max(row.accuracy for row in each.rows):.2f}",
            f"{end.cost / end.queries:.3f}" if end.queries else "-",
            f"{end.time:.1f}",
            f"{end.worked:.1f}",
            f"{end.worked / end.time:.2f}",
            f"{end.per_batch:.1f}",
            f"{end.per_batch / end.time:.2f}",
            f"{each.at_cap} of {len(each.rows)}",
        ]
        lines.append(" | ".join(cells))
    return "\n".join(f"| {line} |" for line in lines)


def _read(
    file: Path, columns: Mapping[str, str], label: str | None = None
) -> tuple[list[str], dict[str, list[float]]]:
    """Columns of a CSV file by our names for them, and its column of labels. Raises ReplayError."""
    if not file.is_file():
        raise ReplayError(f"{file} is missing")
    wanted = [*columns.values(), *([label] if label else [])]
    labels: list[str] = []
    table: dict[str, list[float]] = {name: [] for name in columns}
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            reader = csv.DictReader(text, strict=True)
            missing = [name for name in wanted if name not in (reader.fieldnames or [])]
            if missing:
                raise ReplayError(f"{file} has no column {missing[0]!r}; expected {wanted}")
            for row in reader:
                for name, column in columns.items():
                    value = float(row[column] or "nan")
                    if not (math.isfinite(value) and value >= 0):
                        raise ValueError(f"{column} is {row[column]!r}; expected a number from 0")
                    table[name].append(value)
                labels.append((row[label] or "") if label else "")
    except (ValueError, csv.Error) as error:
        raise ReplayError(f"{file}, line {reader.line_num}: {error}") from error
    if len(labels) < 2:
        raise ReplayError(f"{file} has {len(labels)} rows; expected at least 2")
    return labels, table


@dataclass(frozen=True, slots=True)
class Flags:
    """Recompute the timelines of the calibrated-PoW paper from the records it published."""

    folder: tyro.conf.Positional[Path]
    """The folder `pow` of its repository: time_privacy_cost_*.csv and the attacks' records."""


def run(flags: Flags) -> None:
    """Recomputes the paper's timelines."""
    print(table(replay(flags.folder)))
