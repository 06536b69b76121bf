"""Asking: an attacker that crashed, or was stopped in a puzzle, goes on and pays nothing twice."""

import json
import time
from contextlib import contextmanager, suppress
from dataclasses import replace

import numpy as np
import pytest
from fake_gate import IMAGES, MINE, FakeGate, asking, refused
from grpc import StatusCode

from attacks.asking import OFFERS, TRANSCRIPT, Accounts, Asking, OtherVictim, TranscriptError
from client.offer import Offer
from client.process import Pace
from client.session import Refused
from core.records import RecordError, read
from pow.audience import Audience

CONFIG = {"attack": "random", "seed": 3, "shape": [1, 4, 4], "attack.lr": 0.1}
BATCHES = [np.full((2, 1, 4, 4), value, np.uint8) for value in range(5)]


def answers(images):
    """Probabilities by the first pixel."""
    top = np.float32(0.5) + images.reshape(len(images), -1)[:, 0] / np.float32(510)
    return np.stack([top, 1 - top, 0 * top], axis=1).astype(np.float32)


@pytest.fixture
def gate():
    return gate_of()


def gate_of(hashes=64):
    gate = FakeGate(hashes)
    gate.answers = answers
    return gate


@contextmanager
def process(gate, folder, *, resume=True, config=CONFIG, accounts=None, priced=None):
    """The asking of one process."""
    pace = Pace(0, clock=time.monotonic, sleep=lambda seconds: None)
    with asking(gate, clock=time.monotonic) as session:
        ask = Asking(
            accounts or Accounts([session]),
            pace=pace,
            priced=priced or (lambda offer: None),
            folder=folder,
            config=config,
            resume=resume,
        )
        try:
            yield ask
        finally:
            ask.close()


def replay(gate, folder, batches, **options):
    """The answers to batches, and the ids of the requests that the gate was asked."""
    before = len(gate.requests)
    with process(gate, folder, **options) as ask:
        got = [ask.predict(images) for images in batches]
    return got, [request.request_id for request in gate.requests[before:]]


def test_a_resumed_attacker_asks_only_what_is_new(gate, tmp_path):
    first, asked = replay(gate, tmp_path, BATCHES[:3], resume=False)
    assert len(asked) == 3
    again, asked = replay(gate, tmp_path, BATCHES)
    assert len(asked) == 2
    np.testing.assert_array_equal(again[:3], first)
    np.testing.assert_array_equal(again, list(map(answers, BATCHES)))
    assert again[0].dtype == np.float32
    assert again[0].flags.writeable
    assert replay(gate, tmp_path, BATCHES)[1] == []


def test_an_answer_is_on_the_disk_before_the_attack_sees_it_or_nowhere(gate, tmp_path):
    for folder in (tmp_path, None):
        with process(gate, folder) as ask:
            ask.predict(BATCHES[0])
            assert len(read(tmp_path / TRANSCRIPT)[1]) == 1
            ask.predict(BATCHES[0])  # a request of its own
        (tmp_path / TRANSCRIPT).write_bytes(b'{"kind": "header"}\n{"kind": "kept"}\n')
    assert len({request.request_id for request in gate.requests}) == 4
    replay(gate_of(0), tmp_path / "free", BATCHES)
    assert read(tmp_path / "free" / OFFERS)[1] == []  # what is free is no offer to keep


def test_a_batch_cut_off_by_the_crash_is_the_same_request_again(gate, tmp_path):
    _, asked = replay(gate, tmp_path, BATCHES[:3])
    path = tmp_path / TRANSCRIPT
    path.write_bytes(path.read_bytes()[:-20])  # a line the killed process did not finish
    (tmp_path / OFFERS).unlink()
    _, again = replay(gate, tmp_path, BATCHES[:4])
    assert again[0] == asked[2]
    assert len({*asked, *again}) == 4
    assert "truncated" not in read(path)[0]
    assert replay(gate, tmp_path, BATCHES[:4])[1] == []


