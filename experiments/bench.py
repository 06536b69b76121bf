"""What the gate costs by itself: its steps, its ledger, and whole queries, measured side by side.

Every probe is measured once a round, in turns, so that a neighbour's load hits all alike; a value
is the median over the rounds. Pure computation counts the CPU time of its thread, with torch on one
thread; whatever crosses threads or processes counts wall time. The clock stands in every row.

A ratio compares two rows in the same round: voters with the victim they watch, the ledger with a
bare append and flush on the same disk. Axes: b images, c channels, h rows, w columns, k classes.
"""

from __future__ import annotations

import json
import os
import shlex
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from core.learning import artifacts
from core.records import provenance
from experiments.probes import (
    Probe,
    Row,
    Sizes,
    computing,
    durable,
    loopback,
    serving,
    untrained_model,
)
from experiments.terminal import command_line, console, fitted


def take_turns(
    probes: Sequence[Probe], rounds: int, console: Console
) -> dict[Row, list[list[float]]]:
    """Runs the probes in turns; the samples of each row, a list a round."""
    samples: dict[Row, list[list[float]]] = {row: [] for probe in probes for row in probe.rows}
    for probe in probes:  # what happens once, such as growing buffers, is not measured
        probe.once()
    columns = (TextColumn("round"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # Drawn between measurements only: a thread that draws would take time from them.
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as progress:
        task = progress.add_task("", total=rounds)
        for _ in range(rounds):
            for probe in probes:
                for row, values in zip(probe.rows, probe.once(), strict=True):
                    samples[row].append(values)
                progress.refresh()
            progress.advance(task)
    return samples


def summarise(measured: Mapping[Row, list[list[float]]]) -> dict[str, dict[str, Any]]:
    """By row name: what, unit, clock, median, each round's value, p99 of all samples, ratio.

    p99 is None where a round gives one sample, ratio where there is nothing to compare with.
    """
    values = {
        row.name: [float(np.median(each)) for each in rounds] for row, rounds in measured.items()
    }
    table: dict[str, dict[str, Any]] = {}
    for row, rounds in measured.items():
        ratio = None
        if row.against is not None:
            pairs = zip(values[row.name], values[row.against], strict=True)
            ratio = {"of": row.against, "median": float(np.median([a / b for a, b in pairs]))}
        many = len(rounds[0]) > 1
        table[row.name] = {
            "what": row.what,
            "unit": row.unit,
            "clock": row.clock,
            "median": float(np.median(values[row.name])),
            "rounds": values[row.name],
            "p99": float(np.quantile(np.concatenate(rounds), 0.99)) if many else None,
            "ratio": ratio,
        }
    return table


def bench(
    *, home: Path | None, rounds: int, sizes: Sizes, seed: int, console: Console
) -> dict[str, Any]:
    """Measures everything; the model behind the gate is mnist5k of `home`, or an untrained one.

    Raises RunError where the server does not come up.
    """
    torch.set_num_threads(1)  # as the server has it; and a thread's CPU time is then all of it
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="powgate-bench-")))
        model = "mnist5k" if home else untrained_model(folder, sizes, seed)
        target = stack.enter_context(serving(home or folder, model, folder))
        probes = [
            *computing(sizes, seed),
            *durable(sizes, folder, stack),
            *loopback(target, sizes, stack, seed),
        ]
        started = time.monotonic()
        table = summarise(take_turns(probes, rounds, console))
        return {
            "rounds": rounds,
            "model": model,
            "seconds": time.monotonic() - started,
            "load": os.getloadavg()[0],
            "provenance": provenance(seed),
            "rows": table,
        }


def tabulate(result: dict[str, Any]) -> Table:
    """The result as a table for the terminal."""
    title = f"medians of {result['rounds']} rounds in turns, model {result['model']}"
    table = Table("what", title=title, title_justify="left", box=None, pad_edge=False)
    for heading in ("median", "quartiles of rounds", "p99"):
        table.add_column(heading, justify="right")
    table.add_column("unit")
    table.add_column("clock")
    table.add_column("ratio")
    for row in result["rows"].values():
        low, high = np.quantile(row["rounds"], (0.25, 0.75))
        table.add_row(
            row["what"],
            _figure(row["median"]),
            f"{_figure(low)} to {_figure(high)}",
            "" if row["p99"] is None else _figure(row["p99"]),
            row["unit"],
            row["clock"],
            "" if row["ratio"] is None else f"{row['ratio']['median']:.2f} of {row['ratio']['of']}",
        )
    return table


def save(result: dict[str, Any], path: Path) -> None:
    """Writes the result as JSON. Raises ArtifactError."""
    text = json.dumps(result, indent=2, allow_nan=False) + "\n"
    artifacts.write_atomically(path, text.encode())


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


@dataclass(frozen=True, slots=True)
class Flags:
    """Measure the gate itself: its steps, its ledger, and whole queries over loopback."""

    json: Path | None = None
    """Also write the result to this file, with every round and where it was measured."""
    home: Path | None = None
    """Serve mnist5k of this folder (default: an untrained model of the same size)."""
    rounds: int = 15
    """Measurements of each quantity; the median is reported."""


def run(flags: Flags) -> None:
    """Measures the gate."""
    if flags.rounds < 1:
        raise ValueError(f"--rounds is {flags.rounds}; expected at least 1")
    result = bench(
        home=flags.home,
        rounds=flags.rounds,
        sizes=Sizes(),
        seed=0,
        console=Console(stderr=True),
    )
    terminal = console(140)
    for part in fitted(tabulate(result), terminal.width):
        terminal.print(part)
    if flags.json is not None:
        save({"command": shlex.join(command_line()), **result}, flags.json)
