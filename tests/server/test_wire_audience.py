"""Which challenges a gate takes: of its own ledger and price, whatever else shares its secret."""

import uuid
from dataclasses import dataclass

import grpc
import numpy as np
import pytest
from asking import ANNE, IMAGES, counters_of, redeem, refusal, request, slow_victim
from ledgers import FixedTariff

from client.session import Session
from pow.audience import Audience
from pow.challenge import Challenge
from pow.puzzle import puzzle_for
from protos import gate_pb2 as pb
from protos.gate_pb2_grpc import GateStub
from server.ledger import MAX_UNPAID
from server.ledger.sqlite import SqliteLedger

NOW = 1_790_000_000.0  # of the gates under test, too


@dataclass(frozen=True)
class Flat(FixedTariff):
    """The same work for every batch."""

    hashes: int = 64
    algorithm: str = "sha1"

    def work(self, account, images):
        return self.hashes

    def puzzle(self, work, images, account):
        return puzzle_for(work, self.algorithm)


@pytest.fixture
def books(tmp_path):
    """Opens ledgers of the same file, or another, under a price list."""
    opened = []

    def open_books(hashes, fingerprint="f", name="ledger.db", algorithm="sha1"):
        opened.append(
            SqliteLedger(
                tmp_path / name,
                fingerprint=fingerprint,
                tariff=Flat(hashes=hashes, algorithm=algorithm),
                clock=lambda: NOW,
            )
        )
        return opened[-1]

    yield open_books
    for ledger in opened:
        ledger.close()


def predict(address, asked):
    with grpc.insecure_channel(address) as channel:
        return GateStub(channel).Predict(asked, metadata=ANNE)


def test_a_token_of_another_price_list_does_not_settle_this_ones_charge(gate_with, books):
    asked = request(request_id=str(uuid.uuid4()))
    with gate_with(ledger=books(0, "none")) as free, gate_with(ledger=books(64, "rate")) as priced:
        given = predict(free.address, asked)
        sealed = predict(priced.address, asked)
        with grpc.insecure_channel(priced.address) as channel:
            paid = pb.RedeemRequest(challenge=given.challenge, counters=[])
            key = GateStub(channel).Redeem(paid, metadata=ANNE).key
            assert key == given.key.key  # of the answer that was free anyway
            account = priced.ledger.account("anne").result()
            assert (account.unpaid, account.entered) == (1, False)
            solved = counters_of(Challenge.parse(sealed.challenge))
            paid = pb.RedeemRequest(challenge=sealed.challenge, counters=solved)
            assert GateStub(channel).Redeem(paid, metadata=ANNE).key
        assert priced.ledger.account("anne").result().entered


def test_a_token_of_another_ledger_is_foreign(gate_with, books):
    asked = request(request_id=str(uuid.uuid4()))
    with gate_with(ledger=books(1)) as cheap, gate_with(ledger=books(64, name="other.db")) as other:
        sealed = predict(cheap.address, asked)
        predict(other.address, asked)
        with grpc.insecure_channel(other.address) as channel:
            code, reason, text, _ = redeem(
                GateStub(channel), sealed.challenge, counters_of(Challenge.parse(sealed.challenge))
            )
        assert (code, reason) == ("PERMISSION_DENIED", "FOREIGN_CHALLENGE")
        assert text == "the challenge was issued from another ledger"
        assert other.ledger.account("anne").result().unpaid == 1


@pytest.mark.parametrize("after", [{"fingerprint": "g"}, {"algorithm": "sha256"}, {"hashes": 128}])
def test_a_restart_loses_no_solved_work(gate_with, books, after):
    ledger = books(64)
    with gate_with(ledger=ledger) as gate:
        sealed = predict(gate.address, request())
    ledger.close()
    with gate_with(ledger=books(**{"hashes": 64} | after)) as gate:
        solved = counters_of(Challenge.parse(sealed.challenge))
        paid = pb.RedeemRequest(challenge=sealed.challenge, counters=solved)
        with grpc.insecure_channel(gate.address) as channel:
            assert GateStub(channel).Redeem(paid, metadata=ANNE).key
        assert gate.records[-1]["kind"] == "redeem"


