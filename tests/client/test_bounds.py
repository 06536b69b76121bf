"""How much a session works for one answer at most, and how long."""

import numpy as np
import pytest
from fake_gate import IMAGES, FakeGate, asking, refused
from grpc import StatusCode

from client.offer import ARGON2ID_TRY, expected_hashes
from client.session import BadAnswer, DeadlineExceeded, TooMuchWork
from pow.puzzle import Puzzle


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "puzzle", [Puzzle("sha1", 58, 31), Puzzle("argon2id", 40, 4), Puzzle("argon2id", 22, 4)]
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
    refusal = pytest.raises(TooMuchWork if honest else BadAnswer)
    with asking(gate) as session, refusal:
        session.predict(IMAGES)


def test_work_is_read_from_the_puzzle_and_the_charge_stays():
    gate = FakeGate(1 << 10)
    message = r"16 stamps of 6 bits .* 1024 .* max_work is 1023"
    with (
        asking(gate, max_work=(1 << 10) - 1) as session,
        pytest.raises(TooMuchWork, match=message) as caught,
    ):
        session.predict(IMAGES)
    assert (caught.value.work, caught.value.max_work) == (1 << 10, (1 << 10) - 1)
    with asking(gate, max_work=1 << 10) as larger:
        larger.predict(IMAGES, request_id=caught.value.request_id)
    first, second = gate.requests
    assert first == second


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


def test_what_has_no_bound():
    gate = FakeGate(1 << 50)
    with asking(gate) as session:
        assert session.offer(IMAGES).work == 1 << 50  # a price may be asked, whatever it is
    virtual = FakeGate(1 << 50, algorithm="virtual")
    with asking(virtual, solver="virtual", rng=np.random.default_rng(0)) as session:
        session.predict(IMAGES)
    with asking(FakeGate(), deadline=None, max_work=None) as session:
        session.predict(IMAGES)
    assert expected_hashes(Puzzle("argon2id", 0, 4)) == 4 * ARGON2ID_TRY  # a try is many hashes


@pytest.mark.timeout(20)
def test_a_puzzle_is_given_up_at_the_deadline():
    gate = FakeGate(1 << 38)
    with (
        asking(gate, deadline=0.3) as session,
        pytest.raises(DeadlineExceeded, match="not solved in 0") as caught,
    ):
        session.predict(IMAGES)
    assert caught.value.request_id == gate.requests[-1].request_id


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"deadline": 0}, "deadline is 0"),
        ({"deadline": float("nan")}, "deadline is nan"),
        ({"timeout": -1}, "timeout is -1"),
        ({"timeout": 1e10}, "timeout is 1"),  # gRPC took it for none at all
        ({"max_work": -1}, "max_work is -1"),
        *(({"threads": n}, "threads is") for n in (0, -1, 10_000, 1.5, "2", True)),
        ({"solver": "virtual"}, "rng is None"),
        ({"solver": "magic"}, "solver is 'magic'"),
        ({"client_id": None}, "either an API key or a client id"),
        ({"key": "k"}, "either an API key or a client id"),
    ],
)
def test_arguments_that_cannot_be(wrong, message):
    with pytest.raises(ValueError, match=message):
        asking(FakeGate(), **wrong)
