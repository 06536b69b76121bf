"""Offers: paid for as they were made, also by a thief who was stopped in the midst of a puzzle."""

import json
import time
from contextlib import closing, contextmanager, suppress
from dataclasses import replace

import numpy as np
import pytest

from attacks.offers import Offers, OtherVictim
from attacks.transcript import Transcript
from client.offer import Offer
from client.session import Refused, Session
from core.records import RecordError, read

IMAGES = np.linspace(0, 1, 2 * 16, dtype=np.float32).reshape(2, 1, 4, 4)
MINE = "00000000-0000-0000-0000-000000000007"


class Stopped(BaseException):
    """Stands in for a SIGKILL."""


class Killed:
    """A session that is stopped in the midst of every puzzle."""

    def __init__(self, session):
        self.offer = session.offer

    def accept(self, offer):
        raise Stopped


@pytest.fixture
def session(gate):
    with Session(gate.address, client_id="anne") as session:
        yield session


@contextmanager
def offers(session, tmp_path):
    """Of one process."""
    shop = Offers(session, seen=lambda offer: None, file=tmp_path / "offers.jsonl")
    try:
        yield shop
    finally:
        shop.close()


def asked(gate):
    """Whether each request to the gate was a retry."""
    return [line["retry"] for line in gate.records if line["kind"] == "predict"]


def test_who_is_stopped_in_a_puzzle_goes_on_with_it_however_often(gate, session, tmp_path):
    for end in [*[Killed(session)] * 9, session]:
        transcript = Transcript(tmp_path / "t.jsonl", {}, resume=True)
        with suppress(Stopped), closing(transcript), offers(end, tmp_path) as shop:
            answers = transcript.predict(IMAGES, shop.predict)
    assert answers.argmax(axis=1).tolist() == [0, 2]
    assert asked(gate) == [False]
    assert gate.ledger.account("anne").result().charged == 2


def test_a_price_that_was_asked_by_a_process_before_is_paid(gate, session, tmp_path):
    with offers(session, tmp_path) as shop:
        assert shop.price(IMAGES, MINE) == 64
    with offers(session, tmp_path) as shop:
        shop.predict(IMAGES[:1])  # another request
        shop.predict(IMAGES, MINE)
        assert asked(gate) == [False, False]
        shop.predict(IMAGES, MINE)  # what is paid for is no offer any more
    assert asked(gate) == [False, False, True]


def test_an_offer_that_ran_out_meanwhile_is_asked_for_again(gate, session, tmp_path):
    path = tmp_path / "offers.jsonl"
    with offers(session, tmp_path) as shop:
        shop.price(IMAGES, MINE)
    header, line = path.read_text().splitlines()
    kept = json.loads(line)
    assert kept["until"] == pytest.approx(time.time() + 600, abs=30)
    line = json.dumps({**kept, "until": time.time() - 1})
    path.write_text(f"{header}\n{line}\n")
    with offers(session, tmp_path) as shop:
        assert shop.predict(IMAGES, MINE).argmax(axis=1).tolist() == [0, 2]
    assert asked(gate) == [False, True]
    assert len(read(path)[1]) == 2  # the new offer is kept, too


def test_an_offer_that_the_gate_does_not_know_any_more_is_asked_for_again(gate, session, tmp_path):
    with offers(session, tmp_path) as shop:
        shop.price(IMAGES, MINE)
    gate.clock.now += 3600
    with offers(session, tmp_path) as shop:
        assert shop.predict(IMAGES, MINE).argmax(axis=1).tolist() == [0, 2]
    assert asked(gate) == [False, True]


def test_a_refusal_of_what_was_just_offered_is_not_repeated(gate, session, tmp_path):
    class Hesitant:
        offer = session.offer

        def accept(self, offer):
            raise Refused("FORGED_CHALLENGE", "not made by this gate", None)

    with offers(Hesitant(), tmp_path) as shop, pytest.raises(Refused, match="FORGED"):
        shop.predict(IMAGES, MINE)
    assert asked(gate) == [False]


@pytest.mark.parametrize("ask", ["price", "predict"])
def test_a_gate_that_comes_to_serve_another_model_is_not_paid(gate_with, tmp_path, ask):
    with (
        gate_with() as one,
        gate_with(fingerprint="b" * 64) as other,
        Session(one.address, client_id="anne") as first,
        Session(other.address, client_id="anne") as second,
    ):
        shop = Offers(first, seen=lambda offer: None)
        shop.predict(IMAGES)
        shop._session = second
        message = f"the gate serves {'b' * 16} now; expected {'f' * 16}, as before"
        with pytest.raises(OtherVictim, match=message):
            getattr(shop, ask)(IMAGES)
        assert other.ledger.account("anne").result().unpaid == 1


def test_free_answers_are_not_kept(gate_with, tmp_path):
    with (
        gate_with(hashes=0) as gate,
        Session(gate.address, client_id="anne") as session,
        offers(session, tmp_path) as shop,
    ):
        shop.predict(IMAGES, MINE)
    assert read(tmp_path / "offers.jsonl")[1] == []


def test_an_offer_is_the_same_when_it_was_kept(session):
    offer = session.offer(IMAGES)
    again = Offer.from_json(IMAGES, json.loads(json.dumps(offer.to_json())))
    assert again.until == pytest.approx(offer.until, abs=1)
    assert replace(again, until=0.0).to_json() == {
        **replace(offer, until=0.0).to_json(),
        "until": pytest.approx(time.time() - time.monotonic(), abs=1),
    }
    assert (again.work, again.challenge, again.images is IMAGES) == (64, offer.challenge, True)


@pytest.mark.parametrize(
    "change", [{"sealed": "no base64!"}, {"sealed": "AAAA"}, {"sealed": ""}, {"until": None}]
)
def test_an_offer_that_is_damaged_is_refused(session, change):
    kept = session.offer(IMAGES).to_json()
    with pytest.raises(ValueError, match="an offer that cannot be read"):
        Offer.from_json(IMAGES, {**kept, **change})


def test_a_file_that_is_damaged_is_refused(session, tmp_path):
    (tmp_path / "offers.jsonl").write_text('{"kind": "header"}\n{\n')
    with pytest.raises(RecordError, match=r"offers\.jsonl, line 2: not JSON"):
        Offers(session, seen=lambda offer: None, file=tmp_path / "offers.jsonl")
