"""What was solved or paid for is never lost: sessions wait, ask again, and give the answer."""

import logging
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep

import numpy as np
import pytest
from fake_gate import IMAGES, MINE, Failure, FakeGate, FakeTime, asking, counted, refused
from grpc import StatusCode

from client.session import Closed, DeadlineExceeded, Refused, Session, Unreachable

FULL = StatusCode.RESOURCE_EXHAUSTED
AWAY = (StatusCode.UNAVAILABLE, "LEDGER_UNAVAILABLE", 1.0)


@pytest.fixture
def time():
    return FakeTime()


@pytest.fixture
def solved(monkeypatch):
    """Offers whose puzzles were solved."""
    return counted(monkeypatch)


def test_threads_and_sessions_of_one_account_wait_for_each_other(gate_with):
    # More than the gate allows unpaid, and each has something to solve.
    with (
        gate_with(hashes=1 << 10) as gate,
        Session(gate.address, client_id="anne", solver="python") as one,
        Session(gate.address, client_id="anne", solver="python") as other,
        ThreadPoolExecutor(16) as pool,
    ):
        batches = [IMAGES * np.float32(i / 36) for i in range(36)]
        asked = [pool.submit((one, other)[i % 3 == 0].predict, b) for i, b in enumerate(batches)]
        assert [each.result().shape for each in asked] == [(2, 3)] * 36
        account = one.account()
    assert (account.queries, account.unpaid_batches) == (72, 0)


@pytest.mark.parametrize(
    ("failure", "pauses"),
    [
        (refused(FULL, "TOO_MANY_IN_FLIGHT", 0.1), [0.1, 0.2]),
        (refused(FULL, "TOO_MANY_UNPAID"), [0.1, 0.2]),
        (refused(FULL, "TOO_MANY_UNPAID", 7.5), [7.5, 7.5]),
        (Failure(FULL, "Concurrent RPC limit exceeded!"), [0.1, 0.2]),
        (refused(*AWAY), [1.0, 1.0]),
    ],
)
def test_a_gate_that_is_full_is_asked_again_when_it_says(time, failure, pauses):
    gate = FakeGate()
    gate.failing["Predict"] = [failure, failure]
    with asking(gate, time) as session:
        assert session.predict(IMAGES).shape == (2, 3)
        assert time.slept == pytest.approx(pauses)
        assert len({each.request_id for each in gate.requests}) == 1
        for method in ("Redeem", "GetAccount"):
            gate.failing[method] = [Failure(FULL, "Concurrent RPC limit exceeded!")]
        session.predict(IMAGES)
        session.account()
    assert gate.asked["Redeem"] == gate.asked["GetAccount"] + 1 == 3


@pytest.mark.parametrize(
    "failure",
    [
        refused(FULL, "RETRIES_EXHAUSTED"),
        refused(FULL, "TOO_MANY_WRONG_COUNTERS", 60.0),  # longer than this session waits
        Failure(FULL, "CLIENT: Received message larger than max (9 vs. 4)"),
        refused(StatusCode.INVALID_ARGUMENT, "INVALID_IMAGES", 0.1),
        Failure(StatusCode.INTERNAL, "broken"),
        refused(StatusCode.DEADLINE_EXCEEDED, "BODY_TOO_SLOW"),  # the gate's limit, not ours
    ],
)
def test_what_waiting_does_not_help_is_refused_at_once(time, failure):
    gate = FakeGate()
    # An offer does not wait for what only its caller can pay.
    gate.failing["Predict"] = [failure, refused(FULL, "TOO_MANY_UNPAID", 1.0)]
    with asking(gate, time) as session:
        with pytest.raises(Refused) as caught:
            session.predict(IMAGES, request_id=MINE)
        with pytest.raises(Refused, match="TOO_MANY_UNPAID"):
            session.offer(IMAGES)
    assert caught.value.request_id == MINE
    assert time.slept == []


@pytest.mark.parametrize(
    ("bounds", "refusal", "kind", "message", "least"),
    [
        ({"timeout": 9.0}, (FULL, "TOO_MANY_IN_FLIGHT", 0.1), Refused, "IN_FLIGHT", 4),
        ({"deadline": 20.0}, AWAY, DeadlineExceeded, "before the gate answered: no", 10),
    ],
)
def test_it_waits_no_longer_than_it_may_in_all(time, bounds, refusal, kind, message, least):
    gate = FakeGate()
    gate.failing["Describe"] = [refused(*AWAY)] * 4
    gate.failing["Predict"] = [refused(*refusal)] * 999
    with asking(gate, time, **bounds) as session, pytest.raises(kind, match=message):
        session.predict(IMAGES)
    assert least < sum(time.slept) - (4 if "timeout" in bounds else 0) < max(bounds.values())


@pytest.mark.parametrize("reason", ["EXPIRED_CHALLENGE", "NOTHING_TO_REDEEM"])
def test_a_challenge_that_was_overtaken_while_it_was_solved_is_asked_for_three_times(
    time, solved, reason
):
    # The machine slept, or its clock is not the gate's: only the gate knows.
    gate, seen = FakeGate(), []
    overtaken = refused(StatusCode.FAILED_PRECONDITION, reason)
    gate.failing["Redeem"] = [overtaken] * 2
    with asking(gate, time, observe=seen.append) as session:
        session.predict(IMAGES, request_id=MINE)
        assert [each.request_id for each in gate.requests] == [MINE] * 3
        assert len(solved) == 3
        (exchange,) = seen
        assert exchange.hashes >= 3 * 16  # all that was tried for this answer
        parts = exchange.network + exchange.server + exchange.solve + exchange.open
        assert parts == pytest.approx(exchange.total)
        gate.failing["Redeem"] = [overtaken] * 9
        with pytest.raises(Refused, match=reason):
            session.predict(IMAGES)
    assert (gate.asked["Predict"], gate.asked["Redeem"]) == (6, 6)


