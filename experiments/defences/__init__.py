"""Perturbing answers beside proof of work: what a clone is worth, and what honest users get.

For each dataset the defences and settings of `plan`, against its thieves; every cell is
written as soon as it is there, one line of JSON, and a run that was cut short goes on with what is
missing.

The file, format 1: its head, and a list for each kind of cell.

    benign   for each defence and seed: "accuracy" of the answers on held-out images, "l1" moved,
             "kept" share of top classes, "victim_ms" and "defence_ms" of CPU an image
    thefts   for each defence, thief and seed: "queries", "accuracy" and "fidelity" of the clone,
             "l1" and "kept" on the images he asked, "cpu_seconds" of the whole cell
    wire     for each defence, policy, client and seed of a scenario over loopback, what its
             summary says of the client (`wire`)
    learning for what surrogates have learnt ("source", "images", "epochs"), "queries" and seed of a
             thief: how often a surrogate is "right", what honest users get, how often the best
             score is that of the surrogates' own class, and what the thief gets
             (`learning`; without "learning" in files of before)

All have "setting" (they are run again where it is another), "command" and "provenance".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.documents import read_json
from core.learning.artifacts import write_atomically
from core.records import provenance
from experiments.defences.plan import Bench, Perturb, label

if TYPE_CHECKING:
    from experiments.defences.cell import Place

FORMAT = 1
KINDS = ("benign", "thefts", "wire", "learning")

Content = dict[str, Any]
Cell = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Which cells to run, and where things are."""

    bench: Bench
    defences: tuple[str, ...]  # none: all of them
    seeds: tuple[int, ...]  # none: those of the bench
    wire: bool  # over the wire, instead of in this process
    learning: bool = False  # by what surrogates have learnt, instead
    place: Place
    file: Path

    def __post_init__(self) -> None:
        """Raises ValueError for what cannot be run."""
        if any(seed < 0 for seed in self.seeds):
            raise ValueError(f"--seeds is {list(self.seeds)}; expected numbers from 0")
        known = {shield.defence for shield in self.bench.shields}
        for name in self.defences:
            if name not in known:
                raise ValueError(
                    f"--defences names {name!r}, which is not tried on {self.bench.dataset}; "
                    f"expected some of {', '.join(sorted(known))}"
                )
        if self.wire and self.learning:
            raise ValueError("--wire and --learning are both given; expected one of them")
        if self.wire and not self.bench.wire:
            raise ValueError(f"nothing is planned over the wire on {self.bench.dataset}")

    def shields(self) -> Iterator[tuple[Perturb, int]]:
        """Defences and seeds: the first seed of each first, so that a table is soon whole."""
        for seed in self.seeds or self.bench.seeds:
            for shield in self.bench.shields:
                if not self.defences or shield.defence in self.defences:
                    yield shield, seed


class Results:
    """The file: cells are looked up, and written at once."""

    def __init__(self, bench: Bench, file: Path, command: str) -> None:
        self.file, self.command = file, command
        self.content = read(file) if file.exists() else _empty(bench)

    def has(self, kind: str, key: Cell, setting: Cell) -> bool:
        """Whether a cell is there, made with this setting."""
        return any(
            cell["setting"] == setting and all(cell[name] == value for name, value in key.items())
            for cell in self.content[kind]
        )

    def add(self, kind: str, key: Cell, setting: Cell, found: Cell) -> None:
        """Keeps a cell in place of what was there. Raises ArtifactError."""
        cell = {
            **key,
            **found,
            "setting": setting,
            "command": self.command,
            "provenance": provenance(key["seed"]),
        }
        others = [
            old
            for old in self.content[kind]
            if any(old[name] != value for name, value in key.items())
        ]
        self.content[kind] = [*others, cell]
        write(self.content, self.file)


def run(plan: Plan, *, command: str, say: Callable[[str], None]) -> Content:
    """Runs the cells that are missing; the whole content of the file at the end.

    Raises ValueError for a file that holds something else, DatasetError, ArtifactError, RunError.
    """
    results = Results(plan.bench, plan.file, command)
    if plan.wire:
        from experiments.defences import wire

        wire.run(plan, results, say)
        return results.content

    import torch

    from experiments.defences.cell import SURROGATES, Stage, benign, steal

    torch.set_num_threads(1)
    if plan.learning:
        from experiments.defences import learning

        learning.run(plan, results, say)
        return results.content
    stage = Stage(plan.bench, plan.place)
    victim = stage.facts()
    if results.content["victim"] not in ({}, victim):
        raise ValueError(f"{plan.file} is about another victim: remove it, or write elsewhere")
    results.content["victim"] = victim
    for shield, seed in plan.shields():
        armed, name = None, label(shield)
        setting = {"surrogates": SURROGATES, "images": plan.bench.benign}
        key = {"defence": name, "seed": seed}
        if not results.has("benign", key, setting):
            armed = armed or stage.shield(shield, seed)
            found = benign(stage, armed)
            results.add("benign", key, setting, found)
            say(f"{name}, seed {seed}: {found}")
        for thief in plan.bench.thieves:
            setting = {"surrogates": SURROGATES, **_setting(asdict(thief))}
            key = {"defence": name, "thief": thief.name, "seed": seed}
            if results.has("thefts", key, setting):
                continue
            armed = armed or stage.shield(shield, seed)
            found = steal(stage, armed, thief, seed)
            results.add("thefts", key, setting, found)
            say(f"{name}, {thief.name}, seed {seed}: {found}")
    return results.content


def _setting(thief: dict[str, Any]) -> Cell:
    return {key: value for key, value in thief.items() if key != "name"}


def read(file: Path) -> Content:
    """Results that are there. Raises ValueError for a file of another kind."""
    try:
        content: Content = read_json(file)
        if content["format"] != FORMAT:
            raise KeyError("format")
        content.setdefault("learning", [])
        for kind in KINDS:
            for cell in content[kind]:
                cell["defence"], cell["seed"], cell["setting"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} holds no results of defences, format {FORMAT}") from error
    return content


def write(content: Content, file: Path) -> None:
    """A line a cell. Raises ArtifactError."""
    head = json.dumps({key: value for key, value in content.items() if key not in KINDS})
    parts = []
    for kind in KINDS:
        lines = ",\n".join(json.dumps(cell, allow_nan=False) for cell in content[kind])
        parts.append(f'"{kind}": [\n{lines}\n]')
    write_atomically(file, f"{head[:-1]}, {', '.join(parts)}}}\n".encode())


def _empty(bench: Bench) -> Content:
    return {
        "format": FORMAT,
        "dataset": bench.dataset,
        "title": bench.title,
        "victim": {},
        **{kind: [] for kind in KINDS},
    }
