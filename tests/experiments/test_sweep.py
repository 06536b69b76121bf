"""Sweeps: every combination is a scenario of its own, and what is finished is not run again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from core.records import provenance
from experiments import commands, pins, runner, sweep
from experiments.process import RunError
from experiments.records import FolderError
from experiments.report import page
from experiments.scenario import Scenario, ScenarioError, parse

BOB = {"name": "bob", "kind": "attack", "attack": "knockoff", "network": "lenet"}
RAW: dict[str, Any] = {
    "name": "swept",
    "seed": 3,
    "victim": {"dataset": "digits", "network": "lenet"},
    "server": {"t_max": 2.0},
    "clients": [
        {"name": "ann", "kind": "honest", "images": 10},
        {**BOB, "pool": "photos", "pool_size": 50},
    ],
}
PLAN: dict[str, Any] = {**RAW, "sweep": {"seed": [1, 2, 3]}}
NAMES = ["1-seed=1", "2-seed=2", "3-seed=3"]


def cells(table: Any) -> tuple[sweep.Cell, ...]:
    return sweep.cells({**RAW, "sweep": table})


def test_every_combination_in_order() -> None:
    found = cells(
        {"seed": [1, 2], "clients": {"bob": {"accounts": [1, 10], "config.budget": [64]}}}
    )
    assert [cell.name for cell in found] == [
        "1-seed=1,accounts=1,budget=64",
        "2-seed=1,accounts=10,budget=64",
        "3-seed=2,accounts=1,budget=64",
        "4-seed=2,accounts=10,budget=64",
    ]
    assert [cell.name for cell in sweep.cells(RAW)] == [""]
    last = found[-1]
    assert last.changes == {"seed": 2, "clients.bob.accounts": 10, "clients.bob.config.budget": 64}
    bob = last.scenario.clients[1]
    assert (last.scenario.seed, bob.accounts, bob.config) == (2, 10, {"budget": 64})
    assert last.scenario.clients[0] == found[0].scenario.clients[0]  # all else as it was
    assert sweep.cells(last.given)[0].scenario == last.scenario


def test_names_tell_fields_of_one_name_apart() -> None:
    found = cells({"clients.ann.pace": [0.5], "clients.bob.pace": [1]})
    assert found[0].name == "1-clients.ann.pace=0.5,clients.bob.pace=1"
    (odd,) = cells({"clients.bob.pool": ["npz:a/b c.npz"]})
    assert odd.name == "1-pool=npz-a-b-c.npz"
    assert len(cells({"clients.bob.pool": [f"npz:{'x' * 300}"]})[0].name) <= 120


def test_fields_may_be_swept_together_as_a_table() -> None:
    shields = [{"policies": ["none"]}, {"defence": "hard_label", "policies": ["rate"]}]
    found = cells({"server": shields})
    assert [cell.name for cell in found] == ["1-server=1", "2-server=hard_label"]
    assert [cell.scenario.server.defence for cell in found] == ["none", "hard_label"]
    assert {cell.scenario.server.t_max for cell in found} == {2.0}  # merged, not replaced
    groups = cells({"clients.ann": [{"images": 5}, {"processes": 2}]})
    assert [len(cell.scenario.clients) for cell in groups] == [2, 3]


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        (3, "sweep is 3, expected a table of lists"),
        ({}, "sweep is {}, expected a table of lists"),
        ({"seed": 3}, "sweep.seed is 3, expected a list of at least one value"),
        (
            {"seed": list(range(1000)), "limit": list(range(1, 1001))},
            r"1,000,000 runs \(1000 x 1000",
        ),
        ({"seed": []}, r"sweep.seed is \[\], expected a list of at least one"),
        ({"seed": [1, 2, 1]}, r"sweep.seed\[2\] is 1 a second time"),
        ({"server.t_max": [1, "x"]}, "server.t_max is 'x', expected a number"),
        ({"server": {"tmax": [1, 2]}}, "server.tmax is not a known key; did you mean 't_max'?"),
        ({"clients": [1]}, "sweep.clients is not a field, expected clients.NAME.FIELD"),
        ({"clients.bib.pace": [1]}, "sweep.clients.bib.pace is of no group .* did you mean 'bob'?"),
        ({"clients.bob.acounts": [1, 2]}, "acounts is not a known key; did you mean 'accounts'?"),
        ({"clients.bob": [3]}, r"clients.bob is \[3\], expected tables"),
        ({"seed.x": [1]}, r"seed is \{'x': 1\}, expected a whole number"),
        ({"sweep.seed": [1]}, "sweep is not a known key"),
    ],
)
def test_one_mistake_is_named_once(table: Any, complaint: str) -> None:
    with pytest.raises(ScenarioError, match=complaint) as caught:
        cells(table)
    assert len(caught.value.mistakes) == 1, caught.value


def priced_at(number: int, **changed: Any) -> dict[str, Any]:
    here = provenance(None)
    where = {"host": here["host"], "git_revision": here["git_revision"]}
    return {"t_max": number, "provenance": {**where, **changed}}


def leave(folder: Path, home: Path, scenario: Scenario, made: Any, code: int | None = 0) -> None:
    """A run that was priced by `made`, with the victim that is at home."""
    folder.mkdir(exist_ok=True)
    commands.calibration(folder).write_text(json.dumps(made))
    about = {"calibration": made, "pinned": pins.take(scenario, folder, home)}
    (folder / "scenario.json").write_text(json.dumps(about))
    arms = [{"policy": policy, "server_code": code} for policy in ("none", "rate")]
    (folder / "summary.json").write_text(json.dumps({"arms": arms}))


class Runs:
    """Stands for the runner: every calibration is another; some seeds fail."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.failing: dict[int, BaseException] = {}
        self.calibrated: list[bool] = []
        self.prices: list[int] = []

    def __call__(
        self, scenario: Scenario, out: Path, home: Path, *, calibration: Any, **_: Any
    ) -> Path:
        self.asked.append(scenario.seed)
        self.calibrated.append(calibration is None)
        made = calibration or priced_at(len(self.calibrated))
        self.prices.append(made["t_max"])
        error = self.failing.get(scenario.seed)
        leave(out, home, scenario, made, 0 if error is None else None)
        if error is not None:
            raise error
        return out


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    made = Runs()
    monkeypatch.setattr(runner, "run", made)
    return made