def test_an_observer_that_raises_costs_no_answer(time, caplog):
    def observe(exchange):
        raise RuntimeError("disk full")

    gate = FakeGate()
    with asking(gate, time, observe=observe) as session, caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert session.predict(IMAGES).shape == (2, 3)
    assert [record.name for record in caplog.records] == ["powgate.client"]
    assert "disk full" in caplog.text


def test_a_solution_that_could_not_be_redeemed_is_kept(time, solved):
    gate = FakeGate()
    gate.failing["Redeem"] = [Failure(StatusCode.UNAVAILABLE, "gone")] * 9
    with asking(gate, time, timeout=1.0) as session:
        with pytest.raises(Unreachable) as caught:
            session.predict(IMAGES)
        gate.failing["Redeem"].clear()  # it is back
        answer = session.predict(IMAGES, request_id=caught.value.request_id)
    assert answer.shape == (2, 3)
    assert (len(solved), gate.asked["Predict"]) == (1, 1)


@pytest.mark.parametrize(
    ("reason", "again"),
    [("FORGED_CHALLENGE", IMAGES), ("MALFORMED_CHALLENGE", IMAGES), ("INTERNAL", 1 - IMAGES)],
)
def test_a_solution_is_kept_for_its_own_images_and_while_it_is_of_use(time, solved, reason, again):
    gate = FakeGate()
    gate.failing["Redeem"] = [refused(StatusCode.INVALID_ARGUMENT, reason)]
    with asking(gate, time) as session:
        with pytest.raises(Refused):
            session.predict(IMAGES, request_id=MINE)
        session.predict(again, request_id=MINE)
    assert (len(solved), gate.asked["Predict"]) == (2, 2)


def test_an_answer_that_was_paid_for_and_got_lost_can_be_had_again(gate, monkeypatch):
    # The gate settles the charge, and dies before its key arrives.
    with Session(gate.address, client_id="anne", solver="python") as session:
        session.service  # noqa: B018
        redeem, dying = session._stub.Redeem, [True]

        def lossy(request, **options):
            key = redeem(request, **options)
            if dying and dying.pop():
                raise Failure(StatusCode.INTERNAL, "the connection broke")
            return key

        monkeypatch.setattr(session._stub, "Redeem", lossy)
        with pytest.raises(Refused) as caught:
            session.predict(IMAGES)
        assert session.account().unpaid_batches == 0
        with Session(gate.address, client_id="anne", solver="python") as another:
            for each in (another, session):
                answer = each.predict(IMAGES, request_id=caught.value.request_id)
                assert answer.argmax(axis=1).tolist() == [0, 2]
        assert session.account().queries == 2


@pytest.mark.parametrize("code", [StatusCode.UNAVAILABLE, StatusCode.CANCELLED])
def test_a_gate_that_is_away_or_stops_is_asked_again_with_the_same_request(time, code):
    gate, allowed = FakeGate(), []
    gate.failing["Predict"] = [Failure(code, "lost")] * 2
    predict = gate.Predict
    gate.Predict = lambda request, **given: allowed.append(given["timeout"]) or predict(request)
    with asking(gate, time) as session:
        session.predict(IMAGES)
    assert [each.request_id for each in gate.requests] == [gate.requests[0].request_id] * 3
    assert 60 >= allowed[0] > allowed[1] + 0.09 > allowed[2] + 0.2  # of one time in all


def test_a_request_under_way_ends_with_its_session(time):
    gate = FakeGate()

    def closing(request, **given):
        session.close()
        raise Failure(StatusCode.UNAVAILABLE, "lost")

    gate.Predict = closing
    with asking(gate, time) as session, pytest.raises(Closed, match="before the gate answered"):
        session.predict(IMAGES)


@pytest.fixture
def silent():
    """The address of a gate that takes calls, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    ("bounds", "kind"),
    [({"timeout": 0.5}, Unreachable), ({"timeout": 9.0, "deadline": 0.5}, DeadlineExceeded)],
)
def test_threads_that_meet_a_silent_gate_wait_no_longer_than_one(silent, bounds, kind):
    # They asked who it is one after the other, each for all of its time.
    began = monotonic()
    with Session(silent, client_id="anne", **bounds) as session, ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(session.predict, IMAGES) for _ in range(6)]
        errors = [each.exception() for each in asked]
    assert {type(error) for error in errors} == {kind}
    assert monotonic() - began < 2.0


def test_a_deadline_does_not_wait_for_another_thread_that_asks_who_the_gate_is(silent):
    with ThreadPoolExecutor(1) as pool:
        with Session(silent, client_id="anne", timeout=9.0, deadline=0.3) as session:
            asked = pool.submit(lambda: session.service)
            sleep(0.2)
            began = monotonic()
            with pytest.raises(DeadlineExceeded):
                session.predict(IMAGES)
            assert monotonic() - began < 2.0
        assert isinstance(asked.exception(), Closed)


def test_a_session_that_is_closed_wakes_who_waits(time):
    gate = FakeGate()
    gate.max_unpaid = 1
    began, go = threading.Event(), threading.Event()

    def slow(sealed):
        began.set()
        go.wait(10)
        return sealed

    gate.changed["Predict"] = slow
    session = Session("gate.example:1", client_id="anne", solver="python", stub=gate)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(session.predict, IMAGES)
        began.wait(10)
        second = pool.submit(session.predict, IMAGES)
        session.close()
        with pytest.raises(Exception, match="the session is closed"):
            second.result(10)
        go.set()
        with pytest.raises(Exception, match="closed"):
            first.result(10)
