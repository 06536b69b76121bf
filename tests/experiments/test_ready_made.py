"""The scenarios that come along, each run at a reduced size: real processes, small digits."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import attacks
from attacks.asking import TRANSCRIPT
from attacks.world import Price, Surrogate, World
from core.learning import networks
from core.records import read as read_records
from experiments import results, runner, scenario, sweep
from experiments.groups import Attacker
from experiments.report import page
from experiments.results import Results
from experiments.scenario import Scenario

GENUINE = {"mnist5k": "digits"}  # what stands for which data
FEWER = {"images": 32, "batch": 16, "processes": 2, "pace": 0.2, "pool_size": 128}
LESS = {"batch": 16, "budget": 64, "rounds": 1, "epochs": 1, "growth": 64}


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> sweep.Calibrations:
    """A home, shared: the victim is trained once, and runs alike are calibrated once."""
    return sweep.Calibrations(tmp_path_factory.mktemp("home"))


def smaller(
    name: str, *, only: Sequence[str] = (), groups: Mapping[str, Any] | None = None, **server: Any
) -> Scenario:
    """A scenario on 8 x 8 digits, with fewer of everything and nobody who comes late.

    `only` are the groups to keep, `groups` what else is to be changed in them, by name.
    """
    raw = {key: value for key, value in scenario.read(name).items() if key != "sweep"}
    clients = []
    for given in raw["clients"]:
        if only and given["name"] not in only:
            continue
        group = {k: v for k, v in given.items() if k not in ("start", "arrival_rate")}
        group |= {key: min(most, group[key]) for key, most in FEWER.items() if key in group}
        group["nice"] = 0  # they are waited for, whatever else this machine does
        if "pool" in group:
            group["pool"] = GENUINE.get(group["pool"], group["pool"])
        if group["kind"] == "attack":
            config = {key: min(group["config"].get(key, most), most) for key, most in LESS.items()}
            known = [f.name for f in dataclasses.fields(attacks.load(group["attack"]).Config)]
            group["config"] = {key: value for key, value in config.items() if key in known}
            group["network"] = "lenet-thin"
        clients.append(scenario.extend(group, (groups or {}).get(group["name"], {})))
    return scenario.parse(
        {
            **raw,
            "victim": {"dataset": "digits", "network": "lenet-thin"},
            "server": {**raw["server"], **server},
            "clients": clients,
        }
    )


def run(small: Scenario, out: Path, known: sweep.Calibrations) -> Results:
    """Runs it; all came to their end, and both sides recorded the same requests."""
    runner.run(small, out, known.home, calibration=known.of(small), write=page.write)
    known.note(small, out)
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


def priced(found: Results, out: Path) -> None:
    """Everybody pays, an attacker more than ten times what honest users do."""
    assert (by_name(found)["work"] > 0).all()
    assert by_name(found).loc["knockoff", "price_ratio"] > 10


def drifted(found: Results, out: Path) -> None:
    """Images that drifted cost more."""
    cost = by_name(found)["cost_per_image"]
    assert cost[["blurred-x3-1", "blurred-x3-2"]].min() > cost[["clean-1", "clean-2"]].max()


def slower(found: Results, out: Path) -> None:
    """An attacker that solves in Python is slower than the native solver."""
    attacker = by_name(found).loc["thief"]
    calibration = json.loads((out / "scenario.json").read_text())["calibration"]
    native = calibration["rates"]["sha1"]["hashes_per_second"]
    assert 0 < attacker["hashes"] / attacker["solve_seconds"] < native / 5


def enters(found: Results, out: Path) -> None:
    """As many images, and genuine ones: what differs is that four accounts enter."""
    clients = by_name(found)
    assert clients["virtual"].all()
    assert list(clients["accounts"]) == [1, 4]
    assert set(found.requests["account"]) == {"honest", *(f"thief-{n}" for n in (1, 2, 3, 4))}
    assert set(clients["images"]) == {32}
    assert clients.loc["thief", "work"] > 3 * clients.loc["honest", "work"]


def served(found: Results, out: Path) -> None:
    """Honest users get their answers beside busy attackers, one image at a time."""
    assert list(by_name(found)["images"])[:2] == [32, 32]
    asked = found.requests[found.requests["client"].str.startswith("users")]
    assert set(asked["images"]) == {1}


def free_and_paid(found: Results, out: Path) -> None:
    """Without a price nobody works; with one everybody does, and gets as much."""
    free, paid = by_name(found, "none"), by_name(found)
    assert list(free.index) == list(paid.index) == ["users-1", "users-2"]
    assert set(free["images"]) == set(paid["images"]) == {32}
    assert (free["work"] == 0).all()
    assert (paid["hashes"] > 0).all()
    assert not paid["virtual"].any()


def labels(found: Results, out: Path) -> None:
    """An attacker gets labels, and nothing else; it pays all the same."""
    priced(found, out)
    taken = out / "rate" / "surrogates" / "knockoff" / TRANSCRIPT
    answers = [
        np.frombuffer(base64.b64decode(row["answers"]), "<f4").reshape(row["shape"])
        for row in read_records(taken)[1]
    ]
    assert set(np.unique(np.concatenate(answers))) == {0.0, 1.0}


BUSY = {"processes": 2, "nice": 19, "pool_size": 5000, "config": {"budget": 5000}}
SYBIL = {"pool": "digits", "accounts": 4, "config": {"budget": 32, "batch": 8}}
RATE = {"policies": ["rate"]}
REDUCED: dict[str, tuple[Any, dict[str, Any]]] = {
    "honest": (free_and_paid, {}),
    "mixed": (served, {"groups": {"thieves": BUSY}}),
    "sybil": (enters, {"groups": {"thief": SYBIL}, **RATE}),
    "hardware": (slower, {"groups": {"thief": {"solver": "python"}}, "t_max": 0.02, **RATE}),
    "drift": (drifted, {"only": ("clean", "blurred-x3"), **RATE}),
    "paper": (priced, {"only": ("honest", "knockoff"), "policies": ["paper", "rate"]}),
    "defences": (labels, {"only": ("honest", "knockoff"), "defence": "hard_label", **RATE}),
}


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", REDUCED)
def test_a_scenario_at_a_reduced_size(name: str, known: sweep.Calibrations, tmp_path: Path) -> None:
    holds, changes = REDUCED[name]
    holds(run(smaller(name, **changes), tmp_path / "out", known), tmp_path / "out")


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
        assert path.stem in REDUCED, "it is run here"


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
