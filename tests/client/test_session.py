"""A session against a gate on loopback: answers, offers, refusals, where the time went."""

import threading
import time
import uuid
from dataclasses import replace

import numpy as np
import pytest
from fake_gate import IMAGES, FakeGate, asking

from client.session import Closed, Session
from core.arrays import InvalidInputs


@pytest.fixture
def exchanges():
    return []


@pytest.fixture
def session(gate, exchanges):
    options = {"client_id": "anne", "solver": "python", "observe": exchanges.append}
    with Session(gate.address, **options) as session:
        yield session


@pytest.mark.parametrize("solver", ["native", "python"])
def test_predict_pays_and_opens(gate, exchanges, solver):
    with Session(
        gate.address, client_id="anne", solver=solver, observe=exchanges.append
    ) as session:
        probabilities = session.predict(IMAGES)
        assert session.predict((IMAGES * 255).astype(np.uint8)).shape == (2, 3)
        assert session.account().unpaid_batches == 0
    assert probabilities.dtype == np.float32
    assert probabilities.argmax(axis=1).tolist() == [0, 2]
    exchange = exchanges[0]
    assert (exchange.images, exchange.work, exchange.bits, exchange.count) == (2, 64, 2, 16)
    assert exchange.hashes >= 16
    assert (exchange.solver, exchange.virtual) == (solver, False)
    assert min(exchange.sent, exchange.received) > 100
    parts = exchange.network + exchange.server + exchange.solve + exchange.open
    assert parts == pytest.approx(exchange.total)
    assert min(exchange.network, exchange.server, exchange.solve, exchange.open) > 0


def test_request_ids_are_uuids():
    gate, mine = FakeGate(), uuid.uuid4()
    with asking(gate) as session:
        session.predict(IMAGES, request_id=mine)
        assert gate.requests[0].request_id == str(mine)
        for wrong in ("mine", 7, b"x", str(mine).upper(), mine.hex):
            with pytest.raises(ValueError, match="request id is"):
                session.predict(IMAGES, request_id=wrong)
    assert gate.asked["Predict"] == 1


def test_free_and_virtual_work():
    seen = []
    with asking(FakeGate(0), observe=seen.append) as session:
        session.predict(IMAGES)
    assert (seen[0].work, seen[0].hashes, seen[0].solve) == (0, 0, 0.0)
    gate, rng = FakeGate(1 << 30, algorithm="virtual"), np.random.default_rng(5)
    with asking(gate, solver="virtual", rng=rng, observe=seen.append) as session:
        session.predict(IMAGES)
    exchange = seen[1]
    assert exchange.virtual
    assert exchange.solve == pytest.approx(exchange.hashes / 1e6)
    assert 300 < exchange.solve < 3000  # 1 074 s expected, CV 1/4
    assert exchange.total > exchange.solve > 100 * exchange.cpu


def test_an_offer_says_its_price_before_it_is_paid(session, exchanges):
    offer = session.offer(IMAGES)
    assert offer.work == 64
    np.testing.assert_array_equal(offer.images, IMAGES)
    assert session.account().unpaid_batches == 1
    assert exchanges == []
    assert session.accept(offer).argmax(axis=1).tolist() == [0, 2]
    assert (session.account().queries, session.account().unpaid_batches) == (2, 0)
    (exchange,) = exchanges
    assert (exchange.request_id, exchange.images, exchange.work) == (offer.request_id, 2, 64)
    # To pay is to send the challenge back, and to be sent a key of 32 bytes.
    assert exchange.sent > offer.sent + len(offer.sealed.challenge)
    assert exchange.received >= offer.sealed.ByteSize() + 32


def test_what_the_offer_took_is_part_of_the_exchange_and_the_time_after_it_is_not():
    seen = []
    with asking(FakeGate(), observe=seen.append) as session:
        offer = session.offer(IMAGES)
        time.sleep(0.1)
        started = time.perf_counter()
        session.accept(replace(offer, cpu=50.0))
        paying = time.perf_counter() - started
        with pytest.raises(InvalidInputs, match="257 inputs, expected at most 256"):
            session.predict(np.zeros((257, 1, 4, 4), np.uint8))
    assert offer.seconds < seen[0].total <= offer.seconds + paying
    assert 50 < seen[0].cpu < 60


def test_an_offer_that_expired_is_asked_again_and_charged_once(gate, session):
    images = IMAGES.copy()
    offer = session.offer(images)
    images[:] = 0  # the offer keeps its own
    assert offer.until == pytest.approx(time.monotonic() + 600, abs=30)
    gate.clock.now += 3600
    answer = session.accept(replace(offer, until=time.monotonic()))
    assert (session.account().queries, session.account().unpaid_batches) == (2, 0)
    np.testing.assert_array_equal(answer, session.predict(IMAGES))


@pytest.mark.timeout(20)
def test_a_session_that_is_closed_gives_up_its_puzzle_and_says_so(gate):
    session = asking(FakeGate(1 << 38))
    assert session.service.shape
    threading.Timer(0.1, session.close).start()
    with pytest.raises(Closed, match="closed before the answer was paid for"):
        session.predict(IMAGES)
    session = Session(gate.address, client_id="anne")
    offer = session.offer(IMAGES)
    session.close()
    session.close()
    for use in (
        lambda: session.predict(IMAGES),
        lambda: session.offer(IMAGES),
        lambda: session.accept(offer),
        session.account,
        lambda: session.service,
    ):
        with pytest.raises(Closed, match="the session is closed"):
            use()
