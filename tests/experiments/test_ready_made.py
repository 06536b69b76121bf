"""The scenarios that come along: what each asks, whether each thief can begin, groups at work."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import attacks
import experiments
from attacks.asking import TRANSCRIPT
from attacks.world import Price, Surrogate, World
from core.learning import networks
from core.records import read as read_records
from experiments import results, runner, scenario, sweep
from experiments.groups import Attacker
from experiments.report import page
from experiments.results import Results

FEWER = {"images": 32, "batch": 16, "processes": 2, "pace": 0.2, "pool_size": 128}
LESS = {"batch": 16, "budget": 64, "rounds": 1, "epochs": 1, "growth": 64}


def group(name: str, which: str, **changes: Any) -> dict[str, Any]:
    """A group of a scenario with fewer of everything, on 8 x 8 digits; nobody comes late."""
    (given,) = (each for each in scenario.read(name)["clients"] if each["name"] == which)
    found = {k: v for k, v in given.items() if k not in ("start", "arrival_rate")}
    found |= {key: min(most, found[key]) for key, most in FEWER.items() if key in found}
    found["nice"] = 0  # they are waited for, whatever else this machine does
    if given["kind"] == "attack":
        config = {key: min(given["config"].get(key, most), most) for key, most in LESS.items()}
        known = [f.name for f in dataclasses.fields(attacks.load(given["attack"]).Config)]
        config = {key: value for key, value in config.items() if key in known}
        found |= {"network": "lenet-thin", "config": config}
    return scenario.extend(found, changes)


def run(home: Path, out: Path, clients: list[dict[str, Any]], **server: Any) -> Results:
    """Runs them; all came to their end, and both sides recorded the same requests."""
    victim = {"dataset": "digits", "network": "lenet-thin"}
    raw = {"name": "several", "seed": 1, "victim": victim, "server": server, "clients": clients}
    small = scenario.parse(raw)
    runner.run(small, out, home, write=page.write)
    found = results.read(out)
    background = {client.name for client in small.clients if client.background}
    for client in found.clients.itertuples():
        expected = "stopped" if client.name in background else "done"
        assert client.status == expected, (client.name, client.reason)
    for policy, requests in found.requests.groupby("policy"):
        served = read_records(out / str(policy) / "server.jsonl")[1]
        asked = [(row["client"], row["request_id"]) for row in served if row["kind"] == "predict"]
        answered = set(zip(requests["account"], requests["request_id"], strict=True))
        assert len(asked) == len(set(asked)) >= len(requests) == len(answered)
        assert answered <= set(asked)
        # Only those who were stopped may have had an answer under way.
        assert {name for name, _ in set(asked) - answered} <= background
    return found


def by_name(found: Results, policy: str = "rate") -> Any:
    """The clients of one arm."""
    return found.clients[found.clients["policy"] == policy].set_index("name")


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.timeout(600)
def test_groups_that_pay_virtually(digits_home: Path, tmp_path: Path) -> None:
    """Of `drift`, `sybil`, `paper` and `defences`."""
    sybil = {"pool": "digits", "accounts": 4, "config": {"budget": 32, "batch": 8}}
    clients = [group("drift", "clean"), group("drift", "blurred-x3", processes=1)]
    clients += [group("sybil", "thief", **sybil), group("paper", "knockoff")]
    server = {"policies": ["paper", "rate"], "t_max": 16.0, "virtual": True}
    found = run(digits_home, tmp_path / "out", clients, **server, defence="hard_label")
    paid = by_name(found)
    # Everybody pays, an attacker more than ten times what honest users do.
    assert paid["virtual"].all()
    assert (paid["work"] > 0).all()
    assert paid.loc["knockoff", "price_ratio"] > 10
    # Images that drifted cost more.
    cost = paid["cost_per_image"]
    assert cost["blurred-x3-1"] > cost[["clean-1", "clean-2"]].max()
    # As many images, and genuine ones: what differs is that four accounts enter.
    assert paid.loc["thief", "accounts"] == 4
    assert {f"thief-{n}" for n in (1, 2, 3, 4)} <= set(found.requests["account"])
    assert set(paid["images"].drop("knockoff")) == {32}
    assert paid.loc["thief", "work"] > 3 * paid.loc["clean-1", "work"]
    # An attacker gets labels, and nothing else.
    taken = read_records(tmp_path / "out" / "rate" / "surrogates" / "knockoff" / TRANSCRIPT)[1]
    answers = [np.frombuffer(base64.b64decode(row["answers"]), "<f4") for row in taken]
    assert set(np.concatenate(answers)) == {0.0, 1.0}


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.timeout(600)
def test_groups_that_pay_with_real_work(digits_home: Path, tmp_path: Path) -> None:
    """Of `mixed` and `hardware`."""
    busy = {"processes": 1, "nice": 19, "pool_size": 5000, "config": {"budget": 5000}}
    clients = [group("mixed", "users"), group("mixed", "thieves", **busy)]
    clients += [group("hardware", "thief", solver="python")]
    found = run(digits_home, tmp_path / "out", clients, policies=["rate"], t_max=0.02)
    paid = by_name(found)
    # Honest users get their answers beside a busy attacker, one image at a time.
    users = [name for name in paid.index if name.startswith("users")]
    assert list(paid.loc[users, "images"]) == [32, 32]
    assert set(found.requests[found.requests["client"].isin(users)]["images"]) == {1}
    # An attacker that solves in Python is slower than the native solver.
    about = json.loads((tmp_path / "out" / "scenario.json").read_text())
    native = about["calibration"]["rates"]["sha1"]["hashes_per_second"]
    thief = paid.loc["thief"]
    assert 0 < thief["hashes"] / thief["solve_seconds"] < native / 5


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


@pytest.mark.parametrize("name", ["virtual-thief", "virtual-sybil", "virtual-mixed"])
def test_a_check_runs_both_ways(name: str) -> None:
    real, virtual = (cell.scenario for cell in sweep.load(name))
    assert (real.server.virtual, virtual.server.virtual) == (False, True)
    assert {client.solver for client in real.clients} == {"native"}
    assert {client.solver for client in virtual.clients} == {"virtual"}


OTHERS = ("demo", "smoke", "virtual-thief", "virtual-sybil", "virtual-mixed")


@pytest.mark.parametrize("path", sorted(scenario.BUILT_IN.glob("*.toml")), ids=lambda p: p.stem)
def test_each_says_what_it_asks(path: Path) -> None:
    head = path.read_text().partition("\n\n")[0].splitlines()
    comment = [line for line in head if line.startswith("# ")]
    assert comment == head[: len(comment)], "the comment comes first"
    document = Path(__file__).parents[2] / "docs" / "scenarios.md"
    assert re.search(rf"[` ]{path.stem}\b", document.read_text())
    if path.stem not in OTHERS and not path.stem.startswith(("strength-", "defences-")):
        assert "?" in " ".join(comment)


def thieves() -> dict[str, Attacker]:
    """The thieves of all scenarios that come along, one for each way to be set up."""
    found = {}
    for path in sorted(scenario.BUILT_IN.glob("*.toml")):
        for cell in sweep.load(path.stem):
            for client in cell.scenario.clients:
                if isinstance(client, Attacker):
                    found[f"{path.stem} {client.group or client.name} {client.pool}"] = client
    return found


@pytest.mark.parametrize("thief", thieves().values(), ids=list(thieves()))
def test_each_thief_can_begin(thief: Attacker) -> None:
    attack = attacks.load(thief.attack)
    rng = np.random.default_rng(0)
    images = {"pool": min(thief.pool_size, 500), "inside": 500 if thief.inside else 0}
    made = {key: rng.integers(0, 256, (n, 1, 28, 28), np.uint8) for key, n in images.items()}
    world = World(
        made["pool"],
        Surrogate(networks.build(thief.network, (1, 28, 28), 10, seed=0), seed=0),
        rng,
        costs=rng.random(images["pool"]) if "costs" in attack.NEEDS else None,
        inside=made["inside"] if thief.inside else None,
    )
    config = attack.Config(**thief.config)
    assert config.budget >= config.batch
    plan = attack.plan(config, world)
    first = next(plan)
    plan.close()
    asked = first.images if isinstance(first, Price) else first
    assert 0 < len(asked) <= config.batch
