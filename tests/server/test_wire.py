"""The wire, over loopback: what each RPC does, and what hanging up, failing and ending do to it."""

import threading
import time
from concurrent.futures import Future

import grpc
import numpy as np
import pytest
from asking import ANNE, BOB, counters_of, refusal, request, slow_victim, solved, until
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from pow.challenge import Challenge, Keyring
from protos import codec
from protos import gate_pb2 as pb
from protos.gate_pb2_grpc import GateStub
from server.ledger import MAX_UNPAID, NANO, Account


def test_describe(stub):
    said = stub.Describe(pb.DescribeRequest(), metadata=ANNE)
    assert (said.model, tuple(said.input_shape), said.classes) == ("fake", (1, 4, 4), 3)
    assert (said.max_batch, said.max_unpaid, said.algorithm) == (256, 8, "sha1")
    assert said.hash_rate == 1e6
    assert said.fingerprint == "f" * 16  # of 64 digits: what the audience of a challenge names


def test_predict_seals_and_redeem_gives_the_key(gate, stub):
    sealed, counters = solved(stub)
    assert not sealed.HasField("key")
    assert (sealed.receipt.work, sealed.receipt.queries_charged) == (64, 2)
    assert sealed.receipt.server_seconds > 0
    paid = pb.RedeemRequest(challenge=sealed.challenge, counters=counters)
    key = stub.Redeem(paid, metadata=ANNE).key
    assert stub.Redeem(paid, metadata=ANNE).key == key
    posterior = codec.loads(AESGCM(key).decrypt(bytes(12), sealed.ciphertext, sealed.challenge))
    assert posterior.shape == (2, 3)
    np.testing.assert_allclose(posterior.sum(axis=1), 1, rtol=1e-6)
    assert posterior.argmax(axis=1).tolist() == [0, 2]
    assert gate.ledger.account("anne").result().unpaid == 0


def test_uint8_and_float_images_get_the_same_answer(gate_with):
    with gate_with(hashes=0) as gate, grpc.insecure_channel(gate.address) as channel:
        stub = GateStub(channel)
        grey = np.full((1, 1, 4, 4), 51, np.uint8)
        answers = []
        for images in (grey, (grey / np.float32(255)).astype(np.float32)):
            sealed = stub.Predict(request(images), metadata=ANNE)
            plain = AESGCM(sealed.key.key).decrypt(bytes(12), sealed.ciphertext, sealed.challenge)
            answers.append(codec.loads(plain))
        np.testing.assert_allclose(answers[0], answers[1])


def test_without_work_the_key_comes_with_the_answer(gate_with):
    with gate_with(hashes=0) as gate, grpc.insecure_channel(gate.address) as channel:
        sealed = GateStub(channel).Predict(request(), metadata=ANNE)
        assert len(sealed.key.key) == 32
        assert Challenge.parse(sealed.challenge).puzzle.count == 0
        account = gate.ledger.account("anne").result()
        assert (account.charged, account.unpaid) == (2, 0)


def test_the_account_shows_queries_and_unpaid_batches(stub):
    solved(stub)
    account = stub.GetAccount(pb.GetAccountRequest(), metadata=ANNE)
    assert (account.queries, account.unpaid_batches) == (2, 1)
    assert stub.GetAccount(pb.GetAccountRequest(), metadata=BOB).queries == 0


def test_a_retry_is_charged_once_and_asks_for_the_same_work_with_a_fresh_challenge(gate, stub):
    asked = request()
    first = stub.Predict(asked, metadata=ANNE)
    again = stub.Predict(asked, metadata=ANNE)
    assert again.challenge != first.challenge
    assert again.receipt.work == first.receipt.work
    assert gate.ledger.account("anne").result().charged == 2
    assert gate.measure.asked == 1 + 1  # warm-up and the first time
    for sealed in (first, again):  # either may be paid
        counters = counters_of(Challenge.parse(sealed.challenge))
        paid = pb.RedeemRequest(challenge=sealed.challenge, counters=counters)
        assert len(stub.Redeem(paid, metadata=ANNE).key) == 32


