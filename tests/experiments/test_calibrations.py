"""Cells that are alike are priced alike, and a calibration that is not worth it is made anew."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from core.records import provenance
from experiments import commands, runner, sweep
from experiments.calibrations import Calibrations
from experiments.scenario import Scenario, parse

RAW: dict[str, Any] = {
    "name": "priced",
    "seed": 1,
    "victim": {"dataset": "digits", "network": "lenet-thin"},
    "clients": [{"name": "ann", "kind": "honest", "images": 10}],
}
SCENARIO = parse(RAW)
HERE = provenance(None)


def leave(folder: Path, home: Path, scenario: Scenario, made: Mapping[str, Any]) -> None:
    """A run that was priced by `made`, the last calibration of its victim."""
    folder.mkdir(exist_ok=True)
    (folder / "scenario.json").write_text(json.dumps({"calibration": made}))
    (folder / "summary.json").write_text(
        json.dumps({"arms": [{"policy": p, "server_code": 0} for p in ("none", "rate")]})
    )
    file = commands.calibration(scenario, home)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(made))


def calibration(number: int, **changed: Any) -> dict[str, Any]:
    where = {"host": HERE["host"], "git_revision": HERE["git_revision"]}
    return {"fingerprint": "f", "t_max": number, "provenance": where, **changed}


class Runs:
    """Stands for the runner: every calibration is another."""

    def __init__(self) -> None:
        self.calibrated: list[bool] = []
        self.prices: list[int] = []

    def __call__(
        self, scenario: Scenario, out: Path, home: Path, *, calibrate: bool, **_: Any
    ) -> None:
        self.calibrated.append(calibrate)
        file = commands.calibration(scenario, home)
        made = calibration(len(self.calibrated)) if calibrate else json.loads(file.read_text())
        self.prices.append(made["t_max"])
        leave(out, home, scenario, made)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:

    made = Runs()
    monkeypatch.setattr(runner, "run", made)
    return made


def go(out: Path, table: Mapping[str, Any]) -> None:
    raw = {**RAW, "sweep": table}
    quiet = Console(quiet=True)
    home = out.parent / "home"
    sweep.run(sweep.cells(raw), out, home, given=raw, command="again", console=quiet)


def test_cells_alike_are_calibrated_once(runs: Runs, tmp_path: Path) -> None:
    go(tmp_path / "a", {"clients.ann.pace": [1, 2], "server.t_max": [0.5, 1.0]})
    assert runs.calibrated == [True, True, False, False]
    assert runs.prices == [1, 2, 1, 2]  # what another cell calibrated in between is put back
    go(tmp_path / "b", {"seed": [1, 2], "clients.ann.images": [5, 6]})
    assert runs.calibrated[4:] == [True, False, True, False]
    go(tmp_path / "c", {"server.measure": ["entropy", "gap"]})
    assert runs.calibrated[8:] == [True, True]


def test_a_sweep_that_goes_on_keeps_its_price(runs: Runs, tmp_path: Path) -> None:
    table = {"clients.ann.pace": [1, 2, 3]}
    go(tmp_path / "a", table)
    (tmp_path / "a" / "3-pace=3" / "summary.json").unlink()
    leave(tmp_path / "other", tmp_path / "home", SCENARIO, calibration(77))
    go(tmp_path / "a", table)
    assert (runs.calibrated[3:], runs.prices[3:]) == ([False], [1])


@pytest.mark.parametrize(
    "made",
    [
        calibration(1, fingerprint="of another victim"),
        calibration(1, provenance={**HERE, "host": "elsewhere"}),
        calibration(1, provenance={**HERE, "git_revision": "another"}),
        {},
        None,
    ],
)
def test_a_calibration_that_is_not_of_here_is_made_anew(tmp_path: Path, made: Any) -> None:
    known = Calibrations(tmp_path / "home")
    leave(tmp_path / "run", tmp_path / "home", SCENARIO, calibration(2))
    (tmp_path / "run" / "scenario.json").write_text(json.dumps({"calibration": made}))
    known.note(SCENARIO, tmp_path / "run")
    assert not known.restore(SCENARIO)
    known.note(SCENARIO, tmp_path / "nowhere")
    assert not known.restore(SCENARIO)
    leave(tmp_path / "run", tmp_path / "home", SCENARIO, calibration(2))
    known.note(SCENARIO, tmp_path / "run")
    assert known.restore(SCENARIO)
    steep = replace(SCENARIO, server=replace(SCENARIO.server, t_max=9.0))
    assert not known.restore(steep)
