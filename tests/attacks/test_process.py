"""`python -m attacks`: a thief as a process, against a gate on loopback."""

import subprocess
import sys
from dataclasses import replace

import pytest

import attacks
from attacks import process
from attacks.options import Thief
from client.options import Connection
from client.session import Refused
from core.records import read


def thief(gate, tmp_path, **changes):
    return Thief(
        connection=Connection(target=gate.address, client_id="thief"),
        home=tmp_path,
        pool="photos",
        pool_size=200,
        network="lenet-thin",
        surrogates=tmp_path / "surrogates",
        record=tmp_path / "thief.jsonl",
        **changes,
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
    ]
    assert gate.ledger.account("thief").result().charged == 60


def test_a_refusal_half_way_keeps_what_was_learnt(gate, tmp_path):
    attack = attacks.load("random")
    cfg = attack.Config(budget=60, batch=20, rounds=2, epochs=1)
    ask = gate.ledger.ask

    def ask_once_or_twice(client, request_id, digest, images, cost):
        if gate.computed > 2:
            gate.ledger.close()
        return ask(client, request_id, digest, images, cost)

    gate.ledger.ask = ask_once_or_twice
    impatient = thief(gate, tmp_path)
    impatient = replace(impatient, connection=replace(impatient.connection, timeout=0.5))
    with pytest.raises(Exception, match="ledger"):
        process.run(attack, cfg, impatient)
    assert read(tmp_path / "thief.jsonl")[1][-1]["status"] in ("unreachable", "refused")
    assert [path.name for path in (tmp_path / "surrogates").iterdir()] == ["000030.safetensors"]


def test_refused_by_name(gate, tmp_path):
    attack = attacks.load("random")
    unnamed = thief(gate, tmp_path)
    unnamed = replace(unnamed, connection=replace(unnamed.connection, client_id="no name"))
    with pytest.raises(Refused, match="BAD_CLIENT_ID"):
        process.run(attack, attack.Config(), unnamed)
    assert read(tmp_path / "thief.jsonl")[1][-1]["status"] == "refused"


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "attacks", *arguments], capture_output=True, text=True
    )


def test_the_list():
    done = run("--list")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == sorted(attacks.REGISTRY)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("knockof",), "did you mean knockoff?"),
        (("zzz",), "copycat, knockoff, random"),
        (("random", "--target", "x:1", "--client-id", "a", "--attack.budget", "5"), "one batch"),
        (("random", "--target", "x:1", "--client-id", "a", "--attack.rounds", "0"), "rounds is 0"),
        (("random", "--target", "x:1", "--client-id", "a", "--pool-size", "0"), "pool-size is 0"),
        (("random", "--target", "x:1"), "--key-file or --client-id"),
    ],
)
def test_mistakes_are_one_line(arguments, message):
    done = run(*arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