def test_describe_tells_what_challenges_name(gate, stub):
    said = stub.Describe(pb.DescribeRequest(), metadata=ANNE)
    challenge = Challenge.parse(stub.Predict(request(), metadata=ANNE).challenge)
    assert (challenge.audience, challenge.client) == (said.audience, said.client)
    audience = Audience.parse(said.audience)
    assert (audience.fingerprint, audience.hosts) == ("f" * 16, ())
    assert (audience.ledger, audience.books) == (gate.ledger.id, gate.ledger.books)


def test_a_paid_answer_can_be_had_again(gate):
    request_id = str(uuid.uuid4())
    with Session(gate.address, client_id="anne") as session:
        first = session.predict(IMAGES, request_id=request_id)
        sealed = predict(gate.address, request(request_id=request_id))
        assert sealed.HasField("key")
        assert sealed.receipt.work == 0
        np.testing.assert_array_equal(session.predict(IMAGES, request_id=request_id), first)
    assert [record["kind"] for record in gate.records].count("redeem") == 1


def test_a_redeem_is_recorded_once(gate, stub):
    sealed = stub.Predict(request(), metadata=ANNE)
    solved = counters_of(Challenge.parse(sealed.challenge))
    paid = pb.RedeemRequest(challenge=sealed.challenge, counters=solved)
    assert len({stub.Redeem(paid, metadata=ANNE).key for _ in range(5)}) == 1
    assert [record["kind"] for record in gate.records] == ["predict", "redeem"]


def test_work_can_be_redeemed_while_predictions_are_under_way(gate, stub):
    solved = []
    for _ in range(MAX_UNPAID):
        sealed = stub.Predict(request(), metadata=ANNE)
        solved.append((sealed.challenge, counters_of(Challenge.parse(sealed.challenge))))
    token, counters = solved.pop()
    stub.Redeem(pb.RedeemRequest(challenge=token, counters=counters), metadata=ANNE)
    asked = [request(request_id=Challenge.parse(token).request_id) for token, _ in solved]
    with slow_victim(gate) as go:
        every = (*asked, request(), request())  # one more than are served at once
        busy = [stub.Predict.future(again, metadata=ANNE) for again in every]
        for token, counters in solved:
            assert stub.Redeem(
                pb.RedeemRequest(challenge=token, counters=counters), metadata=ANNE
            ).key
        assert not any(call.done() for call in busy)
        go.set()
        for call in busy:
            call.result()


def under_way(stub) -> None:
    """Waits until what was asked before is: calls of one connection arrive in order."""
    for _ in range(3):
        stub.GetAccount(pb.GetAccountRequest(), metadata=ANNE)


def test_one_request_id_with_many_inputs_at_once_is_computed_once(gate, stub):
    request_id = str(uuid.uuid4())
    before = gate.computed
    with slow_victim(gate) as go:
        asked = [
            stub.Predict.future(request(IMAGES * n / 8, request_id), metadata=ANNE)
            for n in range(1, 9)
        ]
        under_way(stub)
        go.set()
        codes = sorted(call.code().name for call in asked)
    assert codes == ["ALREADY_EXISTS"] * 7 + ["OK"]
    assert gate.computed == before + 1
    assert gate.ledger.account("anne").result().charged == 2


def test_the_same_request_twice_at_once_is_charged_once(gate, stub):
    asked = request(request_id=str(uuid.uuid4()))
    with slow_victim(gate) as go:
        calls = [stub.Predict.future(asked, metadata=ANNE) for _ in range(2)]
        under_way(stub)
        go.set()
        answers = [call.result() for call in calls]
    assert {answer.receipt.queries_charged for answer in answers} == {2}
    assert [record["retry"] for record in gate.records] == [False, True]


def test_a_challenge_from_the_future_is_asked_for_again(gate, stub):
    gate.clock.now += 86_400
    asked = request()
    sealed = stub.Predict(asked, metadata=ANNE)
    gate.clock.now -= 86_400
    solved = counters_of(Challenge.parse(sealed.challenge))
    paid = pb.RedeemRequest(challenge=sealed.challenge, counters=solved)
    assert refusal(stub.Redeem, paid, metadata=ANNE)[1] == "EXPIRED_CHALLENGE"
    sealed = stub.Predict(asked, metadata=ANNE)
    solved = counters_of(Challenge.parse(sealed.challenge))
    paid = pb.RedeemRequest(challenge=sealed.challenge, counters=solved)
    assert stub.Redeem(paid, metadata=ANNE).key
