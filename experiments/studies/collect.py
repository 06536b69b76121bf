"""The verb `collect`: adds what a run of a study found to the committed results.

A study is a scenario, such as strength-mnist. Its results are one JSON file, format 1: a head with
"format", "dataset", "title", "victim" {"network", "seed", "accuracy", "images"}, and lists of
cells, a line a cell, with "provenance" and the "command" that made it. The module of a study says
which lists there are and what is in a cell.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from core.documents import read_json
from core.learning.artifacts import write_atomically
from experiments.records import EVALUATION_KINDS, SWEEP_FILE, read, read_sweep, rows
from experiments.summary import as_planned, summarise

FORMAT = 1
STUDIES: Mapping[str, str] = {
    "strength": "experiments.studies.strength",
    "defences": "experiments.studies.defences",
}
"""By the first word of the scenario's name."""

Cell = Mapping[str, Any]
Content = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Flags:
    """Add what a run of a study found to its committed results; `docs` then makes the pages."""

    folder: tyro.conf.Positional[Path]
    """The folder of a run or sweep of strength-mnist, defences-cifar10, ..."""
    results: Path = Path("docs/results")
    """The folder of the results: strength-mnist.json, ..."""


def run(flags: Flags) -> None:
    """Adds the runs that came to their end; others are named and left out."""
    names = [""]
    if (flags.folder / SWEEP_FILE).exists():
        names = [cell["name"] for cell in read_sweep(flags.folder)["cells"]]
    for name in names:
        if (flags.folder / name / "summary.json").exists():
            file = add(flags.folder / name, flags.results)
            print(f"{file}: {name or flags.folder.name}")
        else:
            print(f"{flags.folder / name} did not come to its end: left out")


def add(folder: Path, results: Path) -> Path:
    """Adds the cells of one run, in place of those of before; the file that they are in.

    Raises FolderError, and ValueError for a run of no study, one with a client that did not come to
    its end, and one with another victim than the cells that are there.
    """
    found = read(folder)
    scenario, summary = found.scenario, summarise(found)
    name = scenario["name"]
    study, _, title = name.partition("-")
    if study not in STUDIES:
        raise ValueError(f"{folder} is a run of {name}, which is no study: {', '.join(STUDIES)}")
    for arm in summary["arms"]:
        for client in arm["clients"]:
            if not as_planned(client):
                raise ValueError(
                    f"{folder}: {client['name']} was {client['status']} under {arm['policy']}"
                )
    module = importlib.import_module(STUDIES[study])
    file = results / f"{name}.json"
    content: Content = load(file, module.KEYS) or {
        "format": FORMAT,
        "dataset": scenario["victim"]["dataset"],
        "title": title,
        "victim": {},
        **{kind: [] for kind in module.KEYS},
    }
    judged = rows(folder / found.policies[0].policy / "evaluation.jsonl", EVALUATION_KINDS)
    victim = next(row for _, kind, row in judged if kind == "victim")
    facts = {"network": scenario["victim"]["network"], "seed": scenario["seed"]}
    facts |= {"accuracy": victim["accuracy"], "images": victim["images"]}
    before = content["victim"]
    if any(before.get(key, value) != value for key, value in facts.items()):
        raise ValueError(f"{file} is about another victim: {before}, expected {facts}")
    content["victim"] = before | facts
    made = {key: found.about[key] for key in ("command", "provenance")}
    for kind, cell in module.cells(folder, found, summary):
        keys = module.KEYS[kind]
        others = [old for old in content[kind] if any(old[key] != cell[key] for key in keys)]
        content[kind] = [*others, {**cell, **made}]
    save(content, file)
    return file


def load(file: Path, kinds: Iterable[str]) -> Content | None:
    """Committed results, None if there are none. Raises ValueError for a file of another kind."""
    if not file.exists():
        return None
    try:
        content: Content = read_json(file)
        known = content["format"] == FORMAT and all(
            content.setdefault(k, []) is not None for k in kinds
        )
        content["victim"], [cell["setting"] for kind in kinds for cell in content[kind]]
    except (ValueError, KeyError, TypeError, AttributeError):
        known = False
    if not known:
        raise ValueError(f"{file} holds no results of a study, format {FORMAT}")
    return content


def save(content: Content, file: Path) -> None:
    """Writes results, a line a cell. Raises ArtifactError."""
    head = {key: value for key, value in content.items() if not isinstance(value, list)}
    parts = [json.dumps(head)[:-1]]
    for kind, cells in content.items():
        if isinstance(cells, list):
            lines = ",\n".join(json.dumps(cell, allow_nan=False) for cell in cells)
            parts.append(f'"{kind}": [\n{lines}\n]')
    write_atomically(file, f"{', '.join(parts)}}}\n".encode())


def among(cells: Iterable[Cell], **wanted: Any) -> Iterator[Cell]:
    """The cells with these values."""
    return (cell for cell in cells if all(cell[key] == value for key, value in wanted.items()))


def revisions(cells: Iterable[Cell]) -> str:
    """The revisions that made the cells, in short."""
    return ", ".join(sorted({str(cell["provenance"]["git_revision"])[:7] for cell in cells}))


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds, and half the width of its 95 % interval (Student's t); None for one."""

    mean: float
    half: float | None

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Estimate | None:
        """Of the values that there are."""
        from scipy import stats

        known = np.array([value for value in values if value is not None], float)
        if len(known) < 2:
            return cls(float(known[0]), None) if len(known) else None
        quantile = float(stats.t.ppf(0.975, len(known) - 1))
        spread = float(np.std(known, ddof=1)) / len(known) ** 0.5
        return cls(float(np.mean(known)), quantile * spread)

    def percent(self, digits: int = 2) -> str:
        """The mean in per cent, with its interval where there is one."""
        half = "" if self.half is None else f" ± {100 * self.half:.{digits}f}"
        return f"{100 * self.mean:.{digits}f}{half}"
