"""The verb `collect`: adds what a run of a study found to the committed results.

A study is a scenario, such as strength-mnist. Its results are one JSON file, format 1: a head with
"format", "dataset", "title", "victim" {"network", "seed", "accuracy", "images"}, and lists of
cells, a line a cell, with "setting", "provenance" and the "command" that made it. The module of a
study says which lists there are (KEYS), what is in a cell, and makes the pages.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from core.documents import read_json
from core.learning.artifacts import write_atomically
from experiments.records import EVALUATION_KINDS, SWEEP_FILE, read, read_sweep, rows
from experiments.summary import as_planned, summarise

STUDIES: Mapping[str, str] = {
    "strength": "experiments.studies.strength",
    "defences": "experiments.studies.defences",
}
"""By the first word of the scenario's name."""

FORMAT = 1
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
            print(f"{add(flags.folder / name, flags.results)}: {name or flags.folder.name}")
        else:
            print(f"{flags.folder / name} did not come to its end: left out")


def add(folder: Path, results: Path) -> Path:
    """Adds the cells of one run, in place of those of before; the file that they are in.

    Raises FolderError, and ValueError for a run of no study, one with a client that did not come to
    its end, and one with another victim than the cells that are there.
    """
    found = read(folder)
    scenario, summary = found.scenario, summarise(found)
    name, given = scenario["name"], scenario["victim"]
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
    content = load(file, module.KEYS) or {
        "format": FORMAT,
        "dataset": given["dataset"],
        "title": title,
        "victim": {},
        **{kind: [] for kind in module.KEYS},
    }
    judged = rows(folder / found.policies[0].policy / "evaluation.jsonl", EVALUATION_KINDS)
    judge = next(row for _, kind, row in judged if kind == "victim")
    victim = {"network": given["network"], "seed": scenario["seed"]}
    victim |= {key: judge[key] for key in ("accuracy", "images")}
    before = content["victim"]
    if any(before.get(key, value) != value for key, value in victim.items()):
        raise ValueError(f"{file} is about another victim: {before}, expected {victim}")
    content["victim"] = before | victim
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
        cells = [cell for kind in kinds for cell in content.setdefault(kind, [])]
        if content["format"] == FORMAT and all("setting" in cell for cell in cells):
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
