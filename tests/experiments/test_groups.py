"""Groups of clients: how many, when they come, under which names, and what they are told."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from scenarios import GOOD, broken

from core.learning.drift import DRIFTS
from experiments import commands, groups
from experiments.groups import Attacker, Honest
from experiments.scenario import ScenarioError, check, parse


def test_a_group_is_so_many_processes_alike() -> None:
    ann, bob, *_ = GOOD["clients"]
    group = {**ann, "name": "crowd", "processes": 3, "start": 5.0, "pace": 2}
    clients = parse({**GOOD, "clients": [ann, group, bob]}).clients
    assert [c.name for c in clients] == ["ann", "crowd-1", "crowd-2", "crowd-3", "bob"]
    assert [c.group for c in clients] == ["", *["crowd"] * 3, ""]
    first, second = clients[1], clients[2]
    assert dataclasses.replace(second, name=first.name, seed=first.seed) == first
    assert (first.pace, first.start, clients[0].start) == (2.0, 5.0, 0.0)
    # A client's seed is its own, whatever the size of the groups before it.
    scenario = parse({**GOOD, "clients": [ann, group, bob]})
    seeds = [commands.seed(scenario, client) for client in scenario.clients]
    assert seeds == [4, 5, 1005, 2005, 6]
    small = parse({**GOOD, "clients": [ann, {**group, "processes": 1}, bob]})
    assert [c.name for c in small.clients] == ["ann", "crowd-1", "bob"]
    assert [commands.seed(small, client) for client in small.clients] == [4, 5, 6]


def test_a_group_may_list_its_seeds() -> None:
    scenario = parse(broken(clients__0__seeds=[7, 40]))
    assert [c.name for c in scenario.clients] == ["ann-1", "ann-2", "bob"]
    assert [commands.seed(scenario, c) for c in scenario.clients] == [7, 40, 5]


def test_arrivals_are_a_poisson_process_of_the_given_rate() -> None:
    raw = broken(clients__0__processes=1000, clients__0__arrival_rate=2.0, clients__0__start=10)
    starts = [client.start for client in parse(raw).clients[:1000]]
    assert starts == [client.start for client in parse(raw).clients[:1000]]
    gaps = np.diff([10.0, *starts])
    assert (gaps >= 0).all()
    assert np.mean(gaps) == pytest.approx(0.5, rel=0.1)
    assert np.std(gaps) == pytest.approx(0.5, rel=0.15)  # as of exponential times, not of a clock
    other = parse({**raw, "seed": 4}).clients[0].start
    assert other != starts[0]


def test_a_thief_may_have_several_accounts() -> None:
    bob = parse(broken(clients__1__accounts=3, clients__1__deal="series")).clients[1]
    assert isinstance(bob, Attacker)
    assert (bob.accounts, bob.deal, bob.name) == (3, "series", "bob")
    assert groups.ledger_names(bob) == ("bob-1", "bob-2", "bob-3")
    two = parse(broken(clients__1__accounts=2, clients__1__processes=2)).clients[1:]
    names = [groups.ledger_names(thief) for thief in two]
    assert names == [("bob-1-1", "bob-1-2"), ("bob-2-1", "bob-2-2")]
    assert [groups.ledger_names(c) for c in parse(GOOD).clients] == [("ann",), ("bob",)]


def test_a_group_of_nobody_is_left_out() -> None:
    ann, bob, *_ = GOOD["clients"]
    group = {**ann, "name": "crowd", "processes": 0, "arrival_rate": 1.0}
    scenario = parse({**GOOD, "clients": [group, ann, bob]})
    assert [c.name for c in scenario.clients] == ["ann", "bob"]
    assert [commands.seed(scenario, client) for client in scenario.clients] == [5, 6]
    check(scenario)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"clients": [{**GOOD["clients"][0], "processes": 0}]}, "clients are nobody"),
        ({"clients__0__background": True, "clients__1__background": True}, "all in the background"),
        ({"clients__0__background": 1}, "clients[0].background is 1, expected true or false"),
        (
            {"clients__1__accounts": 10_000, "clients__1__processes": 1_000},
            "clients[1] brings the scenario to 1001 processes with 10000001 accounts; expected at"
            " most 10000 with 100000",
        ),
        (
            {
                "clients": [
                    {**GOOD["clients"][0], "name": f"a{n}", "processes": 1000}
                    for n in range(100_000)
                ]
            },
            "clients[10] brings the scenario to 11000 processes with 11000 accounts",
        ),
        ({"clients__0__drift": "tilt"}, "expected one of none, tilted, dimmed, blurred; did you"),
        ({"clients__1__drift": "tilted"}, "clients[1].drift is not a known key"),
        (
            {"clients__0__drift_strength": -1},
            "clients[0].drift_strength is -1.0, expected 0 to 100",
        ),
    ],
)
def test_groups_that_cannot_be(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        parse(broken(**changes))
    assert len(caught.value.mistakes) == 1, caught.value
    assert complaint in str(caught.value)


def test_nobody_and_the_background_are_not_told_of_beside_another_mistake() -> None:
    with pytest.raises(ScenarioError) as caught:
        parse(broken(clients__0__kind="honst", clients__1__background=True))
    assert len(caught.value.mistakes) == 1


def test_those_in_the_background_are_not_waited_for(tmp_path: Any) -> None:
    scenario = parse(broken(clients__1__background=True))
    started = commands.arm(scenario, "rate", tmp_path, tmp_path).clients
    assert {name: each.background for name, each in started.items()} == {"ann": False, "bob": True}
    check(scenario)


def test_every_drift_there_is_may_be_asked_for(tmp_path: Any) -> None:
    assert set(groups.DRIFTS) == {"none", *DRIFTS}
    scenario = parse(broken(clients__0__drift="dimmed", clients__0__drift_strength=2))
    ann = scenario.clients[0]
    assert isinstance(ann, Honest)
    assert (ann.drift, ann.drift_strength) == ("dimmed", 2.0)
    told = " ".join(
        commands.arm(scenario, "rate", tmp_path, tmp_path).clients["ann"].command("h:1")
    )
    assert "--drift dimmed --drift-strength 2.0" in told
    check(scenario)


def test_no_number_of_threads_is_one_for_each_core(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 5})
    scenario = parse(broken(clients__0__threads=0, clients__1__threads=0, clients__1__core=1))
    starters = commands.arm(scenario, "rate", tmp_path, tmp_path).clients
    told = {name: " ".join(starter.command("h:1")) for name, starter in starters.items()}
    assert "--threads 3 " in told["ann"]
    assert "--threads 1 " in told["bob"]  # he may use but the one
