"""The frames of a run and of a sweep agree with the summary; a notebook runs what a file says."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sweeps import swept

import experiments
from experiments import results, runner
from experiments.records import FolderError
from experiments.scenario import ScenarioError, load
from experiments.summary import summarise


def test_a_run_as_frames(folder: Path) -> None:
    found = results.read(folder)
    clients = found.clients.set_index(["policy", "name"])
    assert len(clients) == 4
    bob = clients.loc["rate", "bob"]
    assert (bob["work"], bob["solve_seconds"], bob["accuracy"]) == (40_000, 8.4, 0.4)
    assert found.requests.groupby(["policy", "client"])["images"].sum()["rate", "bob"] == 20
    assert set(found.requests["account"]) == {"ann", "bob"}
    assert list(found.checkpoints["accuracy"]) == [0.3, 0.3, 0.4]
    assert found.missing == ()
    summary = summarise(experiments.records.read(folder))
    rows = sum(len(arm["clients"]) for arm in summary["arms"])
    assert len(found.clients) == rows


SEEDS = [{"seed": 1}, {"seed": 2}, {"seed": 3}]


def test_a_sweep_as_frames(folder: Path) -> None:
    found = results.read(swept(folder, SEEDS, missing=1))
    assert found.missing == ("3-x",)
    for frame in (found.clients, found.requests, found.checkpoints):
        assert set(frame["seed"]) == {1, 2}
    assert len(found.clients) == 2 * 4


def test_folders_that_hold_nothing(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="is not the folder of a run"):
        results.read(tmp_path)
    with pytest.raises(FolderError, match="holds no run that can be read"):
        results.read(swept(folder, SEEDS, missing=3))


def test_a_notebook_runs_scenarios_and_sweeps(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[Any, Path, str]] = []

    def run(scenario: Any, out: Path, home: Path, *, command: str, **_: Any) -> Path:
        ran.append((scenario.seed, home, command))
        shutil.copytree(folder, out)
        return out

    monkeypatch.setattr(runner, "run", run)
    scenario = replace(load("smoke")[0], seed=5)
    one = experiments.run(scenario, tmp_path / "one", home=tmp_path / "home")
    assert (len(one.clients), one.folder) == (4, tmp_path / "one")
    assert ran[0][:2] == (5, tmp_path / "home")
    named = experiments.run("smoke", str(tmp_path / "two"))
    assert len(named.clients) == 4
    assert ran[1][2] == "experiments.run('smoke')"
    file = tmp_path / "swept.toml"
    file.write_text('extends = "smoke"\n[sweep]\nseed = [8, 9]\n')
    both = experiments.run(str(file), tmp_path / "three")
    assert list(both.clients["seed"]) == [8] * 4 + [9] * 4
    assert [seed for seed, *_ in ran] == [5, 1, 8, 9]


def test_a_scenario_made_by_hand_is_checked_like_a_file(tmp_path: Path) -> None:
    scenario = load("demo")[0]
    wrong = replace(scenario, server=replace(scenario.server, puzzle="md5"), limit=0.5)
    with pytest.raises(ScenarioError, match=r"limit is 0\.5, expected 1 to") as caught:
        experiments.run(wrong, tmp_path / "out")
    assert len(caught.value.mistakes) == 2
    twins = replace(scenario, clients=(scenario.clients[0],) * 2)
    with pytest.raises(ScenarioError, match="'honest', as in"):
        experiments.run(twins, tmp_path / "out")
    assert not (tmp_path / "out").exists()