def test_who_hangs_up_is_charged_all_the_same(gate, stub):
    with slow_victim(gate) as go:
        for _ in range(3):
            call = stub.Predict.future(request(), metadata=ANNE)
            with pytest.raises(grpc.RpcError):
                stub.Predict(request(), metadata=ANNE, timeout=0.05)
            call.cancel()
        go.set()
        until(lambda: gate.ledger.account("anne").result().charged == 2 * gate.computed > 0)
    assert stub.GetAccount(pb.GetAccountRequest(), metadata=BOB, timeout=5).queries == 0


def test_the_same_image_counts_once_whichever_way_it_is_sent(gate, stub):
    grey = np.full((1, 1, 4, 4), 51, np.uint8)
    for images in (grey, grey, grey.astype(np.float32) / 255, grey + 1):
        stub.Predict(request(images), metadata=ANNE)
    account = gate.ledger.account("anne").result()
    assert (account.charged, account.counted) == (4, 2)


def test_each_image_is_charged_its_own_cost(gate, stub, monkeypatch):
    """The dear image of a batch, asked again with another, is the one that counts no more."""
    monkeypatch.setattr(gate.measure, "cost", lambda pixels, answer: pixels.mean(axis=(1, 2, 3)))
    dark, bright, other = (np.full((1, 1, 4, 4), grey, np.uint8) for grey in (0, 255, 51))
    for images in (np.concatenate([dark, bright]), np.concatenate([bright, other])):
        stub.Predict(request(images), metadata=ANNE)
    assert gate.ledger.account("anne").result().cost == pytest.approx(1.2 * NANO)


def test_a_large_batch_is_answered_in_parts_that_others_can_pass(gate, stub, monkeypatch):
    monkeypatch.setattr(gate.measure, "cost", lambda pixels, answer: pixels.mean(axis=(1, 2, 3)))
    images = np.linspace(0, 1, 130 * 16, dtype=np.float32).reshape(130, 1, 4, 4)
    sizes, answer = [], gate.victim.answer

    def sized(pixels):
        sizes.append(len(pixels))
        return answer(pixels)

    gate.victim.answer = sized
    sealed = stub.Predict(request(images), metadata=ANNE)
    counters = counters_of(Challenge.parse(sealed.challenge))
    paid = pb.RedeemRequest(challenge=sealed.challenge, counters=counters)
    key = stub.Redeem(paid, metadata=ANNE).key
    plain = AESGCM(key).decrypt(bytes(12), sealed.ciphertext, sealed.challenge)
    assert sizes == [64, 64, 2]
    np.testing.assert_allclose(codec.loads(plain), answer(images).probabilities, rtol=1e-6)
    account = gate.ledger.account("anne").result()
    assert account.charged == 130
    assert account.cost / NANO == pytest.approx(images.mean(axis=(1, 2, 3)).sum(), rel=1e-5)


def test_calls_that_are_given_up_leave_the_ledger_alive(gate, stub):
    for number in range(60):
        try:
            stub.GetAccount(
                pb.GetAccountRequest(), metadata=ANNE, timeout=0.0005 * (number % 8 + 1)
            )
        except grpc.RpcError as error:
            assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED  # noqa: PT017
    assert stub.GetAccount(pb.GetAccountRequest(), metadata=BOB, timeout=5).queries == 0


def test_nothing_is_computed_that_cannot_be_charged(gate, stub):
    for _ in range(MAX_UNPAID - 1):
        stub.Predict(request(), metadata=ANNE)
    with slow_victim(gate):
        last = stub.Predict.future(request(), metadata=ANNE)
        until(lambda: gate.computed == 0 or gate.victim.asked)
        reasons = [refusal(stub.Predict, request(), metadata=ANNE)[1] for _ in range(3)]
    assert reasons == ["TOO_MANY_UNPAID"] * 3
    assert last.result().challenge
    assert gate.computed == MAX_UNPAID


