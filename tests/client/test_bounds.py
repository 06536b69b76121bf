"""How much a session works for one answer at most, and how long."""

import numpy as np
import pytest
from fake_gate import FakeGate, FakeTime, refused
from grpc import StatusCode

from client.bounds import ARGON2ID_TRY, MAX_WORK, expected_hashes
from client.session import BadAnswer, DeadlineExceeded, Session, TooMuchWork
from pow.puzzle import Puzzle

IMAGES = np.linspace(0, 1, 2 * 16, dtype=np.float32).reshape(2, 1, 4, 4)


def asking(gate, **options):
    return Session("gate.example:1", client_id="anne", stub=gate, **options)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "puzzle", [Puzzle("sha1", 58, 31), Puzzle("sha256", 58, 31), Puzzle("argon2id", 40, 4)]
)
@pytest.mark.parametrize("honest", [False, True])
def test_work_without_end_is_not_begun(puzzle, honest):
    # A receipt of 1 hash is a lie about the work; one that tells the truth is too much.
    gate = FakeGate(algorithm=puzzle.algorithm)

    def endless(sealed):
        sealed = gate.sealed(gate.requests[-1], puzzle=puzzle)
        sealed.receipt.work = puzzle.work if honest else 1
        return sealed

    gate.changed["Predict"] = endless
    with asking(gate) as session, pytest.raises(TooMuchWork if honest else BadAnswer):
        session.predict(IMAGES)


def test_work_is_read_from_the_puzzle():
    gate = FakeGate(1 << 20)
    with (
        asking(gate, max_work=(1 << 20) - 1) as session,
        pytest.raises(
            TooMuchWork, match=r"16 stamps of 16 bits .* 1048576 .* max_work is 1"
        ) as caught,
    ):
        session.predict(IMAGES)
    assert (caught.value.work, caught.value.max_work) == (1 << 20, (1 << 20) - 1)
    with asking(gate, max_work=1 << 20) as larger:
        larger.predict(IMAGES, request_id=caught.value.request_id)
    first, second = gate.requests
    assert first == second  # the charge stayed, and was paid for


def test_what_was_solved_in_vain_is_work_too():
    # A gate that calls every challenge expired had three times max_work solved for one answer.
    gate = FakeGate(1 << 10)
    gate.failing["Redeem"] = [refused(StatusCode.FAILED_PRECONDITION, "EXPIRED_CHALLENGE")] * 9
    with (
        asking(gate, max_work=(1 << 11) + 1) as session,
        pytest.raises(TooMuchWork, match="2048 of them solved already, in vain") as caught,
    ):
        session.predict(IMAGES)
    assert gate.asked["Redeem"] == 2
    assert caught.value.work == 3 << 10


def test_tries_of_argon2id_are_dearer_than_hashes():
    assert expected_hashes(Puzzle("argon2id", 0, 4)) == 4 * ARGON2ID_TRY
    gate = FakeGate(1 << 24, algorithm="argon2id")
    gate.changed["Predict"] = lambda sealed: gate.sealed(
        gate.requests[-1], puzzle=Puzzle("argon2id", 22, 4)
    )
    with asking(gate, max_work=MAX_WORK) as session, pytest.raises(TooMuchWork):
        session.predict(IMAGES)


def test_a_price_can_be_asked_beyond_what_would_be_paid():
    gate = FakeGate(1 << 50)
    with asking(gate) as session:
        assert session.offer(IMAGES).work == 1 << 50


@pytest.mark.parametrize("rate", [1e7, 2.5e8])
def test_the_dearest_price_of_a_default_calibration_is_paid(rate):
    # Of 256 images, where 64 take the gate half a second: t_max is 2 000 times that.
    assert rate * 2_000 * 0.5 * 256 / 64 < MAX_WORK


def test_virtual_work_is_not_bounded():
    gate = FakeGate(1 << 50, algorithm="virtual")
    with asking(gate, solver="virtual", rng=np.random.default_rng(0)) as session:
        session.predict(IMAGES)


@pytest.mark.timeout(20)
def test_a_puzzle_is_given_up_at_the_deadline():
    gate = FakeGate(1 << 38)
    with (
        asking(gate, deadline=0.3) as session,
        pytest.raises(DeadlineExceeded, match="not solved in 0") as caught,
    ):
        session.predict(IMAGES)
    assert caught.value.request_id == gate.requests[-1].request_id


def test_the_deadline_bounds_all_calls_together():
    gate, time = FakeGate(), FakeTime()
    gate.failing["Describe"] = [refused(StatusCode.UNAVAILABLE, "LEDGER_UNAVAILABLE", 1.0)] * 4
    gate.failing["Predict"] = [refused(StatusCode.UNAVAILABLE, "LEDGER_UNAVAILABLE", 1.0)] * 99
    with (
        asking(gate, deadline=20.0, clock=time, sleep=time.sleep) as session,
        pytest.raises(DeadlineExceeded, match="before the gate answered: no"),
    ):
        session.predict(IMAGES)
    assert 10 < sum(time.slept) < 20


def test_without_bounds_there_are_none():
    gate = FakeGate(1 << 20)
    with asking(gate, deadline=None, max_work=None) as session:
        session.predict(IMAGES)


@pytest.mark.parametrize(
    "wrong",
    [
        {"deadline": 0},
        {"deadline": float("nan")},
        {"deadline": float("inf")},
        {"timeout": -1},
        {"timeout": 1e10},  # gRPC took it for none at all
        {"timeout": None},
        {"max_work": -1},
        {"max_work": 1e9},
    ],
)
def test_bounds_that_are_none_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is "):
        asking(FakeGate(), **wrong)
