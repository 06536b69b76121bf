"""Virtual solving stands for real solving: the same queries at the same prices take as long."""

from __future__ import annotations

from pathlib import Path

import pytest

import experiments
from experiments import sweep
from experiments.scenario import read


@pytest.mark.parametrize("name", ["virtual-thief", "virtual-sybil", "virtual-mixed"])
def test_a_check_runs_both_ways(name: str) -> None:
    real, virtual = (cell.scenario for cell in sweep.cells(read(name), source=name))
    assert (real.server.virtual, virtual.server.virtual) == (False, True)
    assert {client.solver for client in real.clients} == {"native"}
    assert {client.solver for client in virtual.clients} == {"virtual"}


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.process
def test_it_takes_about_as_long(tmp_path: Path, digits_home: Path) -> None:
    """On a machine that does nothing else it agrees within a tenth; here others may be at work."""
    file = tmp_path / "small.toml"
    file.write_text(
        'extends = "virtual-thief"\nname = "small"\nserver.t_max = 1.0\n'
        '[[clients]]\nname = "knockoff"\nconfig = { budget = 128 }\n'
    )
    found = experiments.run(str(file), tmp_path / "out", home=digits_home).clients
    assert list(found["virtual"]) == [False, True]
    assert found["images"].nunique() == found["work"].nunique() == 1
    assert (found["hashes"] > 0).all()
    drawn, spent = found["total_seconds"][1], found["total_seconds"][0]
    assert 0.25 < drawn / spent < 2
