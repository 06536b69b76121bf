"""A session against a real gate on loopback: answers, refusals, retries, where the time went."""

import threading
import time
from dataclasses import replace

import grpc
import numpy as np
import pytest

from client.session import BadAnswer, Closed, Refused, Session, Unreachable
from core.arrays import InvalidInputs
from protos import gate_pb2 as pb

IMAGES = np.linspace(0, 1, 2 * 16, dtype=np.float32).reshape(2, 1, 4, 4)


@pytest.fixture
def exchanges():
    return []


@pytest.fixture
def session(gate, exchanges):
    with Session(gate.address, client_id="anne", observe=exchanges.append) as session:
        yield session


@pytest.mark.parametrize("solver", ["native", "python"])
def test_predict_pays_and_opens(gate, exchanges, solver):
    with Session(
        gate.address, client_id="anne", solver=solver, observe=exchanges.append
    ) as session:
        probabilities = session.predict(IMAGES)
        assert session.account().unpaid_batches == 0
    assert probabilities.shape == (2, 3)
    assert probabilities.dtype == np.float32
    assert probabilities.argmax(axis=1).tolist() == [0, 2]
    (exchange,) = exchanges
    assert (exchange.images, exchange.work, exchange.bits, exchange.count) == (2, 64, 2, 16)
    assert exchange.hashes >= 16
    assert (exchange.solver, exchange.virtual) == (solver, False)
    assert min(exchange.sent, exchange.received) > 100
    parts = exchange.network + exchange.server + exchange.solve + exchange.open
    assert parts == pytest.approx(exchange.total)
    assert min(exchange.network, exchange.server, exchange.solve, exchange.open) > 0


def test_a_request_asked_again_under_its_id_is_charged_once(session):
    mine = "00000000-0000-0000-0000-000000000007"
    first = session.predict(IMAGES, request_id=mine)
    np.testing.assert_array_equal(first, session.predict(IMAGES, request_id=mine))
    assert session.account().queries == 2


def test_a_session_knows_whether_the_victim_is_the_same(gate_with):
    seen = []
    for fingerprint in ("a" * 64, "b" * 64):
        with (
            gate_with(fingerprint=fingerprint) as gate,
            Session(gate.address, client_id="anne") as session,
        ):
            seen.append((session.service.fingerprint, session.offer(IMAGES).victim))
    assert seen == [("a" * 16, "a" * 16), ("b" * 16, "b" * 16)]


def test_uint8_images(session):
    assert session.predict((IMAGES * 255).astype(np.uint8)).shape == (2, 3)


def test_a_gate_that_asks_no_work_is_opened_at_once(gate_with, exchanges):
    with (
        gate_with(hashes=0) as gate,
        Session(gate.address, client_id="anne", observe=exchanges.append) as session,
    ):
        session.predict(IMAGES)
    assert (exchanges[0].work, exchanges[0].hashes, exchanges[0].solve) == (0, 0, 0.0)


def test_virtual_work_is_counted_and_not_spent(gate_with, exchanges):
    with (
        gate_with(hashes=1 << 30, algorithm="virtual", hash_rate=2.0**20) as gate,
        Session(
            gate.address,
            client_id="anne",
            solver="virtual",
            observe=exchanges.append,
            rng=np.random.default_rng(5),
        ) as session,
    ):
        session.predict(IMAGES)
    (exchange,) = exchanges
    assert exchange.virtual
    assert exchange.solve == pytest.approx(exchange.hashes / 2**20)
    assert 300 < exchange.solve < 3000  # 1 024 s expected, CV 1/4
    assert exchange.total > exchange.solve > 100 * exchange.cpu


def test_images_are_checked_before_anything_is_sent(gate, session):
    for images, message in (
        (IMAGES * 2, "in \\[0, 1\\]"),
        (IMAGES[:0], "empty"),
        (IMAGES[None], "rank 5"),
        (IMAGES.astype(np.int64), "int64"),
        (np.zeros((257, 1, 4, 4), np.uint8), "257 images, expected at most 256"),
    ):
        with pytest.raises(InvalidInputs, match=message):
            session.predict(images)
    assert gate.computed == 0


