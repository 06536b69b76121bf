"""Sweeps: a scenario run for every combination of values of some of its fields.

OUT/sweep.json     the scenario as given, the command, where it ran, and the cells
OUT/CELL/          the run folder of one combination; see `experiments.records`
OUT/CELL.cut-1/    what was left of a run that did not come to its end, kept when it is repeated
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import count, product
from math import prod
from pathlib import Path
from typing import Any

from rich.console import Console

from core import private
from core.documents import read_json, shown
from core.home import default_home
from core.records import provenance
from core.suggest import suggest
from experiments import commands, runner
from experiments.cluster import Workers, connected, edition, unpack
from experiments.pins import take
from experiments.process import RunError
from experiments.records import SWEEP_FILE, FolderError, finished, read_sweep
from experiments.scenario import Scenario, ScenarioError, extend, parse, question, read

LARGEST = 10_000
"""Combinations of a sweep, at most; each is a run of its own."""

Values = Mapping[tuple[str, ...], list[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One combination: a scenario of its own."""

    name: str  # of its folder
    changes: Mapping[str, Any]  # dotted field -> value; empty for a scenario without a sweep
    scenario: Scenario
    given: Mapping[str, Any]


def load(name: str) -> tuple[Cell, ...]:
    """The cells of a scenario by file or name. Raises ScenarioError."""
    return cells(read(name), source=name)


def cells(raw: Mapping[str, Any], *, source: str = "scenario") -> tuple[Cell, ...]:
    """Every combination of the values in `[sweep]`, in order; one cell if there is no such table.

    Raises ScenarioError with every mistake in the sweep, or else with those of its cells.
    """
    base = {key: value for key, value in raw.items() if key != "sweep"}
    if "sweep" not in raw:
        return (Cell(name="", changes={}, scenario=parse(base, source=source), given=base),)
    mistakes: list[str] = []
    values = _values(raw["sweep"], (), mistakes)
    mistakes += [wrong for way, each in values.items() if (wrong := _astray(base, way, each))]
    many = prod(len(each) for each in values.values())
    if many > LARGEST:
        lengths = " x ".join(str(len(each)) for each in values.values())
        mistakes.append(f"sweep makes {many:,} runs ({lengths}), expected at most {LARGEST:,}")
    if mistakes:
        raise ScenarioError(source, mistakes)
    found: list[Cell] = []
    choices = [
        [(way, value, _word(way, values, at, value)) for at, value in enumerate(each)]
        for way, each in values.items()
    ]
    for number, chosen in enumerate(product(*choices), 1):
        given = base
        for way, value, _ in chosen:
            given = _changed(given, way, value)
        try:
            scenario = parse(given, source=source)
        except ScenarioError as error:
            mistakes += [each for each in error.mistakes if each not in mistakes]
            continue
        found.append(
            Cell(
                name=f"{number:0{len(str(many))}}-{','.join(word for *_, word in chosen)}"[:120],
                changes={".".join(way): value for way, value, _ in chosen},
                scenario=scenario,
                given=given,
            )
        )
    if mistakes:
        raise ScenarioError(source, mistakes)
    return tuple(found)


def _values(table: Any, way: tuple[str, ...], mistakes: list[str]) -> dict[tuple[str, ...], Any]:
    """The lists of a sweep by the way to their field: `a.b` and `"a.b"` say the same."""
    path = ".".join(("sweep", *way))
    if isinstance(table, dict) and table:
        found: dict[tuple[str, ...], Any] = {}
        for key, value in table.items():
            found |= _values(value, (*way, *key.split(".")), mistakes)
        return found
    if not way or not isinstance(table, list) or not table:
        expected = "a list of at least one value" if way else "a table of lists"
        mistakes.append(f"{path} is {shown(table)}, expected {expected}")
        return {}
    seen: set[str] = set()
    for at, value in enumerate(table):
        key = json.dumps(value, sort_keys=True, default=repr)
        if key in seen:
            mistakes.append(f"{path}[{at}] is {shown(value)} a second time")
        seen.add(key)
    return {way: table}


