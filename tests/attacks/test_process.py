"""A thief as a process, against a gate on loopback."""

import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from meaning import assert_same_weights

import attacks
from attacks import process
from attacks.options import Thief
from attacks.world import Price
from client.options import Connection
from client.session import Refused, Unreachable
from core.learning import artifacts
from core.learning.datasets import load_labelled_pool
from core.records import read


def thief(gate, tmp_path, **changes):
    return Thief(
        **{
            "connection": Connection(target=gate.address, client_id="thief"),
            "home": tmp_path,
            "pool": "photos",
            "pool_size": 200,
            "network": "lenet-thin",
            "surrogates": tmp_path / "surrogates",
            "record": tmp_path / "thief.jsonl",
            **changes,
        }
    )


@pytest.fixture
def gate(gate_with):
    """A gate whose images are large enough for a network."""
    with gate_with(shape=(1, 8, 8)) as gate:
        yield gate


def test_a_theft_leaves_surrogates_and_a_record(gate, tmp_path):
    attack = attacks.load("knockoff")
    cfg = attack.Config(budget=60, batch=20, rounds=2, epochs=1)
    process.run(attack, cfg, thief(gate, tmp_path))
    header, lines = read(tmp_path / "thief.jsonl")
    assert header["config"]["attack_config"]["budget"] == 60
    kinds = [line["kind"] for line in lines]
    assert kinds == ["predict", "predict", "checkpoint", "predict", "predict", "checkpoint", "end"]
    assert [line["asked"] for line in lines if line["kind"] == "checkpoint"] == [30, 60]
    assert lines[-1]["status"] == "done"
    assert sorted(path.name for path in (tmp_path / "surrogates").iterdir()) == [
        "000030.safetensors",
        "000060.safetensors",
        "offers.jsonl",
        "transcript.jsonl",
    ]
    assert gate.ledger.account("thief").result().charged == 60
    for asked in (30, 60):
        kept = tmp_path / "surrogates" / f"0000{asked}.safetensors"
        assert artifacts.load_network(kept)[1] == {"asked": asked}


@pytest.mark.parametrize(("pool_size", "noted"), [(59, [(59, 60)]), (60, [])])
def test_a_pool_that_is_smaller_than_the_budget_is_in_the_record(gate, tmp_path, pool_size, noted):
    attack = attacks.load("random")
    cfg = attack.Config(budget=60, batch=20, rounds=1, epochs=1)
    process.run(attack, cfg, thief(gate, tmp_path, pool_size=pool_size))
    lines = [line for line in read(tmp_path / "thief.jsonl")[1] if line["kind"] == "pool"]
    assert [(line["images"], line["budget"]) for line in lines] == noted


@pytest.mark.parametrize(
    ("deal", "dealt"), [("parallel", [1, 2, 3, 1, 2, 3]), ("series", [1, 1, 2, 2, 3, 3])]
)
def test_one_surrogate_learns_from_several_accounts(gate, tmp_path, deal, dealt):
    attack = attacks.load("random")
    cfg = attack.Config(budget=60, batch=10, rounds=2, epochs=1)
    process.run(attack, cfg, thief(gate, tmp_path, accounts=3, deal=deal))
    header, lines = read(tmp_path / "thief.jsonl")
    assert (header["client"], header["config"]["accounts"]) == ("thief", 3)
    asked = [line["client"] for line in lines if line["kind"] == "predict"]
    assert asked == [f"thief-{number}" for number in dealt]
    assert [line["asked"] for line in lines if line["kind"] == "checkpoint"] == [30, 60]
    for number in (1, 2, 3):
        assert gate.ledger.account(f"thief-{number}").result().charged == 20
    plain = {"surrogates": tmp_path / "alone", "record": None}
    process.run(attack, cfg, thief(gate, tmp_path, **plain))
    for name in ("000030.safetensors", "000060.safetensors"):
        places = (tmp_path / "surrogates" / name, tmp_path / "alone" / name)
        several, one = map(artifacts.load_network, places)
        assert_same_weights(several[0], one[0])
        assert several[1] == one[1]