def test_a_refusal_says_why(gate):
    with Session(gate.address, client_id="not a name") as session, pytest.raises(Refused) as caught:
        session.predict(IMAGES)
    assert caught.value.reason == "BAD_CLIENT_ID"
    assert "1 to 64" in caught.value.message
    assert caught.value.retry_seconds is None


def test_an_offer_says_its_price_before_it_is_paid(gate, session, exchanges):
    offer = session.offer(IMAGES)
    assert offer.work == 64
    np.testing.assert_array_equal(offer.images, IMAGES)
    assert session.account().unpaid_batches == 1
    assert exchanges == []
    assert session.accept(offer).argmax(axis=1).tolist() == [0, 2]
    assert session.account().unpaid_batches == 0
    assert session.account().queries == 2
    (exchange,) = exchanges
    assert (exchange.request_id, exchange.images, exchange.work) == (offer.request_id, 2, 64)
    # To pay is to send the challenge back, and to be sent a key of 32 bytes.
    assert exchange.sent > offer.sent + len(offer.sealed.challenge)
    assert exchange.received >= offer.sealed.ByteSize() + 32


def test_what_the_offer_cost_is_part_of_the_exchange(session, exchanges):
    offer = session.offer(IMAGES)
    session.accept(replace(offer, cpu=50.0, seconds=70.0))
    (exchange,) = exchanges
    assert 50 < exchange.cpu < 60
    assert 70 < exchange.total < 80


def test_time_between_offer_and_payment_is_nobodys(session, exchanges):
    started = time.perf_counter()
    offer = session.offer(IMAGES)
    time.sleep(0.1)
    session.accept(offer)
    (exchange,) = exchanges
    assert exchange.total <= time.perf_counter() - started - 0.1
    assert exchange.total > offer.seconds > 0


def test_an_offer_that_ran_out_is_asked_again_and_charged_once(gate, session):
    offer = session.offer(IMAGES)
    assert offer.until == pytest.approx(time.monotonic() + 600, abs=30)
    gate.clock.now += 3600
    session.accept(replace(offer, until=time.monotonic()))
    assert session.account().queries == 2
    assert session.account().unpaid_batches == 0


def test_an_offer_keeps_its_images_when_the_caller_s_array_is_filled_anew(gate, session):
    images = IMAGES.copy()
    offer = session.offer(images)
    images[:] = 0
    answer = session.accept(replace(offer, until=time.monotonic()))
    np.testing.assert_array_equal(answer, session.predict(IMAGES))


def test_more_offers_than_may_stay_unpaid_are_refused(gate, session):
    images = [IMAGES[:1] * np.float32(i / 9) for i in range(9)]
    offers = [session.offer(each) for each in images[:8]]
    assert session.service.max_unpaid == 8
    with pytest.raises(Refused, match="TOO_MANY_UNPAID"):
        session.offer(images[8])
    session.accept(offers[3])
    session.offer(images[8])


def test_a_session_that_is_closed_gives_up_its_puzzle(gate_with):
    with gate_with(hashes=1 << 40) as gate:
        session = Session(gate.address, client_id="anne")
        assert session.service.shape
        threading.Timer(0.2, session.close).start()
        with pytest.raises(Closed, match="closed before the answer was paid for"):
            session.predict(IMAGES)


def test_nobody_there():
    with (
        Session("127.0.0.1:1", client_id="anne", timeout=0.5) as session,
        pytest.raises(Unreachable, match=r"no answer in 0\.5 s"),
    ):
        session.predict(IMAGES)


