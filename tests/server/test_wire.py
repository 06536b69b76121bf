"""The wire, over loopback: what each RPC does, and what hanging up, failing and ending do to it."""

import threading
import time
from concurrent.futures import Future

import grpc
import numpy as np
import pytest
from asking import (
    ANNE,
    BOB,
    IMAGES,
    opened,
    paid,
    refusal,
    request,
    slow_victim,
    solved,
    until,
)

from pow.audience import Audience
from pow.challenge import Challenge
from protos import gate_pb2 as pb
from server.ledger import MAX_UNPAID, NANO, Account
from server.limits import WRONG_ANSWERS


def grey(level):
    return np.full((1, 1, 4, 4), level, np.uint8)


def account(gate, client="anne"):
    return gate.ledger.account(client).result()


def test_describe_tells_what_challenges_name(gate, stub):
    said = stub.Describe(pb.DescribeRequest(), metadata=ANNE)
    assert (said.model, tuple(said.input_shape), said.classes) == ("fake", (1, 4, 4), 3)
    assert (said.max_batch, said.max_unpaid, said.algorithm) == (256, 8, "sha1")
    assert said.hash_rate == 1e6
    assert said.fingerprint == "f" * 16  # of 64 digits: what the audience of a challenge names
    challenge = Challenge.parse(stub.Predict(request(), metadata=ANNE).challenge)
    assert (challenge.audience, challenge.client) == (said.audience, said.client)
    audience = Audience.parse(said.audience)
    assert (audience.fingerprint, audience.hosts) == ("f" * 16, ())
    assert (audience.ledger, audience.books) == (gate.ledger.id, gate.ledger.books)


def test_predict_seals_redeem_gives_the_key_and_both_are_recorded_once(gate, stub):
    sealed, counters = solved(stub)
    assert not sealed.HasField("key")
    assert (sealed.receipt.work, sealed.receipt.queries_charged) == (64, 2)
    assert sealed.receipt.server_seconds > 0
    asked = stub.GetAccount(pb.GetAccountRequest(), metadata=ANNE)
    assert (asked.queries, asked.unpaid_batches) == (2, 1)
    assert stub.GetAccount(pb.GetAccountRequest(), metadata=BOB).queries == 0
    payment = pb.RedeemRequest(challenge=sealed.challenge, counters=counters)
    (key,) = {stub.Redeem(payment, metadata=ANNE).key for _ in range(5)}
    posterior = opened(sealed, key)
    assert posterior.shape == (2, 3)
    np.testing.assert_allclose(posterior.sum(axis=1), 1, rtol=1e-6)
    assert posterior.argmax(axis=1).tolist() == [0, 2]
    assert account(gate).unpaid == 0
    predict, redeemed = gate.records
    assert (predict["kind"], redeemed["kind"]) == ("predict", "redeem")
    assert (predict["client"], predict["images"], predict["cost"]) == ("anne", 2, 2.0)
    assert (predict["work"], predict["retry"]) == (64, False)
    assert set(predict["seconds"]) == {"victim", "measure", "ledger", "seal"}
    assert redeemed["request_id"] == predict["request_id"]


def test_without_work_the_key_comes_with_the_answer(gate_with):
    with gate_with(hashes=0) as gate:
        answers = []
        for images in (grey(51), (grey(51) / np.float32(255)).astype(np.float32)):
            sealed = gate.stub.Predict(request(images), metadata=ANNE)
            answers.append(opened(sealed, sealed.key.key))
        np.testing.assert_allclose(*answers)  # whichever way an image is sent
        assert Challenge.parse(sealed.challenge).puzzle.count == 0
        assert (account(gate).charged, account(gate).unpaid) == (2, 0)


