"""The stopwatch of the measures, on sizes that take no time."""

import json
import sys

import pytest

from experiments import measure_speed
from experiments.__main__ import main
from experiments.measure_speed import GOALS, measure, table
from server.measures.gap import Gap


@pytest.fixture
def small(monkeypatch):
    full = measure_speed._teachers
    monkeypatch.setattr(measure_speed, "TRAINING", 3_000)
    monkeypatch.setattr(measure_speed, "WIDTH", 16)
    monkeypatch.setattr(measure_speed.heads, "train", lambda victim, split, seed: sum(range(9)))
    monkeypatch.setattr(
        measure_speed.teachers, "train_one", lambda shard, shape, classes, seed: sum(range(9))
    )
    monkeypatch.setattr(measure_speed, "_teachers", lambda count, seed: full(count // 25, seed))


def test_every_measure_is_timed(small):
    said = []
    found = measure(rounds=1, seed=0, say=said.append)
    assert set(found) == {*GOALS, "entropy", "gap"}
    assert all(0 < taken["least"] <= taken["median"] for taken in found.values())
    assert len(said) == len(found)


def test_the_command_writes_what_it_found(small, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(measure_speed, "_measures", lambda rng, seed: [("gap", Gap())])
    file = tmp_path / "speed.json"
    words = ["experiments", "measures-speed", "--rounds", "2", "--json", str(file)]
    monkeypatch.setattr(sys, "argv", words)
    main()
    assert "| gap | " in capsys.readouterr().out
    content = json.loads(file.read_text())
    assert content["command"].startswith("python -m experiments measures-speed --rounds 2")
    assert content["goals_ms"] == GOALS
    assert set(content["cpu_ms"]["gap"]) == {"median", "least"}


def test_a_goal_that_is_missed_is_marked():
    text = table({"gap": {"median": 9.0, "least": 8.0}, "typicality": {"median": 4.5, "least": 4}})
    assert text.splitlines()[2:] == ["| gap | 9 | 8 | - |", "| typicality | 4.5 (missed) | 4 | 4 |"]


def test_no_rounds_are_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["experiments", "measures-speed", "--rounds", "0"])
    assert main() == 1
    assert capsys.readouterr().err.startswith("error: --rounds is 0; expected at least 1")