def test_an_unavailable_gate_is_asked_again_with_the_same_request(gate, session, monkeypatch):
    session.service  # noqa: B018 - asked once, before the failures
    seen, allowed = [], []
    predict = session._stub.Predict

    def flaky(request, **kwargs):
        seen.append(request.request_id)
        allowed.append(kwargs["timeout"])
        answer = predict(request, **kwargs)
        if len(seen) < 3:  # the answer is lost on its way
            raise Lost
        return answer

    monkeypatch.setattr(session._stub, "Predict", flaky)
    session.predict(IMAGES)
    assert len(seen) == 3
    assert len(set(seen)) == 1
    assert 60 > allowed[0] > allowed[1] + 0.1 > allowed[2] + 0.3  # of one time in all
    assert session.account().queries == 2


def test_an_answer_of_another_shape_is_none(session):
    session._service = replace(session.service, classes=4)
    with pytest.raises(BadAnswer, match=r"has shape \(2, 3\) of float32; expected \(2, 4\)"):
        session.predict(IMAGES)


class Lost(grpc.RpcError):
    @staticmethod
    def code():
        return grpc.StatusCode.UNAVAILABLE

    @staticmethod
    def details():
        return "lost"

    @staticmethod
    def trailing_metadata():
        return ()


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED])
def test_a_gate_that_stops_is_asked_again(session, monkeypatch, code):
    class Stopping(Lost):
        @staticmethod
        def code():
            return code

    asked = []

    def once(request, **kwargs):
        asked.append(request)
        if len(asked) == 1:
            raise Stopping
        return "here"

    monkeypatch.setattr(session._calls, "_sleep", lambda seconds: None)
    assert session._call(once, "request") == "here"
    assert asked == ["request", "request"]


def test_a_request_under_way_ends_with_its_session(session):
    def closing(request, **kwargs):
        session.close()
        raise Lost

    with pytest.raises(Closed, match="before the gate answered"):
        session._call(closing, "request")


def test_other_failures_are_not_repeated(session, monkeypatch):
    session.service  # noqa: B018
    asked = []

    class Broken(Lost):
        @staticmethod
        def code():
            return grpc.StatusCode.INTERNAL

    def broken(request, **kwargs):
        asked.append(request)
        raise Broken

    monkeypatch.setattr(session._stub, "Predict", broken)
    with pytest.raises(Refused, match="INTERNAL"):
        session.predict(IMAGES)
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_shape": [8, 8]}, r"images of shape \(8, 8\) in 3 classes; expected \(c, h, w\)"),
        ({"input_shape": [1, 0, 4]}, r"images of shape \(1, 0, 4\)"),
        ({"classes": 1}, "in 1 classes; expected .* at least 2 classes"),
    ],
)
def test_a_gate_that_serves_no_images_is_refused(gate, session, monkeypatch, change, message):
    said = {"model": "m", "input_shape": [1, 4, 4], "classes": 3, **change}
    monkeypatch.setattr(session._stub, "Describe", lambda *_, **__: pb.Description(**said))
    with pytest.raises(BadAnswer, match=message):
        session.predict(IMAGES)
    assert gate.computed == 0


@pytest.mark.parametrize("field", ["ciphertext", "challenge"])  # of the latter, its MAC
def test_an_answer_that_was_tampered_with_is_not_opened(gate_with, monkeypatch, field):
    with gate_with(hashes=0) as gate, Session(gate.address, client_id="anne") as session:
        session.service  # noqa: B018
        predict = session._stub.Predict

        def tampered(request, **kwargs):
            sealed = predict(request, **kwargs)
            data = bytearray(getattr(sealed, field))
            data[-1] ^= 1
            setattr(sealed, field, bytes(data))
            return sealed

        monkeypatch.setattr(session._stub, "Predict", tampered)
        with pytest.raises(BadAnswer, match="cannot be opened"):
            session.predict(IMAGES)


def test_threads_share_a_session(session):
    answers = []

    def ask():
        answers.append(session.predict(IMAGES))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4
    assert session.account().queries == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"client_id": "a", "solver": "magic"}, "solver is 'magic'"),
        ({}, "either an API key or a client id"),
        ({"client_id": "a", "key": "k"}, "either an API key or a client id"),
        ({"client_id": "a", "threads": 0}, "threads is 0"),
    ],
)
def test_a_session_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        Session("localhost:1", **arguments)