def test_a_retry_is_charged_once_and_asks_for_the_same_work_with_a_fresh_challenge(gate, stub):
    asked = request()
    first, again = (stub.Predict(asked, metadata=ANNE) for _ in range(2))
    assert again.challenge != first.challenge
    assert again.receipt.work == first.receipt.work
    assert account(gate).charged == 2
    assert gate.measure.asked == 1 + 1  # warm-up and the first time
    keys = [paid(stub, sealed) for sealed in (first, again)]  # either may be paid
    np.testing.assert_array_equal(*map(opened, (first, again), keys))
    free = stub.Predict(asked, metadata=ANNE)  # paid for: it can be had again
    assert (free.HasField("key"), free.receipt.work) == (True, 0)
    assert [record["kind"] for record in gate.records].count("redeem") == 1


def test_who_hangs_up_is_charged_all_the_same(gate, stub):
    with slow_victim(gate) as go:
        for _ in range(3):
            call = stub.Predict.future(request(), metadata=ANNE)
            with pytest.raises(grpc.RpcError):
                stub.Predict(request(), metadata=ANNE, timeout=0.05)
            call.cancel()
        go.set()
        until(lambda: account(gate).charged == 2 * gate.computed > 0)
    assert stub.GetAccount(pb.GetAccountRequest(), metadata=BOB, timeout=5).queries == 0


def test_the_same_image_counts_once_whichever_way_it_is_sent(gate, stub):
    for images in (grey(51), grey(51), grey(51).astype(np.float32) / 255, grey(52)):
        stub.Predict(request(images), metadata=ANNE)
    assert (account(gate).charged, account(gate).counted) == (4, 2)


def test_each_image_is_charged_its_own_cost(gate, stub, monkeypatch):
    """The expensive image of a batch, asked again with another, is the one that counts no more."""
    monkeypatch.setattr(gate.measure, "cost", lambda pixels, answer: pixels.mean(axis=(1, 2, 3)))
    for levels in ((0, 255), (255, 51)):
        stub.Predict(request(np.concatenate([grey(level) for level in levels])), metadata=ANNE)
    assert account(gate).cost == pytest.approx(1.2 * NANO)


def test_a_large_batch_is_answered_in_parts_that_others_can_pass(gate, stub, monkeypatch):
    monkeypatch.setattr(gate.measure, "cost", lambda pixels, answer: pixels.mean(axis=(1, 2, 3)))
    images = np.linspace(0, 1, 130 * 16, dtype=np.float32).reshape(130, 1, 4, 4)
    sizes, answer = [], gate.victim.answer
    gate.victim.answer = lambda pixels: sizes.append(len(pixels)) or answer(pixels)
    sealed = stub.Predict(request(images), metadata=ANNE)
    posterior = opened(sealed, paid(stub, sealed))
    assert sizes == [64, 64, 2]
    np.testing.assert_allclose(posterior, answer(images).probabilities, rtol=1e-6)
    assert account(gate).charged == 130
    assert account(gate).cost / NANO == pytest.approx(images.mean(axis=(1, 2, 3)).sum(), rel=1e-5)


def test_hanging_up_saves_no_wrong_answer(gate_with, monkeypatch):
    from server import gate as module

    real = module.verify_counters
    monkeypatch.setattr(module, "verify_counters", lambda *args: (time.sleep(0.02), real(*args))[1])
    with gate_with(hashes=64, algorithm="argon2id") as gate:
        stub = gate.stub
        token = stub.Predict(request(), metadata=ANNE).challenge
        wrong = pb.RedeemRequest(challenge=token, counters=["a", "b", "c", "d"])
        for _ in range(WRONG_ANSWERS + 40):
            with pytest.raises(grpc.RpcError):
                stub.Redeem(wrong, metadata=ANNE, timeout=0.012)
        until(lambda: refusal(stub.Redeem, wrong, metadata=ANNE)[1] == "TOO_MANY_WRONG_COUNTERS")