def test_hanging_up_does_not_save_a_strike(gate_with, monkeypatch):
    from server import gate as module
    from server.limits import WRONG_ANSWERS

    real = module.verify_counters

    def slowly(*args):
        time.sleep(0.02)
        return real(*args)

    with (
        gate_with(hashes=64, algorithm="argon2id") as gate,
        grpc.insecure_channel(gate.address) as channel,
    ):
        stub = GateStub(channel)
        token = stub.Predict(request(), metadata=ANNE).challenge
        monkeypatch.setattr(module, "verify_counters", slowly)
        wrong = pb.RedeemRequest(challenge=token, counters=["a", "b", "c", "d"])
        reasons = []
        for _ in range(WRONG_ANSWERS + 40):
            try:
                stub.Redeem(wrong, metadata=ANNE, timeout=0.012)
            except grpc.RpcError as error:
                reasons.append(error.code())
        time.sleep(0.3)
        assert refusal(stub.Redeem, wrong, metadata=ANNE)[1] == "TOO_MANY_WRONG_COUNTERS"


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
    paid = pb.RedeemRequest(challenge=sealed.challenge, counters=counters)
    call = stub.Redeem.future(paid, metadata=ANNE)
    assert settling.wait(10)
    call.cancel()
    assert refusal(stub.Redeem, pb.RedeemRequest(), metadata=ANNE)  # the gate has heard of it
    go.set()
    until(lambda: [record["kind"] for record in gate.records] == ["predict", "redeem"])


def test_a_record_that_cannot_be_written_costs_nobody_an_answer(gate_with, caplog):
    def full(kind, **fields):
        raise OSError(28, "No space left on device")

    with gate_with(record=full) as gate, grpc.insecure_channel(gate.address) as channel:
        stub = GateStub(channel)
        sealed, counters = solved(stub)
        paid = pb.RedeemRequest(challenge=sealed.challenge, counters=counters)
        assert stub.Redeem(paid, metadata=ANNE).key
    assert caplog.text.count("a line of the record is lost") == 2


def test_an_open_watch_of_health_does_not_hold_up_the_end(gate_with):
    with gate_with() as gate, grpc.insecure_channel(gate.address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(), metadata=ANNE
        )
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        started = time.monotonic()
    assert time.monotonic() - started < 5


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
    assert gate.ledger.account("anne").result() == Account()


def test_every_answered_request_is_recorded(gate, stub):
    sealed, counters = solved(stub)
    paid = pb.RedeemRequest(challenge=sealed.challenge, counters=counters)
    stub.Redeem(paid, metadata=ANNE)
    predict, redeemed = gate.records
    assert (predict["kind"], redeemed["kind"]) == ("predict", "redeem")
    assert (predict["client"], predict["images"], predict["cost"]) == ("anne", 2, 2.0)
    assert (predict["work"], predict["retry"]) == (64, False)
    assert set(predict["seconds"]) == {"victim", "measure", "ledger", "seal"}
    assert redeemed["request_id"] == predict["request_id"]


def test_health_and_reflection(gate):
    with grpc.insecure_channel(gate.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "powgate.v1.Gate"):
            answer = health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        keyed = grpc.intercept_channel(channel, _Named())
        assert "powgate.v1.Gate" in ProtoReflectionDescriptorDatabase(keyed).get_services()


class _Named(grpc.StreamStreamClientInterceptor):
    """Says who calls, as every method but health's Check wants to know."""

    def intercept_stream_stream(self, continuation, client_call_details, request_iterator):
        return continuation(client_call_details._replace(metadata=ANNE), request_iterator)


def test_an_unknown_method(gate):
    with grpc.insecure_channel(gate.address) as channel:
        call = channel.unary_unary("/powgate.v1.Gate/Steal")
        assert refusal(call, b"", metadata=ANNE)[0] == "UNIMPLEMENTED"


def test_a_port_that_is_taken(gate):
    import asyncio

    from server.authentication import NoAuthentication
    from server.serve import ServeError, running

    async def again():
        async with running(another(gate), NoAuthentication(), gate.address):
            raise AssertionError("served on a port that is taken")

    with pytest.raises(ServeError, match=r"cannot be bound: .* in use"):
        asyncio.run(again())


def another(gate):
    from server.gate import Gate
    from server.model import Model

    return Gate(
        model=Model("fake", "nothing", gate.victim, gate.measure, "f" * 64),
        ledger=gate.ledger,
        keyring=Keyring([bytes(32)]),
        encode=codec.dumps,
    )