def test_a_theft_of_several_accounts_goes_on_where_it_stopped(gate, tmp_path):
    attack = attacks.load("random")
    cfg = attack.Config(budget=60, batch=10, rounds=1, epochs=1)
    process.run(attack, cfg, thief(gate, tmp_path, accounts=3))
    path = tmp_path / "surrogates" / "transcript.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:3]))  # two were answered
    again = tmp_path / "again.jsonl"
    process.run(attack, cfg, thief(gate, tmp_path, accounts=3, resume=True, record=again))
    asked = [line["client"] for line in read(again)[1] if line["kind"] == "predict"]
    assert asked == ["thief-3", "thief-1", "thief-2", "thief-3"]
    for number in (1, 2, 3):  # charged once, as what was asked again had the same ids
        assert gate.ledger.account(f"thief-{number}").result().charged == 20
    with pytest.raises(ValueError, match="was made with accounts = 3, not None"):
        process.run(attack, cfg, thief(gate, tmp_path, record=None, resume=True))


def test_who_was_told_a_price_pays_it(gate, tmp_path):
    images = (
        np.zeros((3, 4, 1, 8, 8), np.uint8)
        + np.arange(3, dtype=np.uint8)[:, None, None, None, None]
    )

    def plan(cfg, world):
        yield Price(images[0])
        yield images[1]
        yield images[2]
        yield images[0]
        yield images[0]  # not priced this time: the turn of the other

    attack = SimpleNamespace(__name__="attacks.shy", NEEDS=(), plan=plan)
    config = attacks.load("random").Config(budget=16, batch=4)
    process.run(attack, config, thief(gate, tmp_path, accounts=2))
    lines = read(tmp_path / "thief.jsonl")[1]
    asked = [line["client"] for line in lines if line["kind"] == "predict"]
    assert asked == ["thief-1", "thief-2", "thief-1", "thief-2"]
    assert gate.ledger.account("thief-1").result().charged == 8


def test_a_price_may_be_asked_when_the_budget_is_spent(gate, tmp_path):
    images = np.zeros((4, 1, 8, 8), np.uint8)

    def plan(cfg, world):
        yield images
        yield images + 1
        yield Price(images + 2)

    attack = SimpleNamespace(__name__="attacks.shy", NEEDS=(), plan=plan)
    config = attacks.load("random").Config(budget=8, batch=4)
    process.run(attack, config, thief(gate, tmp_path, accounts=2, deal="series"))
    kinds = [line["kind"] for line in read(tmp_path / "thief.jsonl")[1]]
    assert kinds == ["predict", "predict", "price", "end"]
    charged = [gate.ledger.account(f"thief-{number}").result().charged for number in (1, 2)]
    assert charged == [4, 8]  # the last account was told the price


def test_several_keys_are_several_accounts(tmp_path):
    file = tmp_path / "keys"
    door = Connection(target="x:1", key_file=file)
    file.write_text("one\ntwo\n")
    assert door.accounts(2) == [{"key": "one"}, {"key": "two"}]
    with pytest.raises(ValueError, match=r"keys holds 2 keys; expected 1"):
        door.credentials()
    file.write_text("\n")
    with pytest.raises(ValueError, match=r"keys is empty; expected an API key"):
        door.accounts(2)
    with pytest.raises(ValueError, match="either --key-file or --client-id"):
        replace(door, client_id="me").accounts(2)


def test_a_thief_keeps_his_pace(gate, tmp_path):
    attack = attacks.load("random")
    cfg = attack.Config(budget=40, batch=10, rounds=1, epochs=1)
    start = time.monotonic()
    process.run(attack, cfg, thief(gate, tmp_path, pace=0.15))
    assert time.monotonic() - start >= 3 * 0.15
    lines = read(tmp_path / "thief.jsonl")[1]
    assert [line["kind"] for line in lines].count("predict") == 4


def test_a_new_theft_does_not_ask_where_a_transcript_is(gate, tmp_path):
    attack = attacks.load("random")
    cfg = attack.Config(budget=20, batch=20, rounds=1, epochs=1)
    process.run(attack, cfg, thief(gate, tmp_path))
    paid = gate.computed
    for settings, changes, message in (
        ({}, {"resume": False}, "transcript.jsonl exists already; give --resume"),
        ({}, {"seed": 1}, "was made with seed = 0, not 1"),
        ({}, {"pool": "digits"}, "was made with pool = 'photos', not 'digits'"),
        ({}, {"pool_size": 100}, "was made with pool_size = 200, not 100"),
        ({}, {"network": "lenet"}, "was made with network = 'lenet-thin', not 'lenet'"),
        ({}, {"accounts": 2}, "does not say accounts, which is now 2; expected the same victim"),
        ({"batch": 10}, {}, r"was made with attack\.batch = 20, not 10"),
        ({"lr": 0.2}, {}, r"was made with attack\.lr = 0\.1, not 0\.2"),
    ):
        again = thief(gate, tmp_path, **{"record": None, "resume": True, **changes})
        with pytest.raises(ValueError, match=message):
            process.run(attack, replace(cfg, **settings), again)
    copycat = attacks.load("copycat")
    settings = copycat.Config(budget=20, batch=20, rounds=1, epochs=1)
    again = thief(gate, tmp_path, record=None, resume=True)
    with pytest.raises(ValueError, match="was made with attack = 'random', not 'copycat'"):
        process.run(copycat, settings, again)
    assert gate.computed == paid
    process.run(attack, cfg, thief(gate, tmp_path, record=None, resume=True))
    assert gate.computed == paid