def test_a_payment_is_recorded_though_its_client_hung_up(gate, stub, monkeypatch):
    sealed, counters = solved(stub)
    settle, settling, go = gate.ledger.settle, threading.Event(), threading.Event()

    def slowly(client, payment):
        found = settle(client, payment)
        found.result()
        settling.set()
        slow = Future()
        slow.set_running_or_notify_cancel()  # too late to be given up
        threading.Thread(target=lambda: (go.wait(10), slow.set_result(found.result()))).start()
        return slow

    monkeypatch.setattr(gate.ledger, "settle", slowly)
    payment = pb.RedeemRequest(challenge=sealed.challenge, counters=counters)
    call = stub.Redeem.future(payment, metadata=ANNE)
    assert settling.wait(10)
    call.cancel()
    assert refusal(stub.Redeem, pb.RedeemRequest(), metadata=ANNE)  # the gate has heard of it
    go.set()
    until(lambda: [record["kind"] for record in gate.records] == ["predict", "redeem"])


def test_work_can_be_redeemed_while_predictions_are_under_way(gate, stub):
    sealed = [stub.Predict(request(), metadata=ANNE) for _ in range(MAX_UNPAID)]
    paid(stub, sealed.pop())
    again = [request(request_id=Challenge.parse(one.challenge).request_id) for one in sealed]
    with slow_victim(gate) as go:
        every = (*again, request(), request())  # one more than are served at once
        busy = [stub.Predict.future(asked, metadata=ANNE) for asked in every]
        assert all(paid(stub, one) for one in sealed)
        assert not any(call.done() for call in busy)
        go.set()
        for call in busy:
            call.result()


def test_a_request_id_many_times_at_once_is_charged_once_and_for_its_inputs_only(gate, stub):
    asked = request()
    others = [request(IMAGES * n / 8, asked.request_id) for n in range(1, 7)]
    reached = threading.Event()
    with slow_victim(gate) as go:
        slow = gate.victim.answer
        gate.victim.answer = lambda images: reached.set() or slow(images)
        calls = [stub.Predict.future(asked, metadata=ANNE)]
        assert reached.wait(10)  # the others come while it is computed
        calls += [stub.Predict.future(each, metadata=ANNE) for each in (asked, *others)]
        for _ in range(3):  # until most are under way
            stub.GetAccount(pb.GetAccountRequest(), metadata=ANNE)
        go.set()
        codes = [call.code().name for call in calls]
    assert codes == ["OK"] * 2 + ["ALREADY_EXISTS"] * 6
    assert gate.computed == 2
    assert account(gate).charged == 2
    assert [record["retry"] for record in gate.records] == [False, True]


def test_a_record_that_cannot_be_written_costs_nobody_an_answer(gate_with, caplog):
    def full(kind, **fields):
        raise OSError(28, "No space left on device")

    with gate_with(record=full) as gate:
        assert paid(gate.stub, solved(gate.stub)[0])
    assert caplog.text.count("a line of the record is lost") == 2


def test_a_ledger_that_cannot_answer_closes_the_gate(gate, stub):
    sealed, counters = solved(stub)
    gate.ledger.close()
    for call, message in (
        (stub.Predict, request()),
        (stub.Redeem, pb.RedeemRequest(challenge=sealed.challenge, counters=counters)),
        (stub.GetAccount, pb.GetAccountRequest()),
    ):
        code, reason, _, details = refusal(call, message, metadata=ANNE)
        assert (code, reason) == ("UNAVAILABLE", "LEDGER_UNAVAILABLE")
        assert "RetryInfo" in details
    assert gate.computed == 1


def test_an_exception_of_our_own_shows_nothing(gate, stub, caplog):
    def broken(images, answer):
        raise RuntimeError("the secret path /srv/victim")

    gate.measure.cost = broken
    code, reason, text, details = refusal(stub.Predict, request(), metadata=ANNE)
    assert (code, reason, text, details) == ("INTERNAL", "", "internal error", [])
    assert "secret path" in caplog.text  # the operator sees it
    assert account(gate) == Account()