def test_a_priced_batch_is_paid_for_as_the_offer_that_was_made(gate, tmp_path):
    seen = []
    with process(gate, tmp_path, priced=seen.append) as ask:
        assert ask.price(BATCHES[1]) == 64
        ask.predict(BATCHES[0])
    with process(gate, tmp_path, priced=seen.append) as ask:
        assert ask.price(BATCHES[1]) == 64  # not asked again
        ask.predict(BATCHES[0])
        assert len(gate.requests) == 2
        ask.predict(BATCHES[1])  # at the offer of the process before
        assert len(gate.requests) == 2
        ask.predict(BATCHES[1])  # once more, at a price of its own
    assert len({request.request_id for request in gate.requests}) == 3
    assert [offer.work for offer in seen] == [64]


class Stopped(BaseException):
    """Stands in for a SIGKILL."""


def test_an_attacker_that_is_stopped_in_a_puzzle_goes_on_with_it_however_often(
    gate, tmp_path, monkeypatch
):
    def stop(*args, **options):
        raise Stopped

    with monkeypatch.context() as killing:
        killing.setattr("client.solving.solve", stop)
        for _ in range(9):
            with suppress(Stopped):
                replay(gate, tmp_path, BATCHES[:1])
    got, asked = replay(gate, tmp_path, BATCHES[:1])
    np.testing.assert_array_equal(got[0], answers(BATCHES[0]))
    assert asked == []
    assert len(gate.requests) == 1


def expired(folder):
    """Has all kept offers expired."""
    path = folder / OFFERS
    header, *lines = path.read_text().splitlines()
    kept = [{**json.loads(line), "until": time.time() - 1} for line in lines]
    path.write_text("\n".join([header, *map(json.dumps, kept), ""]))


def forgotten(folder, gate):
    """Has the gate not know its offers any more."""
    gate.failing["Redeem"] = [refused(StatusCode.INVALID_ARGUMENT, "FORGED_CHALLENGE")]


@pytest.mark.parametrize("lost", [lambda folder, gate: expired(folder), forgotten])
def test_an_offer_that_is_of_no_use_any_more_is_asked_for_again(gate, tmp_path, lost):
    with process(gate, tmp_path) as ask:
        ask.price(IMAGES)
    (kept,) = read(tmp_path / OFFERS)[1]
    assert kept["until"] == pytest.approx(time.time() + 600, abs=30)
    lost(tmp_path, gate)
    with process(gate, tmp_path) as ask:
        ask.price(IMAGES)
        np.testing.assert_array_equal(ask.predict(IMAGES), answers(IMAGES))
    first, second = gate.requests
    assert first.request_id == second.request_id == kept["request_id"]
    assert len(read(tmp_path / OFFERS)[1]) == 2  # the new offer is kept, too
    forgotten(tmp_path, gate)  # a refusal of what was just offered is not repeated
    with process(gate, None) as ask, pytest.raises(Refused, match="FORGED"):
        ask.predict(IMAGES)
    assert len(gate.requests) == 3


@pytest.mark.parametrize("ask", ["price", "predict"])
def test_a_gate_that_comes_to_serve_another_model_is_not_paid(gate, ask):
    with process(gate, None) as asked:
        asked.predict(IMAGES)
        gate.audience = str(replace(Audience.parse(gate.audience), fingerprint="b" * 16))
        message = f"the gate serves {'b' * 16} now; expected {'f' * 16}, as before"
        with pytest.raises(OtherVictim, match=message):
            getattr(asked, ask)(IMAGES)
    assert gate.asked["Redeem"] == 1