def go(out: Path, raw: dict[str, Any] = PLAN, **options: Any) -> list[Path]:
    home, quiet, plan = out.parent / "home", Console(quiet=True), sweep.cells(raw)
    return sweep.run(plan, out, home, given=raw, command="again", console=quiet, **options)


def test_a_sweep_that_was_interrupted_goes_on(runs: Runs, tmp_path: Path) -> None:
    out = tmp_path / "a" / "sweep"
    runs.failing = {2: KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        go(out)
    assert runs.asked == [1, 2]
    runs.failing = {}
    assert [folder.name for folder in go(out, write=page.write)] == NAMES
    assert runs.asked == [1, 2, 2, 3]
    kept = {entry.name for entry in out.iterdir()}
    assert kept == {"sweep.json", "summary.json", "report.html", *NAMES, "2-seed=2.cut-1"}
    about = json.loads((out / "sweep.json").read_text())
    assert about["cells"][2] == {"name": "3-seed=3", "changes": {"seed": 3}}
    assert (about["given"], about["command"]) == (PLAN, "again")
    go(out)
    assert runs.asked == [1, 2, 2, 3]


def test_a_cell_that_fails_stops_no_other(runs: Runs, tmp_path: Path) -> None:
    runs.failing = {1: RunError("no such luck [/see/log]")}  # no markup
    failed = r"^1 of 3 cells failed; 1-seed=1: no such luck \[/see/log\]$"
    with pytest.raises(RunError, match=failed):
        go(tmp_path / "out")
    assert runs.asked == [1, 2, 3]


def test_a_folder_of_something_else_is_left_alone(runs: Runs, tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=r"is not the folder of a sweep: no sweep\.json"):
        go(tmp_path)
    go(tmp_path / "out")
    with pytest.raises(RunError, match="is the folder of a sweep of another scenario"):
        go(tmp_path / "out", {**PLAN, "sweep": {"seed": [1, 2]}})
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot create"):
        go(tmp_path / "file" / "out")
    assert runs.asked == [1, 2, 3]


def test_cells_alike_are_calibrated_once(runs: Runs, tmp_path: Path) -> None:
    for name, table, calibrated in (
        ("a", {"clients.ann.pace": [1, 2], "server.t_max": [0.5, 1.0]}, [True, True, False, False]),
        ("b", {"seed": [1, 2], "clients.ann.images": [5, 6]}, [True, False, True, False]),
        ("c", {"server.measure": ["entropy", "gap"]}, [True, True]),
    ):
        runs.calibrated.clear()
        go(tmp_path / name, {**RAW, "sweep": table})
        assert runs.calibrated == calibrated
    assert runs.prices[:4] == [1, 2, 1, 2]


def test_a_sweep_that_goes_on_keeps_its_price(runs: Runs, tmp_path: Path) -> None:
    raw = {**RAW, "sweep": {"clients.ann.pace": [1, 2, 3]}}
    go(tmp_path / "a", raw)
    (tmp_path / "a" / "3-pace=3" / "summary.json").unlink()
    go(tmp_path / "a", raw)
    assert (runs.calibrated[3:], runs.prices[3:]) == ([False], [1])


def test_a_calibration_is_known_for_the_same_settings_and_the_same_victim(tmp_path: Path) -> None:
    home, run, one = tmp_path / "home", tmp_path / "run", parse(RAW)
    known = sweep.Calibrations(home)
    known.note(one, tmp_path / "nowhere")
    for made in (priced_at(1, host="elsewhere"), priced_at(1, git_revision="other"), {}, None):
        leave(run, home, one, made)
        known.note(one, run)
    leave(run, home, one, priced_at(2))
    victim = commands.victim(one, home)
    victim.parent.mkdir(parents=True)
    victim.write_text("prepared again")
    known.note(one, run)
    assert known.of(one) is None
    leave(run, home, one, priced_at(2))
    known.note(one, run)
    assert known.of(one) == priced_at(2)
    assert known.of(replace(one, server=replace(one.server, t_max=9.0))) is None
