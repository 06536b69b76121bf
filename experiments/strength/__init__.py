"""How good each attack is where answers cost nothing: accuracy and fidelity against queries.

Each cell (dataset, attack, variant, seed) is a real gate with policy `none` and a real thief. What
it found is written as soon as it is there, one line of JSON a cell, and a run that was cut short
goes on with the cells that are missing; `strength.plan` says what there is to run.

The file, format 1: {"format", "dataset", "title", "victim": {"model", "network", "seed",
"accuracy", "images"}, "cells": [...]}; a cell:

    attack, variant, seed, setting
    curve          [queries, accuracy, fidelity] of each surrogate on all held-out images
    batches        requests answered
    cpu_seconds    of the thief's process, start-up included
    wall_seconds   from its start to its end
    train_seconds  wall time of lessons and of choosing the batch after each
    overhead_ms    of a batch, what is neither lesson nor puzzle: mean CPU time of asking, plus
                   median wall time between an answer and the next request
    cost_per_image privacy cost by the server's measure, `heads`
    command        repeats the cell
    provenance     revision, versions, host
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.documents import read_json
from core.learning.artifacts import write_atomically
from experiments.arm import RunError
from experiments.strength.cell import VICTIM_SEED, Cell, Place, model, prepare, run_cell
from experiments.strength.plan import Bench, Trial, check

FORMAT = 1

Content = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Which cells to run, and where things are."""

    bench: Bench
    attacks: tuple[str, ...]  # none: all of them
    seeds: tuple[int, ...]  # none: those of each trial
    place: Place
    file: Path  # of results

    def __post_init__(self) -> None:
        """Raises ValueError for what cannot be run."""
        if any(seed < 0 for seed in self.seeds):
            raise ValueError(f"--seeds is {list(self.seeds)}; expected numbers from 0")
        known = {trial.attack for trial in self.bench.trials}
        for attack in self.attacks:
            if attack not in known:
                raise ValueError(
                    f"--attacks names {attack!r}, which is not tried on {self.bench.dataset}; "
                    f"expected some of {', '.join(sorted(known))}"
                )
        for trial, _ in self.cells():
            check(trial)

    def cells(self) -> Iterator[tuple[Trial, int]]:
        """Trials and seeds: the first seed of each first, so that a table is soon whole."""
        chosen = [t for t in self.bench.trials if not self.attacks or t.attack in self.attacks]
        pairs = [(trial, seed) for trial in chosen for seed in self.seeds or trial.seeds]
        return iter(sorted(pairs, key=lambda pair: pair[1]))


def run(plan: Plan, say: Callable[[str], None]) -> Content:
    """Runs the cells that are missing; the whole content of the file at the end.

    A thief that fails costs its own cell only. Raises RunError, at the end if a cell failed, and
    ValueError for a file that holds something else.
    """
    failed: list[str] = []
    prepared = False
    for trial, seed in plan.cells():
        name = f"{plan.bench.short}: {trial.name}, seed {seed}"
        key = (trial.attack, trial.variant, seed)
        old = (cell for cell in _kept(plan)["cells"] if _key(cell) == key)
        if any(cell["setting"] == trial.setting() for cell in old):
            say(f"{name}: is there")
            continue
        if not prepared:
            prepare(plan.bench, plan.place)
            prepared = True
        try:
            victim, cell = run_cell(plan.bench, trial, seed, plan.place)
        except RunError as error:
            failed.append(name)
            say(f"{name}: {error}")
            continue
        content = _kept(plan)  # again: another run may have written to it meanwhile
        if victim["accuracy"] != content["victim"].setdefault("accuracy", victim["accuracy"]):
            raise RunError(f"{plan.file} is about another victim: remove it, or write elsewhere")
        content["victim"].update(victim)
        others = [other for other in content["cells"] if _key(other) != key]
        content["cells"] = sorted([*others, cell], key=_key)
        write(content, plan.file)
        asked, accuracy, fidelity = cell["curve"][-1]
        say(
            f"{name}: {100 * accuracy:.2f} %, fidelity {100 * fidelity:.2f} % at {asked:,} queries;"
            f" {cell['cpu_seconds']:.0f} s CPU, overhead {cell['overhead_ms']:.1f} ms a batch"
        )
    if failed:
        raise RunError(f"{len(failed)} cells failed: {'; '.join(failed)}")
    return _kept(plan)


def read(file: Path) -> Content:
    """Results that are there. Raises ValueError for a file of another kind."""
    try:
        content: Content = read_json(file)
        if content["format"] != FORMAT:
            raise KeyError("format")
        for cell in content["cells"]:
            _key(cell), cell["setting"], cell["curve"][-1]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{file} holds no results of strength, format {FORMAT}") from error
    return content


def write(content: Content, file: Path) -> None:
    """A line a cell."""
    head = {key: value for key, value in content.items() if key != "cells"}
    lines = ",\n".join(json.dumps(cell, allow_nan=False) for cell in content["cells"])
    text = f'{json.dumps(head)[:-1]}, "cells": [\n{lines}\n]}}\n'
    write_atomically(file, text.encode())


def _key(cell: Cell) -> tuple[str, str, int]:
    return cell["attack"], cell["variant"], cell["seed"]


def _kept(plan: Plan) -> Content:
    if plan.file.exists():
        return read(plan.file)
    bench = plan.bench
    victim = {"model": model(bench), "network": bench.network, "seed": VICTIM_SEED}
    return {
        "format": FORMAT,
        "dataset": bench.dataset,
        "title": bench.title,
        "victim": victim,
        "cells": [],
    }