def test_what_one_victim_said_is_not_mixed_with_what_another_says(gate_with, tmp_path):
    attack = attacks.load("random")
    cfg = attack.Config(budget=40, batch=20, rounds=1, epochs=1)
    with gate_with(shape=(1, 8, 8), fingerprint="a" * 64) as gate:
        process.run(attack, replace(cfg, budget=20), thief(gate, tmp_path, record=None))
    path = tmp_path / "surrogates" / "transcript.jsonl"
    path.write_text(path.read_text().replace('"attack.budget": 20', '"attack.budget": 40'))
    again = thief(gate, tmp_path, resume=True, record=None)
    with gate_with(shape=(1, 8, 8), fingerprint="b" * 64) as other:
        there = replace(again, connection=replace(again.connection, target=other.address))
        victims = f"was made with victim = '{'a' * 16}', not '{'b' * 16}'; expected the same victim"
        with pytest.raises(ValueError, match=victims):
            process.run(attack, cfg, there)
        old = path.read_text()
        path.write_text(old.replace(f'"victim": "{"a" * 16}", ', ""))  # of an earlier version
        unknown = f"transcript.jsonl does not say victim, which is now '{'b' * 16}'; expected"
        with pytest.raises(ValueError, match=unknown):
            process.run(attack, cfg, there)
        assert other.computed == 0
        path.write_text(old.replace("a" * 16, "b" * 16))
        process.run(attack, cfg, there)
        assert other.ledger.account("thief").result().charged == 20


def test_a_refusal_half_way_keeps_what_was_learnt(gate, tmp_path):
    attack = attacks.load("random")
    cfg = attack.Config(budget=60, batch=20, rounds=2, epochs=1)
    ask = gate.ledger.ask

    def ask_once_or_twice(*given):
        if gate.computed > 2:
            gate.ledger.close()
        return ask(*given)

    gate.ledger.ask = ask_once_or_twice
    impatient = thief(gate, tmp_path)
    impatient = replace(impatient, connection=replace(impatient.connection, timeout=0.5))
    with pytest.raises(Exception, match="ledger"):
        process.run(attack, cfg, impatient)
    assert read(tmp_path / "thief.jsonl")[1][-1]["status"] in ("unreachable", "refused")
    kept = sorted(path.name for path in (tmp_path / "surrogates").iterdir())
    assert kept == ["000030.safetensors", "offers.jsonl", "transcript.jsonl"]


def test_a_gate_that_goes_away_leaves_what_was_learnt_and_paid(gate_with, tmp_path):
    attack = attacks.load("random")
    cfg = attack.Config(budget=80, batch=10, rounds=4, epochs=1)
    up, over, gates = threading.Event(), threading.Event(), []

    def first_gate():
        with gate_with(shape=(1, 8, 8), hashes=300_000) as gate:
            gates.append(gate)
            up.set()
            while gate.ledger.account("thief").result().charged < 50 and not over.is_set():
                time.sleep(0.001)

    host = threading.Thread(target=first_gate)
    host.start()
    up.wait()
    there = Connection(target=gates[0].address, client_id="thief", timeout=3)
    try:
        with pytest.raises(Unreachable):
            process.run(attack, cfg, thief(gates[0], tmp_path, connection=there))
    finally:
        over.set()
        host.join()
    kept = tmp_path / "surrogates" / "000040.safetensors"
    assert kept.exists()
    paid = len(read(tmp_path / "surrogates" / "transcript.jsonl")[1])
    with gate_with(shape=(1, 8, 8)) as gate:
        again = thief(gate, tmp_path, resume=True, record=tmp_path / "again.jsonl")
        process.run(attack, cfg, again)
        assert gate.ledger.account("thief").result().charged == 80 - 10 * paid
    assert kept.with_name("000080.safetensors").exists()


