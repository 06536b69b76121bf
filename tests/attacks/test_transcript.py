"""The transcript: what was paid is not asked again; that of another attack is refused."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid

import numpy as np
import pytest
from meaning import assert_same_weights

import attacks
from attacks import process
from attacks.options import Thief
from attacks.transcript import Transcript, TranscriptError
from client.options import Connection
from core.learning.artifacts import load_network
from core.records import RecordError, read

CONFIG = {"attack": "random", "attack.lr": 0.1, "seed": 3, "shape": [1, 2, 2]}
BATCHES = [np.full((2, 1, 2, 2), value, np.uint8) for value in range(5)]


class Gate:
    """Answers, and remembers which requests it was asked."""

    def __init__(self):
        self.asked = []

    def ask(self, images, request_id):
        assert str(uuid.UUID(request_id)) == request_id
        self.asked.append((int(images[0, 0, 0, 0]), request_id))
        rng = np.random.default_rng(int(images[0, 0, 0, 0]))
        return rng.random((len(images), 3), np.float32)


def replay(path, batches, *, resume, config=CONFIG):
    """The answers, and what was asked of the gate."""
    gate = Gate()
    transcript = Transcript(path, config, resume=resume)
    try:
        return [transcript.predict(images, gate.ask) for images in batches], gate.asked
    finally:
        transcript.close()


def test_a_resumed_thief_asks_only_what_is_new(tmp_path):
    path = tmp_path / "t.jsonl"
    whole, _ = replay(tmp_path / "whole.jsonl", BATCHES, resume=False)
    first, asked = replay(path, BATCHES[:3], resume=False)
    assert [value for value, _ in asked] == [0, 1, 2]
    again, asked = replay(path, BATCHES, resume=True)
    assert [value for value, _ in asked] == [3, 4]
    np.testing.assert_array_equal(again, whole)
    np.testing.assert_array_equal(again[:3], first)
    assert again[0].dtype == np.float32
    assert again[0].flags.writeable
    assert replay(path, BATCHES, resume=True)[1] == []


def test_it_is_on_the_disk_before_the_attack_sees_it(tmp_path):
    transcript = Transcript(tmp_path / "t.jsonl", CONFIG, resume=False)
    transcript.predict(BATCHES[0], Gate().ask)
    assert len(read(tmp_path / "t.jsonl")[1]) == 1
    transcript.close()


def test_a_batch_cut_off_by_the_crash_is_the_same_request_again(tmp_path):
    path = tmp_path / "t.jsonl"
    _, asked = replay(path, BATCHES[:3], resume=False)
    path.write_bytes(path.read_bytes()[:-20])  # a line the killed process did not finish
    _, again = replay(path, BATCHES[:4], resume=True)
    assert again[0] == asked[2]
    assert [value for value, _ in again] == [2, 3]
    assert "truncated" not in read(path)[0]
    assert replay(path, BATCHES[:4], resume=True)[1] == []
    ids = {request_id for _, request_id in [*asked, *again]}
    assert len(ids) == 4


def test_equal_batches_are_requests_of_their_own(tmp_path):
    _, asked = replay(tmp_path / "t.jsonl", [BATCHES[0]] * 2, resume=False)
    assert len({request_id for _, request_id in asked}) == 2
    _, other = replay(tmp_path / "u.jsonl", [BATCHES[0]], resume=False)
    assert other[0][1] not in {request_id for _, request_id in asked}


class Shop(Gate):
    """Also says prices."""

    def price(self, images, request_id):
        self.ask(images, request_id)
        return 64 + int(images[0, 0, 0, 0])


def test_a_priced_batch_is_paid_for_as_the_request_that_was_priced(tmp_path):
    path, shop = tmp_path / "t.jsonl", Shop()
    transcript = Transcript(path, CONFIG, resume=False)
    assert transcript.price(BATCHES[1], shop.price) == 65
    transcript.predict(BATCHES[0], shop.ask)
    transcript.close()
    again = Shop()
    transcript = Transcript(path, CONFIG, resume=True)
    assert transcript.price(BATCHES[1], again.price) == 65  # not asked again
    transcript.predict(BATCHES[0], again.ask)
    transcript.predict(BATCHES[1], again.ask)
    transcript.predict(BATCHES[1], again.ask)  # once more, at a price of its own
    transcript.close()
    (first, priced), (second, other) = again.asked
    assert (first, second) == (1, 1)
    assert priced == shop.asked[0][1] != other


def test_a_price_is_not_an_answer(tmp_path):
    path = tmp_path / "t.jsonl"
    replay(path, BATCHES[:1], resume=False)
    transcript = Transcript(path, CONFIG, resume=True)
    with pytest.raises(TranscriptError, match=r"line 2: expected a price"):
        transcript.price(BATCHES[0], Shop().price)
    transcript.close()


def test_a_price_that_is_damaged_is_refused(tmp_path):
    path = tmp_path / "t.jsonl"
    transcript = Transcript(path, CONFIG, resume=False)
    transcript.price(BATCHES[0], Shop().price)
    transcript.close()
    path.write_text(path.read_text().replace('"work"', '"worth"'))
    transcript = Transcript(path, CONFIG, resume=True)
    with pytest.raises(TranscriptError, match=r"line 2: expected a price"):
        transcript.price(BATCHES[0], Shop().price)
    transcript.close()


def test_other_queries_are_refused(tmp_path):
    path = tmp_path / "t.jsonl"
    replay(path, BATCHES[:3], resume=False)
    with pytest.raises(TranscriptError, match=r"t.jsonl, line 3 answers other queries; expected"):
        replay(path, [BATCHES[0], BATCHES[2]], resume=True)
    with pytest.raises(TranscriptError, match="other queries"):
        replay(path, [BATCHES[0].astype(np.float32)], resume=True)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({**CONFIG, "seed": 4}, "was made with seed = 3, not 4; expected the same victim, attack"),
        ({**CONFIG, "attack.lr": 0.2}, "was made with attack.lr = 0.1, not 0.2"),
        ({**CONFIG, "shape": (3, 2, 2)}, r"was made with shape = \[1, 2, 2\], not \[3, 2, 2\]"),
        ({**CONFIG, "more": 1}, "does not say more, which is now 1; expected the same victim"),
    ],
)
def test_a_transcript_of_another_config_is_refused(tmp_path, config, message):
    replay(tmp_path / "t.jsonl", BATCHES[:1], resume=False)
    with pytest.raises(TranscriptError, match=message):
        replay(tmp_path / "t.jsonl", BATCHES, resume=True, config=config)


def test_an_existing_transcript_is_not_written_over(tmp_path):
    path = tmp_path / "t.jsonl"
    replay(path, BATCHES[:1], resume=False)
    before = path.read_bytes()
    with pytest.raises(TranscriptError, match="exists already; give --resume to go on from it"):
        replay(path, BATCHES, resume=False)
    assert path.read_bytes() == before


def test_nothing_to_resume_is_a_beginning(tmp_path):
    assert len(replay(tmp_path / "t.jsonl", BATCHES, resume=True)[1]) == 5


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"kind": "checkpoint"}, TranscriptError, "line 2: expected an answer"),
        ({"answers": "AAAA"}, TranscriptError, "line 2: its answers cannot be read"),
        ({"answers": "no base64!"}, TranscriptError, "line 2: its answers cannot be read"),
        ({"shape": [3, 2]}, TranscriptError, r"line 2: its answers are \(3, 2\), expected 2 rows"),
        ({"shape": [6]}, TranscriptError, r"line 2: its answers are \(6,\), expected 2 rows"),
        (None, RecordError, "line 2: not JSON"),
    ],
)
def test_a_damaged_transcript_is_refused(tmp_path, change, error, message):
    path = tmp_path / "t.jsonl"
    replay(path, BATCHES[:2], resume=False)
    head, line, rest = path.read_text().splitlines()
    line = "{" if change is None else json.dumps({**json.loads(line), **change})
    path.write_text("\n".join([head, line, rest, ""]))
    with pytest.raises(error, match=message):
        replay(path, BATCHES, resume=True)


@pytest.mark.parametrize("header", [{}, {"config": CONFIG}, {"config": CONFIG, "run": "x"}])
def test_another_record_is_no_transcript(tmp_path, header):
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps({"kind": "header", **header}) + "\n")
    with pytest.raises(TranscriptError, match="is not the transcript of an attack"):
        replay(path, BATCHES, resume=True)


def test_a_thief_that_was_killed_does_not_pay_twice(gate_with, tmp_path):
    attack = attacks.load("random")
    config = attack.Config(budget=80, batch=10, rounds=2, epochs=1)

    def thief(gate, name, **changes):
        return Thief(
            connection=Connection(target=gate.address, client_id="thief"),
            home=tmp_path,
            pool_size=200,
            network="lenet-thin",
            surrogates=tmp_path / name,
            record=tmp_path / f"{name}.jsonl",
            **changes,
        )

    def charged(gate):
        return gate.ledger.account("thief").result().charged

    command = [sys.executable, "-m", "attacks", "random", "--client-id", "thief"]
    command += ["--home", str(tmp_path), "--network", "lenet-thin", "--pool-size", "200"]
    command += ["--attack.budget", "80", "--attack.batch", "10", "--attack.rounds", "2"]
    command += ["--attack.epochs", "1", "--surrogates", str(tmp_path / "killed")]
    with gate_with(shape=(1, 8, 8), hashes=6_000_000) as gate:
        child = subprocess.Popen([*command, "--target", gate.address])
        offers = tmp_path / "killed" / "offers.jsonl"
        while not offers.exists() or offers.read_bytes().count(b"\n") < 4:
            time.sleep(0.001)  # until the third batch is charged, and hardly paid
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        assert charged(gate) < 80
        process.run(attack, config, thief(gate, "killed", resume=True))
        assert charged(gate) == 80
        assert [line for line in gate.records if line.get("retry")] == []
        assert sum(line["kind"] == "predict" for line in gate.records) == 8
    asked = sum(line["kind"] == "predict" for line in read(tmp_path / "killed.jsonl")[1])
    assert 0 < asked < 8
    with gate_with(shape=(1, 8, 8), hashes=0) as gate:
        process.run(attack, config, thief(gate, "whole"))
    before, after = (read(tmp_path / name / "transcript.jsonl")[1] for name in ("whole", "killed"))
    assert before == after
    (one, facts), (other, others) = (
        load_network(tmp_path / name / "000080.safetensors") for name in ("whole", "killed")
    )
    assert_same_weights(one, other)
    assert facts == others
