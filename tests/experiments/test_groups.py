"""Groups of clients: how many, when they come, under which names, and what they are told."""

from __future__ import annotations

import dataclasses
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import tyro
from scenarios import GOOD, broken

from core.learning.drift import DRIFTS
from experiments import commands, groups
from experiments.groups import Attacker
from experiments.scenario import ScenarioError, check, parse
from server.defences.gradient_redirection import Config as Redirection
from server.options import serving


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


def test_an_attacker_may_have_several_accounts() -> None:
    bob = parse(broken(clients__1__accounts=3, clients__1__deal="series")).clients[1]
    assert isinstance(bob, Attacker)
    assert (bob.accounts, bob.deal, bob.name) == (3, "series", "bob")
    assert groups.ledger_names(bob) == ("bob-1", "bob-2", "bob-3")
    two = parse(broken(clients__1__accounts=2, clients__1__processes=2)).clients[1:]
    names = [groups.ledger_names(each) for each in two]
    assert names == [("bob-1-1", "bob-1-2"), ("bob-2-1", "bob-2-2")]
    assert [groups.ledger_names(c) for c in parse(GOOD).clients] == [("ann",), ("bob",)]


def test_a_group_of_nobody_is_left_out() -> None:
    ann, bob, *_ = GOOD["clients"]
    group = {**ann, "name": "crowd", "processes": 0, "arrival_rate": 1.0}
    scenario = parse({**GOOD, "clients": [group, ann, bob]})
    assert [c.name for c in scenario.clients] == ["ann", "bob"]
    assert [commands.seed(scenario, client) for client in scenario.clients] == [5, 6]
    check(scenario)


def test_nobody_and_the_background_are_not_told_of_beside_another_mistake() -> None:
    with pytest.raises(ScenarioError) as caught:
        parse(broken(clients__0__kind="honst", clients__1__background=True))
    assert len(caught.value.mistakes) == 1


def test_what_a_group_says_of_its_clients_reaches_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 5})
    assert set(groups.DRIFTS) == {"none", *DRIFTS}
    ann = {"drift": "dimmed", "drift_strength": 2, "threads": 0}
    bob = {"background": True, "threads": 0, "core": 1}
    clients = [{**GOOD["clients"][0], **ann}, {**GOOD["clients"][1], **bob}]
    scenario = parse({**GOOD, "clients": clients})
    check(scenario)
    started = commands.arm(scenario, "rate", tmp_path, tmp_path).clients
    told = {name: " ".join(each.command("h:1")) for name, each in started.items()}
    assert "--drift dimmed --drift-strength 2.0" in told["ann"]
    assert "--threads 3 " in told["ann"]  # none is one for each core
    assert "--threads 1 " in told["bob"]  # it may use only the one
    assert {name: each.background for name, each in started.items()} == {"ann": False, "bob": True}


def test_a_defence_stands_beside_the_policies(tmp_path: Path) -> None:
    config = {"epsilon": 1, "keep_top": True}
    server = {"defence": "gradient_redirection", "defence_config": config}
    good = parse({**GOOD, "server": server})
    prepare = commands.prepare(good, tmp_path)
    assert prepare[prepare.index("--defence") + 1] == "gradient_redirection"
    serve = commands.arm(good, "rate", tmp_path, tmp_path).server
    options = tyro.cli(serving(serve), args=serve[serve.index("serve") + 1 :])
    assert asdict(options.defence_config) == asdict(Redirection(epsilon=1.0, keep_top=True))
