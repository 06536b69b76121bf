"""The paper's timelines again: what proof of work adds to the attacks that its authors recorded.

    python examples/replay.py FOLDER [--json docs/results/strength-paper.json]

Dziedzic et al., ICLR 2022. Folder `pow` of their repository records, for each dataset, an honest
user's privacy cost (time_privacy_cost_DATASET.csv) and each attack's time, accuracy, batches and
privacy cost (model_extraction_attack_accuracy_DATASET.csv). As in their evaluation, a line is
fitted to the honest user, and each row of an attack pays base^|cost - line(queries)| seconds once,
clipped at 0.1 s and 2948 s. One row is about a thousand queries; a server that charges each batch
of 64, as the text of the paper has it, takes the second number, `per batch`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import tyro

from core import command
from experiments.report.tables import Column, markdown
from server.pricing.paper import Paper

DATASETS = ("mnist", "svhn", "cifar10")
BASE = 1.0075
T_MIN, T_MAX = 0.1, 2948.467908
"""Seconds: 16 bits and 32 bits in the paper's table of hashcash times."""

QUERIES = 62.5
"""Queries counted for each batch: 1000 in 16 batches of 64."""

HONEST = {"time": "time", "privacy": "cost", "queries": "queries"}
ATTACK = {"time (sec)": "time", "accuracy": "accuracy", "diff queries": "batches"}
ATTACK |= {"privacy cost": "cost"}
"""Columns of their files, and our names for them."""

POINTS = 100
"""Points kept of an attack's accuracy, at most: the data-free ones have hundreds."""

SOURCE = (
    "Dziedzic, Kaleem, Lu, Papernot, Increasing the Cost of Model Extraction with Calibrated Proof "
    "of Work, ICLR 2022: pow/model_extraction_attack_accuracy_*.csv of its repository; queries "
    "counted as 62.5 a batch, accuracy in per cent"
)


@dataclass(frozen=True, slots=True)
class Flags:
    """Recompute the timelines of the calibrated-PoW paper from the records it published."""

    folder: tyro.conf.Positional[Path]
    """The folder `pow` of its repository: time_privacy_cost_*.csv and the attacks' records."""
    json: Path | None = None
    """Also write the accuracy of each attack by its queries to this file."""


def replay(folder: Path) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Dataset, attack and timeline, for every dataset whose files are there. Raises ValueError."""
    there = False
    for dataset in DATASETS:
        honest = folder / f"time_privacy_cost_{dataset}.csv"
        attacks = folder / f"model_extraction_attack_accuracy_{dataset}.csv"
        if honest.is_file() or attacks.is_file():
            there, policy = True, line(read(honest, HONEST))
            for attack, rows in read(attacks, ATTACK, "mode").groupby("mode", sort=False):
                yield dataset, str(attack), timeline(rows, policy)
    if not there:
        raise ValueError(
            f"{folder} holds none of the paper's records; expected time_privacy_cost_DATASET.csv "
            f"and model_extraction_attack_accuracy_DATASET.csv for one of {', '.join(DATASETS)}"
        )


def line(honest: pd.DataFrame) -> Paper:
    """The paper's price with the least-squares line of an honest user's cost over queries."""
    slope, intercept = np.polyfit(honest["queries"], honest["cost"], 1)
    return Paper(BASE, float(slope), float(intercept), T_MIN, T_MAX)


def timeline(rows: pd.DataFrame, policy: Paper) -> pd.DataFrame:
    """An attack's rows with what they pay: queries so far, `delay` of each row, and the times

    with work, `worked` with one delay a row, `per_batch` with one a batch. Seconds. The first row
    is the state before any query: it is priced as such, less the second of price 1.
    """
    found = rows.reset_index(drop=True)
    first = found.index == 0
    found["queries"] = found["batches"].mask(first, 0.0).cumsum() * QUERIES
    cost = found["cost"].mask(first, 0.0)
    delay = map(policy.seconds, found["queries"], cost)
    found["delay"] = np.fromiter(delay, float) - first
    found["worked"] = found["time"] + found["delay"].cumsum()
    batches = found["batches"].mask(first, 1.0)
    found["per_batch"] = found["time"] + (found["delay"] * batches).cumsum()
    return found


def end(dataset: str, attack: str, rows: pd.DataFrame) -> dict[str, object]:
    """Where a timeline ends."""
    last = rows.iloc[-1]
    return {
        "dataset": dataset,
        "attack": attack,
        "queries": f"{last.queries:.0f}",
        "accuracy %": f"{last.accuracy:.2f}",
        "best %": f"{rows['accuracy'].max():.2f}",
        "cost/query": f"{last.cost / last.queries:.3f}" if last.queries else None,
        "time s": f"{last.time:.1f}",
        "with work s": f"{last.worked:.1f}",
        "ratio": f"{last.worked / last.time:.2f}",
        "per batch s": f"{last.per_batch:.1f}",
        "its ratio": f"{last.per_batch / last.time:.2f}",
        "rows at cap": f"{(rows['delay'] >= T_MAX).sum()} of {len(rows)}",
    }


def accuracies(timelines: Sequence[tuple[str, str, pd.DataFrame]]) -> dict[str, object]:
    """[queries, accuracy] of each attack on each dataset."""
    found: dict[str, dict[str, list[list[float]]]] = {}
    for dataset, attack, rows in timelines:
        chosen = [*range(0, len(rows) - 1, -(-len(rows) // POINTS)), len(rows) - 1]
        points = rows.loc[chosen, ["queries", "accuracy"]].to_numpy().tolist()
        found.setdefault(dataset, {})[attack] = points
    return {"source": SOURCE, "accuracy": found}


def read(file: Path, columns: dict[str, str], label: str | None = None) -> pd.DataFrame:
    """Columns of a CSV file by our names, and its column of labels. Raises OSError, ValueError."""
    try:
        table = pd.read_csv(file, dtype=str, encoding="utf-8-sig", keep_default_na=False)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    wanted = [*columns, *([label] if label else [])]
    if missing := [name for name in wanted if name not in table]:
        raise ValueError(f"{file} has no column {missing[0]!r}; expected {wanted}")
    if len(table) < 2:
        raise ValueError(f"{file} has {len(table)} rows; expected at least 2")
    found = table[wanted].rename(columns=columns)
    for column, name in columns.items():
        numbers = pd.to_numeric(table[column], errors="coerce")
        for at in np.flatnonzero(~(np.isfinite(numbers) & (numbers >= 0)))[:1]:
            given = table[column][at]
            raise ValueError(
                f"{file}, line {at + 2}: {column} is {given!r}; expected a number from 0"
            )
        found[name] = numbers
    return found


def main() -> int:
    """Prints where each timeline ends, and writes the accuracies."""

    def run() -> None:
        flags = tyro.cli(Flags)
        timelines = list(replay(flags.folder))
        rows = [end(*each) for each in timelines]
        print(markdown([Column(name, "", name) for name in rows[0]], rows), end="")
        if flags.json is not None:
            flags.json.write_text(json.dumps(accuracies(timelines)) + "\n", encoding="utf-8")

    return command.run(run)


if __name__ == "__main__":
    sys.exit(main())
