"""An attacker as a process, against a gate on loopback."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from meaning import assert_same_weights

import attacks
from attacks import process
from attacks.options import Attacker
from client.options import Connection
from client.session import Refused
from core.learning import artifacts
from core.learning.artifacts import load_network
from core.learning.datasets import load_labelled_pool
from core.records import read

pytestmark = pytest.mark.process  # whole attacks, with their training

RANDOM = attacks.load("random")
CONFIG = RANDOM.Config(budget=60, batch=10, rounds=2, epochs=1)


def attacker(gate, tmp_path, name="mallory", **changes):
    return Attacker(
        **{
            "connection": Connection(target=gate.address, client_id=name, solver="python"),
            "home": tmp_path,
            "pool_size": 200,
            "network": "lenet-thin",
            "surrogates": tmp_path / "surrogates",
            "record": tmp_path / "attacker.jsonl",
            **changes,
        }
    )


def charged(gate, name="mallory"):
    return gate.ledger.account(name).result().charged


@pytest.fixture
def gate(gate_with):
    """A gate whose images are large enough for a network."""
    with gate_with(shape=(1, 8, 8)) as gate:
        yield gate


def test_an_attack_leaves_surrogates_and_a_record(gate, tmp_path):
    process.run(RANDOM, CONFIG, attacker(gate, tmp_path, pool_size=59, pace=0.05))
    header, lines = read(tmp_path / "attacker.jsonl")
    assert header["config"]["attack_config"]["budget"] == 60
    kinds = ["pool", *["predict"] * 3, "checkpoint", *["predict"] * 3, "checkpoint", "end"]
    assert [line["kind"] for line in lines] == kinds
    assert (lines[0]["images"], lines[0]["budget"]) == (59, 60)
    assert [line["asked"] for line in lines if line["kind"] == "checkpoint"] == [30, 59]
    assert lines[-1]["status"] == "done"
    starts = [line["at"] - line["total"] for line in lines if line["kind"] == "predict"]
    assert min(np.diff(starts)) > 0.04
    assert charged(gate) == 59
    names = ["000030.safetensors", "000059.safetensors", "offers.jsonl", "transcript.jsonl"]
    assert sorted(path.name for path in (tmp_path / "surrogates").iterdir()) == names
    for asked in (30, 59):
        kept = tmp_path / "surrogates" / f"0000{asked}.safetensors"
        assert load_network(kept)[1] == {"asked": asked}


def clients(record):
    """Who asked each batch."""
    return [line["client"] for line in read(record)[1] if line["kind"] == "predict"]


def test_one_surrogate_learns_from_several_accounts_and_goes_on_where_it_stopped(gate, tmp_path):
    surrogates = []
    for name, changes, dealt in (
        ("alone", {}, []),
        ("turns", {"accounts": 3, "deal": "parallel"}, [1, 2, 3, 1, 2, 3]),
        ("series", {"accounts": 3, "deal": "series"}, [1, 1, 2, 2, 3, 3]),
    ):
        record, folder = tmp_path / f"{name}.jsonl", tmp_path / name
        run = attacker(gate, tmp_path, name, record=record, surrogates=folder, **changes)
        process.run(RANDOM, CONFIG, run)
        header = read(record)[0]
        assert (header["client"], header["config"]["accounts"]) == (name, len(set(dealt)) or 1)
        assert clients(record) == ([f"{name}-{number}" for number in dealt] or [name] * 6)
        surrogates.append(load_network(folder / "000060.safetensors")[0])
    for several in surrogates[1:]:
        assert_same_weights(several, surrogates[0])
    path = tmp_path / "turns" / "transcript.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:3]))  # two were answered
    changes = {"surrogates": tmp_path / "turns", "resume": True}
    again = attacker(gate, tmp_path, "turns", accounts=3, record=tmp_path / "again", **changes)
    process.run(RANDOM, CONFIG, again)
    assert clients(tmp_path / "again") == [f"turns-{number}" for number in (3, 1, 2, 3)]
    for number in (1, 2, 3):  # charged once, as what was asked again had the same ids
        assert charged(gate, f"turns-{number}") == charged(gate, f"series-{number}") == 20
    with pytest.raises(ValueError, match="was made with accounts = 3, not None"):
        process.run(RANDOM, CONFIG, attacker(gate, tmp_path, "turns", record=None, **changes))


def test_a_new_attack_does_not_ask_where_a_transcript_is(gate, tmp_path):
    cfg = replace(CONFIG, rounds=1)
    process.run(RANDOM, cfg, attacker(gate, tmp_path))
    paid = gate.computed
    for settings, changes, message in (
        ({}, {"resume": False}, "transcript.jsonl exists already; give --resume"),
        ({}, {"seed": 1}, "was made with seed = 0, not 1"),
        ({}, {"pool_size": 100}, "was made with pool_size = 200, not 100"),
        ({}, {"network": "lenet"}, "was made with network = 'lenet-thin', not 'lenet'"),
        ({}, {"accounts": 2}, "does not say accounts, which is now 2; expected the same victim"),
        ({"batch": 20}, {}, r"was made with attack\.batch = 10, not 20"),
    ):
        again = attacker(gate, tmp_path, **{"record": None, "resume": True, **changes})
        with pytest.raises(ValueError, match=message):
            process.run(RANDOM, replace(cfg, **settings), again)
    again = attacker(gate, tmp_path, record=None, resume=True)
    with pytest.raises(ValueError, match="was made with attack = 'random', not 'copycat'"):
        process.run(attacks.load("copycat"), attacks.load("copycat").Config(batch=10), again)
    process.run(RANDOM, cfg, again)
    assert gate.computed == paid


def test_what_one_victim_said_is_not_mixed_with_what_another_says(gate, gate_with, tmp_path):
    process.run(RANDOM, replace(CONFIG, budget=20), attacker(gate, tmp_path, record=None))
    path = tmp_path / "surrogates" / "transcript.jsonl"
    old = path.read_text().replace('"attack.budget": 20', '"attack.budget": 60')
    with gate_with(shape=(1, 8, 8), fingerprint="b" * 64) as other:
        there = attacker(other, tmp_path, record=None, resume=True)
        for text, message in (
            (old, f"was made with victim = '{'f' * 16}', not '{'b' * 16}'; expected the same"),
            # of an earlier version
            (old.replace(f'"victim": "{"f" * 16}", ', ""), "transcript.jsonl does not say victim"),
        ):
            path.write_text(text)
            with pytest.raises(ValueError, match=message):
                process.run(RANDOM, CONFIG, there)
        assert other.computed == 0
        path.write_text(old.replace("f" * 16, "b" * 16))
        process.run(RANDOM, CONFIG, there)
        assert charged(other) == 40


@pytest.mark.slow
def test_an_attacker_that_was_killed_does_not_pay_twice(gate_with, tmp_path):
    cfg = replace(CONFIG, budget=80)

    def run(gate, name, **changes):
        folder = {"surrogates": tmp_path / name, "record": tmp_path / f"{name}.jsonl"}
        there = Connection(target=gate.address, client_id="mallory")
        process.run(RANDOM, cfg, attacker(gate, tmp_path, connection=there, **folder, **changes))

    command = [sys.executable, "-m", "attacks", "random", "--client-id", "mallory"]
    command += ["--home", str(tmp_path), "--network", "lenet-thin", "--pool-size", "200"]
    command += ["--attack.budget", "80", "--attack.batch", "10", "--attack.rounds", "2"]
    command += ["--attack.epochs", "1", "--surrogates", str(tmp_path / "killed")]
    with gate_with(shape=(1, 8, 8), hashes=3_000_000) as gate:
        child = subprocess.Popen([*command, "--target", gate.address])
        offers = tmp_path / "killed" / "offers.jsonl"
        while not offers.exists() or offers.read_bytes().count(b"\n") < 4:
            time.sleep(0.001)  # until the third batch is charged, and hardly paid
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        assert charged(gate) < 80
        run(gate, "killed", resume=True)
        assert charged(gate) == 80
        assert [line for line in gate.records if line.get("retry")] == []
        assert sum(line["kind"] == "predict" for line in gate.records) == 8
    assert 0 < len(clients(tmp_path / "killed.jsonl")) < 8
    with gate_with(shape=(1, 8, 8), hashes=0) as gate:
        run(gate, "whole")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert read(whole / "transcript.jsonl")[1] == read(killed / "transcript.jsonl")[1]
    learnt = [load_network(folder / "000080.safetensors") for folder in (whole, killed)]
    assert_same_weights(learnt[0][0], learnt[1][0])
    assert learnt[0][1] == learnt[1][1]


def test_price_probes_leave_no_more_unpaid_than_allowed_and_pay_nothing_twice(gate, tmp_path):
    price_probe = attacks.load("price_probe")
    cfg = price_probe.Config(budget=100, batch=5, rounds=1, epochs=1)
    process.run(price_probe, cfg, attacker(gate, tmp_path))
    lines = read(tmp_path / "attacker.jsonl")[1]
    prices = [line for line in lines if line["kind"] == "price"]
    assert {line["work"] for line in prices} == {64}
    assert sum(line["images"] for line in lines if line["kind"] == "predict") >= 96
    paid = {line["request_id"] for line in lines if line["kind"] == "predict"}
    assert paid <= {line["request_id"] for line in prices}
    account = gate.ledger.account("mallory").result()
    assert account.unpaid == len(prices) - len(paid) <= 7
    process.run(price_probe, cfg, attacker(gate, tmp_path, resume=True, record=None))
    assert charged(gate) == account.charged


def test_what_the_gate_refuses(gate, tmp_path):
    with pytest.raises(Refused, match="BAD_CLIENT_ID"):
        process.run(RANDOM, RANDOM.Config(), attacker(gate, tmp_path, "no name"))
    assert read(tmp_path / "attacker.jsonl")[1][-1]["status"] == "refused"
    with pytest.raises(ValueError, match=r"--attack.batch is 300; the gate takes at most 256"):
        process.run(RANDOM, RANDOM.Config(batch=300), attacker(gate, tmp_path, record=None))
    assert gate.computed == 0


NEEDY = SimpleNamespace(__name__="attacks.needy", NEEDS=("pool", "classes", "costs", "inside"))


@pytest.mark.parametrize(
    ("attack", "changes", "message"),
    [
        (NEEDY, {"inside": "digits"}, "needy needs --costs FILE"),
        (NEEDY, {"costs": Path("f")}, "needy needs --inside NAME"),
        (RANDOM, {"costs": Path("f")}, "random has no use for --costs"),
        (RANDOM, {"accounts": 0}, "--accounts is 0; expected at least 1"),
        (RANDOM, {"pace": -0.5}, "--pace is -0.5; expected at least 0"),
        (RANDOM, {"pool_size": 0}, "--pool-size is 0; expected at least 1"),
        (RANDOM, {"surrogates": None, "resume": True}, "--resume needs --surrogates"),
        (RANDOM, {"config": {"batch": 0}}, "--attack.batch is 0; expected at least 1"),
        (RANDOM, {"config": {"budget": 5}}, "budget is 5; expected at least one batch of 64"),
    ],
)
def test_flags_that_cannot_be_are_refused_before_the_gate_is_called(
    tmp_path, attack, changes, message
):
    config = RANDOM.Config(**changes.pop("config", {}))
    with pytest.raises(ValueError, match=message):
        process.run(attack, config, attacker(SimpleNamespace(address="x:1"), tmp_path, **changes))
    assert list(tmp_path.iterdir()) == []


def test_the_world_holds_what_an_attack_needs(gate, tmp_path):
    seen = []

    def plan(cfg, world):
        seen.append(world)
        return
        yield

    attack = SimpleNamespace(__name__="attacks.needy", NEEDS=NEEDY.NEEDS, plan=plan)
    pool, labels = load_labelled_pool("digits", (1, 8, 8), count=200, seed=3, home=tmp_path)
    mark = {"kind": process.COSTS, "pool": "digits", "seed": 3, "size": len(pool)}
    mark["images"] = artifacts.fingerprint({"pool": pool})
    costs = np.arange(len(pool)) / 7

    def run(attack, mark=mark, **changes):
        artifacts.save(tmp_path / "costs", {"costs": costs}, mark)
        given = {"pool": "digits", "costs": tmp_path / "costs", "inside": "photos", "seed": 3}
        run = attacker(gate, tmp_path, surrogates=None, record=None, **{**given, **changes})
        process.run(attack, CONFIG, run)

    run(attack)
    np.testing.assert_array_equal(seen[0].pool, pool)
    np.testing.assert_array_equal(seen[0].classes, labels)
    np.testing.assert_array_equal(seen[0].costs, costs)
    assert seen[0].inside.shape == (200, 1, 8, 8)
    for changes, message in (
        ({"pool": "photos"}, "the pool photos has no labels"),
        ({"seed": 4}, "costs is for seed 3; expected 4"),
        ({"mark": {**mark, "images": "0"}}, "costs is for images '0'; expected"),
        ({"mark": {**mark, "kind": "network"}}, r"no costs of a pool \(kind 'network'\)"),
    ):
        with pytest.raises(ValueError, match=message):
            run(attack, **changes)
    free = SimpleNamespace(__name__="attacks.free", NEEDS=(), plan=plan)
    run(free, pool="npz:not there", costs=None, inside=None)
    assert seen[1].pool.shape == (0, 1, 8, 8)
