"""The stopwatch: probes measured in turns, round after round, and the table of what they took.

Every probe is measured once a round, so that a neighbour's load hits all alike; a figure is the
median over the rounds. A ratio compares two rows within the same round. Pure computation counts
the CPU time of its thread; whatever crosses threads or processes counts wall time.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core import records
from experiments import terminal
from experiments.report.tables import Column, present
from experiments.report.tables import terminal as parts

Rows = dict[str, dict[str, Any]]
"""What was measured, by the name of the row; see `summarise`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """Flags of every benchmark."""

    json: Path | None = None
    """Also write the result to this file: every round, and where it was measured."""
    rounds: int = 15
    """Measurements of each quantity; the median is reported."""


@dataclass(frozen=True, slots=True)
class Row:
    """One measured quantity; a goal is the most it should be, or its ratio if there is one."""

    name: str
    unit: str = "ms"  # ms, 1/s, or "" for a share
    clock: str = "cpu"  # "cpu" of the thread, or "wall"
    against: str | None = None  # the row it is compared with
    goal: float | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """Something to measure; each call of `once` gives samples, at least one, for each row."""

    rows: tuple[Row, ...]
    once: Callable[[], Sequence[Sequence[float]]]
    every: int = 1  # rounds; what is slow is not measured in each
    warm: bool = True  # run once before the first round: what happens once is not measured


def timed(row: Row, call: Callable[[], object], *, factor: float = 1.0, every: int = 1) -> Probe:
    """CPU milliseconds of a call; `factor` turns the part that is timed into the whole."""

    def once() -> list[list[float]]:
        started = time.thread_time()
        call()
        return [[(time.thread_time() - started) * 1e3 * factor]]

    return Probe((row,), once, every, warm=every == 1)


def single(row: Row, value: Callable[[], float]) -> Probe:
    """A probe of one row that measures itself."""
    return Probe((row,), lambda: [[value()]])


def measure(probes: Iterable[Probe], rounds: int) -> Rows:
    """Runs the probes in turns. Raises ValueError."""
    if not 1 <= rounds <= 1000:
        raise ValueError(f"--rounds is {rounds}; expected 1 to 1000")
    probes = list(probes)
    samples: dict[Row, list[Sequence[float]]] = {row: [] for each in probes for row in each.rows}
    for probe in probes:
        if probe.warm:
            probe.once()
    for at in range(rounds):
        # Told between measurements only: a thread that draws would take time from them.
        if sys.stderr.isatty():
            print(f"\rround {at + 1} of {rounds}", end="\n" * (at + 1 == rounds), file=sys.stderr)
        for probe in probes:
            if at % probe.every == 0:
                for row, values in zip(probe.rows, probe.once(), strict=True):
                    samples[row].append(values)
    return summarise(samples)


def summarise(samples: Mapping[Row, Sequence[Sequence[float]]]) -> Rows:
    """By row name: unit, clock, median, each round's value, p99 of all samples, ratio, goal.

    p99 is None where a round gives one sample, ratio where there is nothing to compare with.
    """
    values = {row.name: [float(np.median(each)) for each in of] for row, of in samples.items()}
    table: Rows = {}
    for row, rounds in samples.items():
        ratio = None
        if row.against is not None:
            pairs = zip(values[row.name], values[row.against], strict=True)
            ratio = {"of": row.against, "median": float(np.median([a / b for a, b in pairs]))}
        many = len(rounds[0]) > 1
        table[row.name] = {
            "unit": row.unit,
            "clock": row.clock,
            "median": float(np.median(values[row.name])),
            "rounds": values[row.name],
            "p99": float(np.quantile(np.concatenate(rounds), 0.99)) if many else None,
            "ratio": ratio,
            "goal": row.goal,
        }
    return table


def show(rows: Rows) -> None:
    """Prints a row for each quantity; a missed goal is marked."""
    console, lines = terminal.console(140), [{"name": name, **row} for name, row in rows.items()]
    for part in parts(present(COLUMNS, lines), lines, console.width):
        console.print(part)


def save(file: Path, command: str, **content: Any) -> None:
    """Writes a result with the command, the load and the machine that made it. Raises OSError."""
    about = {"command": command, "load": os.getloadavg()[0], "provenance": records.provenance(0)}
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**about, **content}, indent=2, allow_nan=False)
    file.write_text(text + "\n", encoding="utf-8")


def _figure(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:.4g} million"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _ratio(row: Mapping[str, Any]) -> str | None:
    found = row["ratio"]
    return None if found is None else f"{found['median']:.3g} of {found['of']}"


def _goal(row: Mapping[str, Any]) -> str | None:
    if row["goal"] is None:
        return None
    late = (row["ratio"] or row)["median"] > row["goal"]
    return f"{_figure(row['goal'])}{' (missed)' if late else ''}"


COLUMNS = (
    Column("what", "what was measured", "name"),
    Column("median", "over the rounds", "median", _figure),
    Column("least", "of the rounds", lambda row: min(row["rounds"]), _figure),
    Column("p99", "of all samples", "p99", _figure),
    Column("unit", "milliseconds, or a second", "unit"),
    Column("clock", "CPU time of the thread, or the wall clock", "clock"),
    Column("ratio", "within a round", _ratio),
    Column("goal", "the most aimed at", _goal),
)