def test_an_offer_is_the_same_when_it_was_kept(gate):
    with asking(gate, clock=time.monotonic) as session:
        offer = session.offer(IMAGES, request_id=MINE)
    kept = json.loads(json.dumps(offer.to_json()))
    again = Offer.from_json(IMAGES, kept)
    assert again.until == pytest.approx(offer.until, abs=1)
    assert again.sealed == offer.sealed
    assert (again.request_id, again.work, again.challenge) == (MINE, 64, offer.challenge)
    for change in ({"sealed": "no base64!"}, {"sealed": "AAAA"}, {"sealed": ""}, {"until": None}):
        with pytest.raises(ValueError, match="an offer that cannot be read"):
            Offer.from_json(IMAGES, {**kept, **change})


@pytest.mark.parametrize(
    ("share", "expected"), [(None, [0, 1, 2, 0, 1, 2]), (4, [0, 0, 1, 1, 2, 2, 2])]
)
def test_accounts_ask_in_turn_or_in_series(share, expected):
    accounts, turns = Accounts([0, 1, 2], share=share), []
    for _ in expected:
        turns.append(accounts.turn())
        accounts.answered(2)
    assert turns == expected


def test_the_account_that_was_told_a_price_pays_it():
    one, other = gate_of(), gate_of()
    with asking(one, solver="python") as first, asking(other, solver="python") as second:
        with process(one, None, accounts=Accounts([first, second])) as ask:
            ask.price(BATCHES[0])
            ask.predict(BATCHES[1])
            ask.predict(BATCHES[2])
            ask.predict(BATCHES[0])
            ask.predict(BATCHES[0])  # not priced this time: the turn of the other
        assert (one.asked["Redeem"], other.asked["Redeem"]) == (2, 2)
        assert (one.asked["Predict"], other.asked["Predict"]) == (2, 2)


def test_other_queries_are_refused(gate, tmp_path):
    replay(gate, tmp_path, BATCHES[:3])
    with pytest.raises(TranscriptError, match=r"line 3 answers other queries; expected"):
        replay(gate, tmp_path, [BATCHES[0], BATCHES[2]])
    with pytest.raises(TranscriptError, match="other queries"):
        replay(gate, tmp_path, [BATCHES[0].astype(np.float32)])
    with process(gate, tmp_path) as ask, pytest.raises(TranscriptError, match="expected a price"):
        ask.price(BATCHES[0])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"kind": "checkpoint"}, TranscriptError, "line 2: expected an answer"),
        ({"answers": "AAAA"}, TranscriptError, "line 2: its answers cannot be read"),
        ({"shape": [2, 2]}, TranscriptError, "line 2: its answers cannot be read"),
        ({"shape": [3, 2]}, TranscriptError, r"line 2: .*shape \(3, 2\), expected 2 rows"),
        (None, RecordError, "line 2: not JSON"),
    ],
)
def test_a_damaged_transcript_is_refused(gate, tmp_path, change, error, message):
    replay(gate, tmp_path, BATCHES[:2])
    path = tmp_path / TRANSCRIPT
    head, line, rest = path.read_text().splitlines()
    line = "{" if change is None else json.dumps({**json.loads(line), **change})
    path.write_text("\n".join([head, line, rest, ""]))
    with pytest.raises(error, match=message):
        replay(gate, tmp_path, BATCHES)


def test_what_is_no_transcript_no_price_and_no_offer_is_refused(gate, tmp_path):
    path = tmp_path / TRANSCRIPT
    for header in ({}, {"config": CONFIG}, {"config": CONFIG, "run": "x"}):
        path.write_text(json.dumps({"kind": "header", **header}) + "\n")
        with pytest.raises(TranscriptError, match="is not the transcript of an attack"):
            replay(gate, tmp_path, BATCHES)
    path.unlink()
    with process(gate, tmp_path) as ask:
        ask.price(BATCHES[0])
    path.write_text(path.read_text().replace('"work"', '"worth"'))
    with process(gate, tmp_path) as ask, pytest.raises(TranscriptError, match="expected a price"):
        ask.price(BATCHES[0])
    (tmp_path / OFFERS).write_text('{"kind": "header"}\n{\n')
    with pytest.raises(RecordError, match=r"offers\.jsonl, line 2: not JSON"):
        replay(gate, tmp_path, BATCHES)
