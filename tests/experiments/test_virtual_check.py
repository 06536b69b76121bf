"""Real and virtual runs side by side: what is compared, and what is refused."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments import virtual_check
from experiments.scenario import ScenarioError


def summary(*totals: float, virtual: bool) -> dict[str, Any]:
    seconds = {"solve": 0.5, "server": 0.1}
    clients = [
        {
            "name": f"c{number}",
            "status": "done",
            "images": 10,
            "work": 100,
            "hashes": 90,
            "virtual": virtual,
            "seconds": {**seconds, "total": total},
        }
        for number, total in enumerate(totals)
    ]
    load = {"mean": 1.0, "max": 2.0}
    calibration = {"rates": {"sha1": 1e6}}
    return {"arms": [{"clients": clients, "load": load}], "calibration": calibration}


def test_totals_are_added_over_clients() -> None:
    found = virtual_check.compare(
        "x", summary(3.0, 7.0, virtual=False), summary(4.0, 6.9, virtual=True)
    )
    assert found["seconds"] == pytest.approx({"real": 10.0, "virtual": 10.9})
    assert found["ratio"] == pytest.approx(1.09)
    assert found["agree"] is True
    assert found["clients"][0]["virtual"]["total_seconds"] == 4.0
    assert "| x | 10.0 | 10.9 | 1.090 | 1.0, 1.0 | 1.0, 1.0 |" in virtual_check.table(
        {"scenarios": [found]}
    )


@pytest.mark.parametrize(("drawn", "agree"), [(11.2, False), (8.8, False), (9.1, True)])
def test_a_tenth_is_the_limit_either_way(drawn: float, agree: bool) -> None:
    real, virtual = summary(10.0, virtual=False), summary(drawn, virtual=True)
    assert virtual_check.compare("x", real, virtual)["agree"] is agree


def test_runs_that_cannot_be_compared() -> None:
    real, virtual = summary(1.0, virtual=False), summary(1.0, virtual=True)
    dead = copy.deepcopy(virtual)
    dead["arms"][0]["clients"][0]["status"] = "crashed"
    with pytest.raises(ValueError, match="x: c0 ended as crashed"):
        virtual_check.compare("x", real, dead)
    fewer = copy.deepcopy(virtual)
    fewer["arms"][0]["clients"][0]["images"] = 9
    for one, other in ((real, fewer), (real, real), (virtual, virtual)):
        with pytest.raises(ValueError, match="c0 did not do the same in both runs"):
            virtual_check.compare("x", one, other)


@pytest.mark.parametrize("name", virtual_check.Flags().scenarios)
def test_both_differ_in_solving_only(name: str) -> None:
    real, virtual = virtual_check.both(name)
    assert (real.server.policies, real.server.virtual) == (("rate",), False)
    assert {client.solver for client in real.clients} == {"native"}
    assert {client.solver for client in virtual.clients} == {"virtual"}
    same = tuple(replace(client, solver="native") for client in virtual.clients)
    server = replace(virtual.server, virtual=False)
    assert replace(virtual, clients=same, server=server) == real


def test_only_the_last_policy_is_run() -> None:
    assert virtual_check.both("smoke")[1].server.policies == ("rate",)


def test_scenarios_that_are_virtual_already_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "drawn.toml"
    file.write_text('extends = "smoke"\nserver.virtual = true\n')
    with pytest.raises(ScenarioError, match=r"server\.virtual is true, expected false"):
        virtual_check.both(str(file))


def test_what_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ran: list[tuple[bool, bool]] = []
    said: list[str] = []

    def run(scenario: Any, home: Path, *, calibrate: bool) -> dict[str, Any]:
        ran.append((scenario.server.virtual, calibrate))
        return summary(12.0 if scenario.server.virtual else 10.0, virtual=scenario.server.virtual)

    monkeypatch.setattr(virtual_check, "_run", run)
    found = virtual_check.measure(("smoke",), home=tmp_path, say=said.append)
    assert ran == [(False, True), (True, False)]  # at the same prices
    assert said == ["smoke: virtual / real seconds = 1.200"]
    assert found["agree"] is False
    assert found["provenance"]["python"]
