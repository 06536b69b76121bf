"""Memory-hard puzzles at the gate, and the limit on wrong counters."""

import uuid
from dataclasses import dataclass, replace
from fractions import Fraction

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from hypothesis import given
from hypothesis import strategies as st
from ledgers import Clock

from client.session import Session
from pow.challenge import Challenge
from pow.puzzle import puzzle_for
from pow.solver import solve
from protos import codec
from protos import gate_pb2 as pb
from protos.gate_pb2_grpc import GateStub
from server.ledger import Account
from server.limits import WRONG_ANSWERS, WRONG_SECONDS, WrongAnswerLimiter
from server.pricing import PolicyTariff
from server.puzzles import Puzzles
from server.refusals import TooManyWrongCounters

ANNE = (("client-id", "anne"),)
BOB = (("client-id", "bob"),)
IMAGES = np.zeros((1, 1, 4, 4), np.uint8)


@dataclass
class Flat:
    """A policy with one price, in seconds per 64 images."""

    seconds: float

    thresholds = ()

    def price(self, account):
        return self.seconds

    def excess(self, account):
        return 0.0


def test_other_algorithms_are_asked_as_they_are():
    assert Puzzles("sha256").choose(7, Fraction(7)) == puzzle_for(7, "sha256")


def tariff(price=64e-6, ratio=1e-3, entry=0):
    """Asks `price` seconds at 1 MH/s per 64 images; an argon2id try takes as long as 1/ratio."""
    return PolicyTariff(Flat(price), 1e6, 0.8, Puzzles("argon2id", ratio), entry=entry)


@pytest.mark.parametrize("images", [1, 7, 64, 256])
def test_argon2id_depends_on_the_price_of_64_images(images):
    entered = replace(Account(), entered=True)
    for price, algorithm in ((0.065, "argon2id"), (0.065 / 2, "sha1")):  # 65.536 or 32.768 tries
        asked = tariff(price)
        assert asked.puzzle(asked.work(entered, images), images, entered).algorithm == algorithm


@pytest.mark.parametrize("images", [1, 7, 64, 256])
def test_the_entry_is_asked_in_the_same_algorithm_for_all_batches(images):
    for entry, algorithm in ((64_000, "argon2id"), (63_000, "sha1")):
        asked = tariff(1e-6, entry=entry)
        work = asked.work(Account(), images)
        assert asked.puzzle(work, images, Account()).algorithm == algorithm


@given(st.integers(2, 2**40), st.floats(1e-6, 1))
def test_no_batch_is_asked_less_than_its_price(work, ratio):
    asked = Puzzles("argon2id", ratio).choose(work, Fraction(work))
    if asked.algorithm == "argon2id":
        assert work * ratio <= asked.work <= max(1.25 * work * ratio, work * ratio + 1)


def test_argon2id_over_the_wire(gate_with):
    exchanges = []
    with (
        gate_with(hashes=64, algorithm="argon2id") as gate,
        Session(gate.address, client_id="anne", observe=exchanges.append) as session,
    ):
        assert session.predict(IMAGES).shape == (1, 3)
    assert (exchanges[0].count, exchanges[0].bits) == (4, 4)


def ask(stub, who):
    request = pb.PredictRequest(request_id=str(uuid.uuid4()), inputs=codec.encode(IMAGES))
    return stub.Predict(request, metadata=who).challenge


def test_repeated_argon2id_stamps_are_hashed_once(gate_with, monkeypatch):
    computed = []
    from pow import challenge as module

    real = module.digest
    monkeypatch.setattr(module, "digest", lambda *args: computed.append(1) or real(*args))
    with (
        gate_with(hashes=64, algorithm="argon2id") as gate,
        grpc.insecure_channel(gate.address) as channel,
    ):
        stub = GateStub(channel)
        token = ask(stub, ANNE)
        counters = solve(Challenge.parse(token)).counters
        computed.clear()
        paid = pb.RedeemRequest(challenge=token, counters=counters)
        keys = {stub.Redeem(paid, metadata=ANNE).key for _ in range(5)}
    assert len(keys) == 1
    assert len(computed) == 4  # k stamps, once


@pytest.mark.parametrize("algorithm", ["sha1", "argon2id"])
def test_a_flood_of_wrong_counters_is_cut_off_and_harms_nobody_else(gate_with, algorithm):
    with (
        gate_with(hashes=64, algorithm=algorithm) as gate,
        grpc.insecure_channel(gate.address) as channel,
    ):
        stub = GateStub(channel)
        token = ask(stub, ANNE)
        count = Challenge.parse(token).puzzle.count
        wrong = pb.RedeemRequest(challenge=token, counters=[f"{n:04}" for n in range(count - 1)])
        seen = []
        for _ in range(WRONG_ANSWERS + 3):
            with pytest.raises(grpc.RpcError) as caught:
                stub.Redeem(wrong, metadata=ANNE)
            info = error_details_pb2.ErrorInfo()
            rpc_status.from_call(caught.value).details[0].Unpack(info)
            seen.append((caught.value.code().name, info.reason))
        assert seen[:WRONG_ANSWERS] == [("INVALID_ARGUMENT", "WRONG_COUNTERS")] * WRONG_ANSWERS
        assert seen[WRONG_ANSWERS:] == [("RESOURCE_EXHAUSTED", "TOO_MANY_WRONG_COUNTERS")] * 3

        theirs = ask(stub, BOB)
        counters = solve(Challenge.parse(theirs)).counters
        assert stub.Redeem(pb.RedeemRequest(challenge=theirs, counters=counters), metadata=BOB).key

        gate.clock.now += WRONG_SECONDS
        counters = solve(Challenge.parse(token)).counters
        assert stub.Redeem(pb.RedeemRequest(challenge=token, counters=counters), metadata=ANNE).key


def test_a_clock_set_back_does_not_prolong_strikes(gate_with):
    elapsed = Clock()
    with gate_with(elapsed=elapsed) as gate, grpc.insecure_channel(gate.address) as channel:
        stub = GateStub(channel)
        wrong = pb.RedeemRequest(challenge=ask(stub, ANNE), counters=["a"])
        for _ in range(WRONG_ANSWERS + 1):
            with pytest.raises(grpc.RpcError) as caught:
                stub.Redeem(wrong, metadata=ANNE)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        gate.clock.now -= 86_400
        elapsed.now += WRONG_SECONDS
        token = ask(stub, ANNE)
        paid = pb.RedeemRequest(challenge=token, counters=solve(Challenge.parse(token)).counters)
        assert stub.Redeem(paid, metadata=ANNE).key


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
