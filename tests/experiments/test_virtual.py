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
@pytest.mark.process
@pytest.mark.timeout(600)
def test_what_is_drawn_is_what_would_be_spent(tmp_path: Path, digits_home: Path) -> None:
    """The same work and hashes; real seconds may be more, where others are at work here."""
    file = tmp_path / "small.toml"
    file.write_text(
        'extends = "virtual-thief"\nname = "small"\nserver.t_max = 1.0\n'
        '[[clients]]\nname = "knockoff"\nconfig = { budget = 128 }\n'
    )
    found = experiments.run(str(file), tmp_path / "out", home=digits_home).requests
    real, drawn = found[~found["virtual"]], found[found["virtual"]]
    assert list(real["images"]) == list(drawn["images"]) == [16] * 8
    assert list(real["work"]) == list(drawn["work"])
    assert drawn["hashes"].sum() == pytest.approx(real["hashes"].sum(), rel=0.5)
    each_drawn, each_real = (way["solve"].sum() / way["hashes"].sum() for way in (drawn, real))
    assert 0 < each_drawn < 1.5 * each_real