def test_refused_by_name(gate, tmp_path):
    attack = attacks.load("random")
    unnamed = thief(gate, tmp_path)
    unnamed = replace(unnamed, connection=replace(unnamed.connection, client_id="no name"))
    with pytest.raises(Refused, match="BAD_CLIENT_ID"):
        process.run(attack, attack.Config(), unnamed)
    assert read(tmp_path / "thief.jsonl")[1][-1]["status"] == "refused"


def test_a_batch_larger_than_the_gate_takes_is_refused_before_any_query(gate, tmp_path):
    attack = attacks.load("random")
    with pytest.raises(ValueError, match=r"--attack.batch is 300; the gate takes at most 256"):
        process.run(attack, attack.Config(batch=300), thief(gate, tmp_path))
    assert gate.computed == 0


NEEDY = SimpleNamespace(__name__="attacks.needy", NEEDS=("pool", "classes", "costs", "inside"))


@pytest.mark.parametrize(
    ("attack", "changes", "message"),
    [
        (NEEDY, {"inside": "digits"}, "needy needs --costs FILE"),
        (NEEDY, {"costs": Path("f")}, "needy needs --inside NAME"),
        (None, {"costs": Path("f")}, "random has no use for --costs"),
        (None, {"accounts": 0}, "--accounts is 0; expected at least 1"),
        (None, {"pace": -0.5}, "--pace is -0.5; expected at least 0"),
        (None, {"pace": float("nan")}, "--pace is nan; expected at least 0"),
        (None, {"pool_size": 0}, "--pool-size is 0; expected at least 1"),
        (None, {"surrogates": None, "resume": True}, "--resume needs --surrogates"),
    ],
)
def test_flags_that_cannot_be_are_refused_before_the_gate_is_called(
    tmp_path, attack, changes, message
):
    random = attacks.load("random")
    nobody = SimpleNamespace(address="x:1")
    with pytest.raises(ValueError, match=message):
        process.run(attack or random, random.Config(), thief(nobody, tmp_path, **changes))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"batch": 0}, "--attack.batch is 0; expected at least 1"),
        ({"budget": 5}, "--attack.budget is 5; expected at least one batch of 64"),
    ],
)
def test_numbers_that_cannot_be_are_refused_before_the_gate_is_called(tmp_path, config, message):
    random = attacks.load("random")
    nobody = SimpleNamespace(address="x:1")
    with pytest.raises(ValueError, match=message):
        process.run(random, random.Config(**config), thief(nobody, tmp_path))


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
    artifacts.save(tmp_path / "costs", {"costs": costs}, mark)
    given = {"pool": "digits", "costs": tmp_path / "costs", "inside": "photos", "seed": 3}
    config = attacks.load("random").Config()
    process.run(attack, config, thief(gate, tmp_path, **given))
    (world,) = seen
    np.testing.assert_array_equal(world.pool, pool)
    np.testing.assert_array_equal(world.classes, labels)
    np.testing.assert_array_equal(world.costs, costs)
    assert world.inside.shape == (200, 1, 8, 8)
    plain = {**given, "surrogates": None, "record": None}
    with pytest.raises(ValueError, match="the pool photos has no labels"):
        process.run(attack, config, thief(gate, tmp_path, **{**plain, "pool": "photos"}))
    with pytest.raises(ValueError, match="costs is for seed 3; expected 4"):
        process.run(attack, config, thief(gate, tmp_path, **{**plain, "seed": 4}))
    artifacts.save(tmp_path / "costs", {"costs": costs}, {**mark, "images": "0"})
    with pytest.raises(ValueError, match="costs is for images '0'; expected"):
        process.run(attack, config, thief(gate, tmp_path, **plain))
    artifacts.save(tmp_path / "costs", {"costs": costs}, {**mark, "kind": "network"})
    with pytest.raises(ValueError, match=r"holds no costs of a pool \(kind 'network'\)"):
        process.run(attack, config, thief(gate, tmp_path, **plain))


def test_a_data_free_attack_loads_no_pool(gate, tmp_path):
    seen = []

    def plan(cfg, world):
        seen.append(world.pool.shape)
        return
        yield

    attack = SimpleNamespace(__name__="attacks.free", NEEDS=(), plan=plan)
    config = attacks.load("random").Config()
    process.run(attack, config, thief(gate, tmp_path, pool="npz:not there"))
    assert seen == [(0, 1, 8, 8)]
