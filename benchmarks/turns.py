"""The stopwatch: probes measured in turns, round after round, and the table of what they took.

Every probe is measured once a round, so that a neighbour's load hits all alike; a figure is the
median over the rounds. A ratio compares two rows within the same round. Pure computation counts
the CPU time of its thread; whatever crosses threads or processes counts wall time.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from core import records

SCALES = {"us": 1e6, "ms": 1e3, "s": 1.0}


@dataclass(frozen=True, slots=True)
class Row:
    """One measured quantity; a goal is the most it should be (of a ratio: of `against`)."""

    name: str
    unit: str  # us, ms, s, or 1/s
    clock: str = "cpu"  # "cpu" of the thread, or "wall"
    what: str = ""
    against: str | None = None  # the row it is compared with
    goal: float | None = None
    ratio_goal: float | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """Something to measure; each call of `once` gives samples, at least one, for each row."""

    rows: tuple[Row, ...]
    once: Callable[[], Sequence[Sequence[float]]]


def cpu_seconds(call: Callable[[], object], times: int = 1) -> float:
    """CPU time of this thread for one call, the mean over `times`."""
    started = time.thread_time()
    for _ in range(times):
        call()
    return (time.thread_time() - started) / times


def timed(row: Row, call: Callable[[], object], *, times: int = 1, factor: float = 1.0) -> Probe:
    """CPU time of a call; `factor` turns the part that is timed into the whole."""
    scale = SCALES[row.unit] * factor
    return Probe((row,), lambda: [[cpu_seconds(call, times) * scale]])


def single(row: Row, value: Callable[[], float]) -> Probe:
    """A probe that measures itself."""
    return Probe((row,), lambda: [[value()]])


def measure(
    probes: Iterable[Probe], rounds: int, *, console: Console | None = None, warm: bool = True
) -> dict[str, dict[str, Any]]:
    """Runs the probes in turns; `summarise` says what is kept. Raises ValueError."""
    if not 1 <= rounds <= 1000:
        raise ValueError(f"--rounds is {rounds}; expected 1 to 1000")
    probes = list(probes)
    samples: dict[Row, list[Sequence[float]]] = {row: [] for each in probes for row in each.rows}
    columns = (TextColumn("round"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = console or Console(stderr=True)
    # Drawn between measurements only: a thread that draws would take time from them.
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as progress:
        task = progress.add_task("", total=rounds)
        for at in range(-warm, rounds):  # what happens once, such as growing buffers, is not kept
            for probe in probes:
                for row, values in zip(probe.rows, probe.once(), strict=True):
                    if at >= 0:
                        samples[row].append(values)
                progress.refresh()
            progress.update(task, completed=at + 1)
    return summarise(samples)


def summarise(samples: Mapping[Row, Sequence[Sequence[float]]]) -> dict[str, dict[str, Any]]:
    """By row name: what, unit, clock, median, each round's value, p99 of all samples, ratio, goal.

    p99 is None where a round gives one sample, ratio where there is nothing to compare with.
    """
    values = {row.name: [float(np.median(each)) for each in of] for row, of in samples.items()}
    table: dict[str, dict[str, Any]] = {}
    for row, rounds in samples.items():
        ratio = None
        if row.against is not None:
            pairs = zip(values[row.name], values[row.against], strict=True)
            ratio = {
                "of": row.against,
                "median": float(np.median([a / b for a, b in pairs])),
                "goal": row.ratio_goal,
            }
        many = len(rounds[0]) > 1
        table[row.name] = {
            "what": row.what or row.name,
            "unit": row.unit,
            "clock": row.clock,
            "median": float(np.median(values[row.name])),
            "rounds": values[row.name],
            "p99": float(np.quantile(np.concatenate(rounds), 0.99)) if many else None,
            "ratio": ratio,
            "goal": row.goal,
        }
    return table


def show(rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Prints a row for each quantity; a missed goal is marked."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, 140))
    table = Table(Column("what", overflow="fold"), box=None, pad_edge=False)
    for heading in ("median", "quartiles", "p99", "goal"):
        table.add_column(heading, justify="right")
    for heading in ("unit", "clock", "ratio"):
        table.add_column(heading)
    for row in rows.values():
        low, high = np.quantile(row["rounds"], (0.25, 0.75))
        ratio = row["ratio"]
        table.add_row(
            row["what"],
            _figure(row["median"]),
            f"{_figure(low)} to {_figure(high)}",
            "" if row["p99"] is None else _figure(row["p99"]),
            _goal(row["median"], row["goal"]),
            row["unit"],
            row["clock"],
            ""
            if ratio is None
            else f"{ratio['median']:.3g} of {ratio['of']} "
            + _goal(ratio["median"], ratio["goal"], "goal "),
        )
    console.print(table)


def save(file: Path, command: str, *, seed: int, **content: Any) -> None:
    """Writes a result with the command, the load and the machine that made it. Raises OSError."""
    result = {
        "command": command,
        "load": os.getloadavg()[0],
        "provenance": records.provenance(seed),
        **content,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _goal(value: float, goal: float | None, word: str = "") -> str:
    if goal is None:
        return ""
    return f"{word}{_figure(goal)}" + (" (missed)" if value > goal else "")


def _figure(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:.4g} million"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