def _astray(raw: Mapping[str, Any], way: tuple[str, ...], values: list[Any]) -> str:
    """Why there is no such group of clients in a scenario; all else is told by parsing it."""
    if way[0] != "clients":
        return ""
    path = ".".join(("sweep", *way))
    if len(way) == 1:
        return f"{path} is not a field, expected clients.NAME.FIELD"
    clients = raw.get("clients")
    known = clients if isinstance(clients, list) else []
    groups = [str(each.get("name")) for each in known if isinstance(each, dict)]
    if way[1] not in groups:
        hint = suggest(way[1], groups) or f", known: {', '.join(groups)}"
        return f"{path} is of no group of clients{hint}"
    if len(way) == 2 and not all(isinstance(value, dict) for value in values):
        return f"{path} is {shown(values)}, expected tables"
    return ""


def _changed(raw: Mapping[str, Any], way: tuple[str, ...], value: Any) -> dict[str, Any]:
    """A scenario with another value in one place; a table is merged with the one there."""
    change: Any = value
    for step in reversed(way if way[0] != "clients" else way[2:]):
        change = {step: change}
    if way[0] == "clients":
        change = {"clients": [{"name": way[1], **change}]}
    return extend(raw, change)


def _word(way: tuple[str, ...], values: Values, at: int, value: Any) -> str:
    """What a cell's folder says of one field: its last word, or all where that is not enough."""
    alone = sum(other[-1] == way[-1] for other in values) == 1
    if isinstance(value, dict):  # by its label, or the first of its words
        words = [each for each in value.values() if isinstance(each, str)]
        value = value.get("label", words[0] if words else at + 1)
    elif isinstance(value, list):
        value = "+".join(map(str, value))
    text = re.sub("[^A-Za-z0-9.+_-]+", "-", str(value)).strip("-")
    return f"{way[-1] if alone else '.'.join(way)}={text}"


class Calibrations:
    """One calibration for all cells on this machine that are alike in what it depends on.

    It saves time; and cells that are to be compared are priced alike, which two measurements of one
    machine's speed never are.
    """

    def __init__(self, home: Path) -> None:
        self.home = home.absolute()
        self._known: dict[tuple[str, ...], Mapping[str, Any]] = {}

    def note(self, scenario: Scenario, folder: Path) -> None:
        """Remembers what the run in `folder` was priced by, if it is worth something here."""
        if self.of(scenario) is not None:
            return
        try:
            about = read_json(folder / "scenario.json")
            made, here = about["calibration"], provenance(None)
            fits = made and all(
                made["provenance"][key] == here[key] for key in ("host", "git_revision")
            )
            if fits and take(scenario, folder.absolute(), self.home) == about["pinned"]:
                self._known[self._key(scenario)] = made
        except (OSError, ValueError, KeyError, TypeError):
            return

    def of(self, scenario: Scenario) -> Mapping[str, Any] | None:
        """The calibration for this scenario, if one is known."""
        return self._known.get(self._key(scenario))

    def _key(self, scenario: Scenario) -> tuple[str, ...]:
        """What a calibration depends on is what its command is told."""
        return tuple(commands.calibrate(scenario, self.home, Path()))


