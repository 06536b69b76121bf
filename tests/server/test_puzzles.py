"""Which puzzle is asked, memory-hard puzzles at the gate, and the limit on wrong counters."""

from dataclasses import dataclass, replace
from fractions import Fraction

import grpc
import pytest
from asking import ANNE, BOB, paid, refusal, request
from hypothesis import given
from hypothesis import strategies as st
from ledgers import Clock

from pow.challenge import Challenge
from pow.puzzle import puzzle_for
from protos import gate_pb2 as pb
from protos.gate_pb2_grpc import GateStub
from server.ledger import Account
from server.limits import WRONG_ANSWERS, WRONG_SECONDS, WrongAnswerLimiter
from server.pricing import PolicyTariff
from server.puzzles import Puzzles
from server.refusals import TooManyWrongCounters


@dataclass
class Flat:
    """A policy with one price, in seconds per 64 images."""

    seconds: float
    thresholds = ()

    def price(self, account):
        return self.seconds


@pytest.mark.parametrize("images", [1, 7, 64, 256])
@pytest.mark.parametrize(
    ("seconds", "entry", "entered", "algorithm"),
    [
        (0.065, 0, True, "argon2id"),  # 65.536 tries for 64 images
        (0.065 / 2, 0, True, "sha1"),
        (1e-6, 64_000, False, "argon2id"),  # the entry alone is 64 tries
        (1e-6, 63_000, False, "sha1"),
    ],
)
def test_the_algorithm_depends_on_the_price_of_64_images(
    images, seconds, entry, entered, algorithm
):
    """1 MH/s; an argon2id try takes as long as 1 000 hashes."""
    asked = PolicyTariff(Flat(seconds), 1e6, 0.8, Puzzles("argon2id", 1e-3), entry=entry)
    account = replace(Account(), entered=entered)
    work = asked.work(account, images)
    assert asked.puzzle(work, images, account).algorithm == algorithm
    assert Puzzles("sha256").choose(7, Fraction(7)) == puzzle_for(7, "sha256")


@given(st.integers(2, 2**40), st.floats(1e-6, 1))
def test_no_batch_is_asked_less_than_its_price(work, ratio):
    asked = Puzzles("argon2id", ratio).choose(work, Fraction(work))
    if asked.algorithm == "argon2id":
        assert work * ratio <= asked.work <= max(1.25 * work * ratio, work * ratio + 1)


@pytest.mark.parametrize("algorithm", ["sha1", "argon2id"])
def test_a_flood_of_wrong_counters_is_cut_off_and_harms_nobody_else(gate_with, algorithm):
    elapsed = Clock()
    with (
        gate_with(hashes=64, algorithm=algorithm, elapsed=elapsed) as gate,
        grpc.insecure_channel(gate.address) as channel,
    ):
        stub = GateStub(channel)
        sealed = stub.Predict(request(), metadata=ANNE)
        count = Challenge.parse(sealed.challenge).puzzle.count
        counters = [f"{n:04}" for n in range(count - 1)]
        wrong = pb.RedeemRequest(challenge=sealed.challenge, counters=counters)
        seen = [refusal(stub.Redeem, wrong, metadata=ANNE)[:2] for _ in range(WRONG_ANSWERS + 3)]
        assert seen[:WRONG_ANSWERS] == [("INVALID_ARGUMENT", "WRONG_COUNTERS")] * WRONG_ANSWERS
        assert seen[WRONG_ANSWERS:] == [("RESOURCE_EXHAUSTED", "TOO_MANY_WRONG_COUNTERS")] * 3
        assert paid(stub, stub.Predict(request(), metadata=BOB), BOB)
        gate.clock.now -= 30  # a clock that is set back prolongs nothing
        elapsed.now += WRONG_SECONDS
        assert paid(stub, sealed)


def test_wrong_answers_are_forgotten_one_by_one():
    now = [0.0]
    limiter = WrongAnswerLimiter(lambda: now[0])
    for second in range(WRONG_ANSWERS):
        now[0] = float(second)
        limiter.check("anne")
        limiter.add("anne")
    with pytest.raises(TooManyWrongCounters, match="try again in 45 s"):
        limiter.check("anne")
    limiter.check("bob")
    now[0] = WRONG_SECONDS + 0.5  # the first is forgotten
    limiter.check("anne")
