"""What an oracle tells the thief `worstcase`: written by one command, read by another."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from meaning import assert_same_answers

from attacks.options import Attacker
from attacks.process import read_costs
from client.options import Connection
from core.learning.datasets import load_pool
from experiments.oracle import write_costs
from server import model
from server.measures import costs_of


def test_costs_are_those_of_the_gate_and_of_one_pool(digits_home: Path, tmp_path: Path) -> None:
    place = {"measure": "entropy", "home": digits_home}
    model.prepare(
        digits_home, "oracle", dataset="digits", network="lenet-thin", seed=0, measure="entropy"
    )
    file = tmp_path / "costs.safetensors"
    known = {"pool": "digits", "size": 40, "seed": 5}
    assert write_costs(file, model="oracle", **place, **known) == 40
    pool = load_pool("digits", (1, 8, 8), count=40, seed=5, home=digits_home)
    thief = Attacker(connection=Connection(target="x:1"), pool="digits", pool_size=40, seed=5)
    costs = read_costs(file, thief, pool)
    served = model.load(digits_home, "oracle", "entropy")
    assert_same_answers(costs, costs_of(served.measure, served.victim, pool))
    assert costs.std() > 0
    with pytest.raises(ValueError, match="is for size 40; expected 39"):
        read_costs(file, thief, pool[:39])


def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "experiments", "costs", "--home", str(tmp_path)]
    command += ["--model", "none", "--pool", "digits", "--out", str(tmp_path / "costs")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: no artifact at")
    assert done.stderr.count("\n") == 1
