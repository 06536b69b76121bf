"""The costs that the attack `worstcase` is told: written by one command, read by another."""

from __future__ import annotations

from pathlib import Path

import pytest
from meaning import assert_same_answers

from attacks.options import Attacker
from attacks.process import read_costs
from client.options import Connection
from core.learning.artifacts import ArtifactError
from core.learning.datasets import load_pool
from experiments import costs
from server import model
from server.measures import costs_of


@pytest.mark.process
def test_costs_are_those_of_the_gate_and_of_one_pool(
    digits_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = {"measure": "entropy", "home": digits_home}
    model.prepare(
        digits_home, "oracle", dataset="digits", network="lenet-thin", seed=0, measure="entropy"
    )
    file = tmp_path / "costs.safetensors"
    known = {"pool": "digits", "size": 40, "seed": 5}
    costs.run(costs.Flags(model="oracle", out=file, **place, **known))
    assert capsys.readouterr().out == f"{file}: costs of 40 images\n"
    pool = load_pool("digits", (1, 8, 8), count=40, seed=5, home=digits_home)
    attacker = Attacker(connection=Connection(target="x:1"), pool="digits", pool_size=40, seed=5)
    found = read_costs(file, attacker, pool)
    served = model.load(digits_home, "oracle", "entropy")
    assert_same_answers(found, costs_of(served.measure, served.victim, pool))
    assert found.std() > 0
    with pytest.raises(ValueError, match="is for size 40; expected 39"):
        read_costs(file, attacker, pool[:39])


def test_a_model_that_is_not_prepared_is_refused(tmp_path: Path) -> None:
    flags = costs.Flags(model="none", pool="digits", out=tmp_path / "costs", home=tmp_path)
    with pytest.raises(ArtifactError, match="no artifact at"):
        costs.run(flags)