def run(
    plan: tuple[Cell, ...],
    out: Path,
    home: Path | None,
    *,
    given: Mapping[str, Any],
    command: str,
    only: str = "",
    cluster: str | None = None,
    console: Console | None = None,
    write: Callable[[Path], object] = lambda folder: None,
) -> list[Path]:
    """Runs the cells that are not finished and have `only` in their names; the folders of all.

    One after the other, or on the workers of the Ray at `cluster`. A cell that fails stops no
    other. `write` makes the page of a cell or of the sweep. Without `home`, victims are in the
    default one, of each worker. Raises RunError for a folder of something else, for a cluster that
    is not there, and at the end if cells failed; FolderError.
    """
    console = console or Console()
    if not any(only in cell.name for cell in plan):
        raise RunError(f"no combination has {only!r} in its name, such as {plan[-1].name}")
    with nullcontext() if cluster is None else connected(cluster) as workers:
        if plan[0].changes:
            _claim(plan, out, given, command)
        elif out.exists():
            raise RunError(f"{out} exists already: a run needs a folder of its own")
        there = [c.name for c in plan if finished(out / c.name, c.scenario.server.policies)]
        for name in there:
            console.print(f"cell {name} is there", highlight=False)
        due = [cell for cell in plan if only in cell.name and cell.name not in there]
        if workers is None:
            known = Calibrations(home or default_home())
            for cell in plan:
                known.note(cell.scenario, out / cell.name)
            ends = _run_local(due, out, command, known, console, write)
        else:
            console.print(f"{len(due)} to run, {workers.count()} at once", highlight=False)
            jobs = {cell.name: _job(cell, command, home) for cell in due}
            ends = _run_on_cluster(workers, jobs, out, write)
        failures = []
        for name, reason in ends:
            title = name or plan[0].scenario.name
            if reason:
                failures.append(f"{title}: {reason}")
            text = f"failed: {reason}" if reason else "is done"
            console.print(f"cell {title} {text}", highlight=False, markup=False)
    if plan[0].changes:
        write(out)
    if failures:
        raise RunError(f"{len(failures)} of {len(plan)} cells failed; {failures[0]}")
    return [out / cell.name for cell in plan]


def _run_local(
    due: Sequence[Cell],
    out: Path,
    command: str,
    known: Calibrations,
    console: Console,
    write: Callable[[Path], object],
) -> Iterator[tuple[str, str]]:
    """Runs cells one after the other; the name of each, and why it failed, "" if it did not."""
    for number, cell in enumerate(due, 1):
        console.print(f"cell {number} of {len(due)}: {cell.name}", highlight=False)
        folder = out / cell.name
        _aside(folder)
        yield (
            cell.name,
            runner.attempt(
                *(cell.scenario, folder, known.home),
                given=cell.given,
                command=command,
                calibration=known.of(cell.scenario),
                console=console,
                write=write,
            ),
        )
        known.note(cell.scenario, folder)


def _run_on_cluster(
    workers: Workers, jobs: Mapping[str, str], out: Path, write: Callable[[Path], object]
) -> Iterator[tuple[str, str]]:
    """Runs cells on workers, in no order; the name of each, and why it failed."""
    for name, reason, packed in workers.run(jobs):
        if packed:
            _aside(out / name)
            try:
                unpack(packed, out / name)
                if (out / name / "scenario.json").exists():
                    write(out / name)
            except (RunError, FolderError) as error:
                reason = reason or str(error)
        yield name, reason


def _job(cell: Cell, command: str, home: Path | None) -> str:
    """What a worker is sent; see `experiments.cluster`."""
    return json.dumps(
        {
            "given": cell.given,
            "source": cell.scenario.source,
            "question": question(cell.scenario.source),
            "command": command,
            "edition": edition(),
            "home": str(home.absolute()) if home is not None else "",
        }
    )


def _aside(folder: Path) -> None:
    """Keeps what is left of a run that did not come to its end under another name."""
    if folder.exists():
        names = (folder.with_name(f"{folder.name}.cut-{n}") for n in count(1))
        folder.rename(next(name for name in names if not name.exists()))


def _claim(plan: tuple[Cell, ...], out: Path, given: Mapping[str, Any], command: str) -> None:
    """Makes the folder of a sweep, or makes sure that it is the one of this sweep."""
    if out.exists():
        if read_sweep(out)["given"] != json.loads(json.dumps(given)):
            raise RunError(f"{out} is the folder of a sweep of another scenario")
        private.folder(out)
        return
    runner.new_folder(out)
    about = {
        "given": given,
        "command": command,
        "provenance": provenance(None),
        "cells": [{"name": cell.name, "changes": dict(cell.changes)} for cell in plan],
    }
    runner.write_json(out / SWEEP_FILE, about)
