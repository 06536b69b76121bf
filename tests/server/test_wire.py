"""The wire, over loopback: what each RPC does, and what each mistake gets, and costs."""

import re
import threading
import time
import uuid
from contextlib import contextmanager

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from grpc_status import rpc_status

from pow.challenge import Challenge, Keyring, verify_counters
from pow.hashcash import digest as hash_stamp
from pow.hashcash import leading_zero_bits
from protos import codec
from protos import gate_pb2 as pb
from protos.gate_pb2_grpc import GateStub
from server.ledger import MAX_UNPAID, Account

ANNE = (("client-id", "anne"),)
BOB = (("client-id", "bob"),)
IMAGES = np.linspace(0, 1, 2 * 16, dtype=np.float32).reshape(2, 1, 4, 4)


@pytest.fixture
def stub(gate):
    with grpc.insecure_channel(gate.address) as channel:
        yield GateStub(channel)


def request(images=IMAGES, request_id=None):
    return pb.PredictRequest(
        request_id=request_id or str(uuid.uuid4()), inputs=codec.encode(images)
    )


def counters_of(challenge: Challenge) -> list[str]:
    """The first counters that solve a challenge, by trying."""
    found, number = [], 0
    while len(found) < challenge.puzzle.count:
        counter = f"{number:08x}"
        stamp = (challenge.prefix + counter).encode()
        if (
            leading_zero_bits(hash_stamp(stamp, challenge.puzzle.algorithm))
            >= challenge.puzzle.bits
        ):
            found.append(counter)
        number += 1
    return found


def refusal(call, *args, **kwargs):
    """(code, reason, message, details) of a refused call."""
    with pytest.raises(grpc.RpcError) as caught:
        call(*args, **kwargs)
    status = rpc_status.from_call(caught.value)
    info = error_details_pb2.ErrorInfo()
    others = []
    for detail in () if status is None else status.details:
        if not detail.Unpack(info):
            others.append(detail.type_url.rsplit(".", 1)[1])
    return caught.value.code().name, info.reason, caught.value.details(), others


def solved(stub, who=ANNE, images=IMAGES):
    sealed = stub.Predict(request(images), metadata=who)
    challenge = Challenge.parse(sealed.challenge)
    return sealed, counters_of(challenge)


def test_describe(stub):
    said = stub.Describe(pb.DescribeRequest(), metadata=ANNE)
    assert (said.model, tuple(said.input_shape), said.classes) == ("fake", (1, 4, 4), 3)
    assert (said.max_batch, said.max_unpaid, said.algorithm) == (256, 8, "sha1")
    assert said.hash_rate == 1e6


def test_predict_seals_and_redeem_gives_the_key(gate, stub):
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

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
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM

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


def tensor(**changes):
    fields = {"shape": [2, 1, 4, 4], "dtype": pb.DTYPE_FLOAT32, "data": IMAGES.tobytes()}
    return pb.Tensor(**{**fields, **changes})


BAD_TENSORS = {
    "unknown dtype": (tensor(dtype=9), "BAD_TENSOR", "dtype code 9"),
    "no dtype": (pb.Tensor(), "BAD_TENSOR", "dtype code 0"),
    "too little data": (tensor(data=b"1234"), "BAD_TENSOR", "holds 4 bytes.*needs 128"),
    "too much data": (tensor(data=bytes(132)), "BAD_TENSOR", "holds 132 bytes.*needs 128"),
    "negative axis": (tensor(shape=[-2, -1, 4, 4]), "BAD_TENSOR", "negative"),
    "many axes": (tensor(shape=[1] * 9), "BAD_TENSOR", "9 axes; expected at most 8"),
    "huge shape": (tensor(shape=[2**62, 4, 4, 4]), "BAD_TENSOR", "needs"),
    "wrong rank": (tensor(shape=[2, 16]), "INVALID_IMAGES", "rank 2"),
    "wrong shape": (tensor(shape=[1, 2, 4, 4]), "INVALID_IMAGES", "2x4x4, expected 1x4x4"),
    "empty": (tensor(shape=[0, 1, 4, 4], data=b""), "INVALID_IMAGES", "empty"),
    "above one": (codec.encode(IMAGES * 2), "INVALID_IMAGES", "contain 2"),
    "below zero": (codec.encode(IMAGES - 1), "INVALID_IMAGES", "contain -1"),
    "NaN": (codec.encode(IMAGES * np.float32("nan")), "INVALID_IMAGES", "NaN"),
    "infinite": (
        codec.encode(np.full((1, 1, 4, 4), np.inf, np.float32)),
        "INVALID_IMAGES",
        "contain inf|NaN",
    ),
    "oversized": (
        codec.encode(np.zeros((257, 1, 4, 4), np.uint8)),
        "INVALID_IMAGES",
        "257 images, expected at most 256",
    ),
}


@pytest.mark.parametrize("name", BAD_TENSORS)
def test_bad_inputs_are_refused_and_cost_nothing(gate, stub, name):
    inputs, reason, message = BAD_TENSORS[name]
    asked = pb.PredictRequest(request_id=str(uuid.uuid4()), inputs=inputs)
    code, why, text, _ = refusal(stub.Predict, asked, metadata=ANNE)
    assert (code, why) == ("INVALID_ARGUMENT", reason)
    assert re.search(message, text), text
    assert gate.computed == 0
    assert gate.ledger.account("anne").result() == Account()


def test_a_message_beyond_all_measure_is_refused_by_the_transport(gate, stub):
    asked = request(np.zeros((4096, 1, 4, 4), np.float32))
    code, _, text, _ = refusal(stub.Predict, asked, metadata=ANNE)
    assert code == "RESOURCE_EXHAUSTED"
    assert "larger than max" in text
    assert gate.computed == 0


@pytest.mark.parametrize(
    "bad", ["", "1", "x" * 200, str(uuid.uuid4()).upper(), f"{{{uuid.uuid4()}}}"]
)
def test_a_request_id_is_a_uuid(gate, stub, bad):
    asked = pb.PredictRequest(request_id=bad, inputs=codec.encode(IMAGES))
    code, reason, text, _ = refusal(stub.Predict, asked, metadata=ANNE)
    assert (code, reason) == ("INVALID_ARGUMENT", "BAD_REQUEST_ID")
    assert "is not a UUID" in text
    assert len(text) < 200
    assert gate.computed == 0


@pytest.mark.parametrize("rpc", ["Describe", "Predict", "Redeem", "GetAccount"])
def test_every_rpc_wants_to_know_who_calls(gate, stub, rpc):
    message = {
        "Describe": pb.DescribeRequest(),
        "Predict": pb.PredictRequest(),  # who calls is asked before what is wrong with it
        "Redeem": pb.RedeemRequest(),
        "GetAccount": pb.GetAccountRequest(),
    }[rpc]
    assert refusal(getattr(stub, rpc), message)[:2] == ("UNAUTHENTICATED", "MISSING_KEY")
    bad = (("client-id", "../etc"),)
    assert refusal(getattr(stub, rpc), message, metadata=bad)[:2] == (
        "INVALID_ARGUMENT",
        "BAD_CLIENT_ID",
    )


def test_the_same_id_for_other_inputs(gate, stub):
    asked = request()
    stub.Predict(asked, metadata=ANNE)
    other = request(IMAGES[:1], request_id=asked.request_id)
    code, reason, _text, _ = refusal(stub.Predict, other, metadata=ANNE)
    assert (code, reason) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")
    assert gate.ledger.account("anne").result().charged == 2
    assert gate.computed == 1


def test_the_sixth_retry(gate, stub):
    asked = request()
    for _ in range(1 + 5):
        stub.Predict(asked, metadata=ANNE)
    code, reason, _text, details = refusal(stub.Predict, asked, metadata=ANNE)
    assert (code, reason) == ("RESOURCE_EXHAUSTED", "RETRIES_EXHAUSTED")
    assert "QuotaFailure" in details
    assert gate.ledger.account("anne").result().charged == 2
    assert gate.computed == 6


def test_more_unpaid_batches_than_are_allowed(gate, stub):
    for _ in range(MAX_UNPAID):
        stub.Predict(request(), metadata=ANNE)
    code, reason, text, details = refusal(stub.Predict, request(), metadata=ANNE)
    assert (code, reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_UNPAID")
    assert "8 batches are unpaid" in text
    assert "QuotaFailure" in details
    assert gate.computed == MAX_UNPAID
    stub.Predict(request(), metadata=BOB)  # others are not held up


def test_more_requests_at_once_than_are_allowed(gate, stub):
    with slow_victim(gate):
        under_way = [stub.Predict.future(request(), metadata=ANNE) for _ in range(MAX_UNPAID)]
        code, reason, _text, details = refusal(stub.Predict, request(), metadata=ANNE)
    assert (code, reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_IN_FLIGHT")
    assert {"RetryInfo", "QuotaFailure"} <= set(details)
    assert all(call.result().challenge for call in under_way)
    assert gate.ledger.account("anne").result().charged == 2 * MAX_UNPAID


def test_refused_requests_give_their_places_back(gate, stub):
    used = request()
    stub.Predict(used, metadata=ANNE)
    for _ in range(MAX_UNPAID + 1):
        other = request(IMAGES[:1], request_id=used.request_id)
        assert refusal(stub.Predict, other, metadata=ANNE)[1] == "REQUEST_ID_REUSED"
    stub.Predict(request(), metadata=ANNE)


@contextmanager
def slow_victim(gate):
    """The victim waits until the block ends, or `go` is set."""
    go, answer = threading.Event(), gate.victim.answer

    def slow(images):
        go.wait(10)
        return answer(images)

    gate.victim.answer = slow
    try:
        yield go
    finally:
        go.set()


def until(condition):
    """Waits for what other threads bring about."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_who_hangs_up_is_charged_all_the_same(gate, stub):
    with slow_victim(gate) as go:
        for number in range(3):
            call = stub.Predict.future(request(), metadata=ANNE)
            with pytest.raises(grpc.RpcError):
                stub.Predict(request(), metadata=ANNE, timeout=0.05)
            call.cancel()
            assert number < 3
        go.set()
        until(lambda: gate.ledger.account("anne").result().charged == 2 * gate.computed > 0)
    assert stub.GetAccount(pb.GetAccountRequest(), metadata=BOB, timeout=5).queries == 0


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
    from server.puzzles import STRIKES

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
        for _ in range(STRIKES + 40):
            try:
                stub.Redeem(wrong, metadata=ANNE, timeout=0.012)
            except grpc.RpcError as error:
                reasons.append(error.code())
        time.sleep(0.3)
        assert refusal(stub.Redeem, wrong, metadata=ANNE)[1] == "TOO_MANY_WRONG_COUNTERS"


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
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        started = time.monotonic()
    assert time.monotonic() - started < 5


def redeem(stub, challenge, counters, who=ANNE):
    return refusal(
        stub.Redeem, pb.RedeemRequest(challenge=challenge, counters=counters), metadata=who
    )


def test_wrong_counters_are_refused_and_the_right_ones_still_work(gate, stub):
    sealed, counters = solved(stub)
    wrong = {
        "none": [],
        "one missing": counters[:-1],
        "one too many": [*counters, "zzzzzzzz"],
        "repeated": [counters[0], *counters[:-1]],
        "unordered": counters[::-1],
        "too long": [*counters[:-1], "f" * 65],
        "empty": ["", *counters[1:]],
        "not in the alphabet": [*counters[:-1], "ü" * 8],
        "a colon": [*counters[:-1], "00:00000"],
        "a guess": [*counters[:-1], _failing(sealed.challenge)],
        "a flood": ["a"] * 2_000,
    }
    for name, given in wrong.items():
        code, reason, text, _ = redeem(stub, sealed.challenge, given)
        assert (code, reason) == ("INVALID_ARGUMENT", "WRONG_COUNTERS"), name
        assert text, name
    assert gate.ledger.account("anne").result().unpaid == 1
    paid = pb.RedeemRequest(challenge=sealed.challenge, counters=counters)
    assert stub.Redeem(paid, metadata=ANNE).key


def _failing(token):
    """A counter after all others that does not solve the challenge."""
    challenge = Challenge.parse(token)
    return next(
        counter
        for counter in (f"zzzzzzz{last}" for last in "abcdefgh")
        if leading_zero_bits(hash_stamp((challenge.prefix + counter).encode(), "sha1")) < 2
    )


def test_forged_and_truncated_challenges(stub):
    sealed, counters = solved(stub)
    token = sealed.challenge
    forged = Keyring([bytes(32)]).issue(
        64,
        algorithm="sha1",
        audience="fake/" + "f" * 16,
        client="anne",
        request_id=str(uuid.uuid4()),
        digest=b"d",
        now=1_790_000_000,
    )
    for challenge, reason in (
        (b"", "MALFORMED_CHALLENGE"),
        (token[:-1], "MALFORMED_CHALLENGE"),
        (b"x" * 5000, "MALFORMED_CHALLENGE"),
        (token[:-1] + bytes([token[-1] ^ 1]), "FORGED_CHALLENGE"),
        (forged.token, "FORGED_CHALLENGE"),
    ):
        code, why, text, _ = redeem(stub, challenge, counters)
        assert (code, why) == ("INVALID_ARGUMENT", reason)
        assert text


def test_every_changed_byte_of_a_challenge_is_noticed(stub):
    sealed, counters = solved(stub)
    for at in range(0, len(sealed.challenge), 7):
        changed = bytearray(sealed.challenge)
        changed[at] ^= 1
        code, _, _, _ = redeem(stub, bytes(changed), counters)
        assert code == "INVALID_ARGUMENT"


@pytest.mark.parametrize("rpc", ["Predict", "Redeem"])
def test_bytes_that_are_no_message_show_nothing_of_the_parser(gate, rpc):
    with grpc.insecure_channel(gate.address) as channel:
        call = channel.unary_unary(f"/powgate.v1.Gate/{rpc}")
        assert refusal(call, b"\xff\xff\xff")[:2] == ("UNAUTHENTICATED", "MISSING_KEY")
        code, reason, text, _ = refusal(call, b"\xff\xff\xff", metadata=ANNE)
    assert (code, reason) == ("INVALID_ARGUMENT", "MALFORMED_MESSAGE")
    assert text == f"3 bytes are no request of /powgate.v1.Gate/{rpc}"


def test_a_redeem_of_many_counters_is_not_even_parsed(gate, stub):
    sealed, _ = solved(stub)
    code, reason, text, _ = redeem(stub, sealed.challenge, ["a"] * 10_000)
    assert (code, reason) == ("INVALID_ARGUMENT", "MALFORMED_MESSAGE")
    assert "expected at most 8192" in text


def test_another_clients_challenge(gate, stub):
    sealed, counters = solved(stub)
    code, reason, text, _ = redeem(stub, sealed.challenge, counters, who=BOB)
    assert (code, reason) == ("PERMISSION_DENIED", "FOREIGN_CHALLENGE")
    assert "anne" not in text
    assert gate.ledger.account("anne").result().unpaid == 1


def test_an_expired_challenge(gate, stub):
    sealed, counters = solved(stub)
    gate.clock.now += 600 + 61
    code, reason, _text, _ = redeem(stub, sealed.challenge, counters)
    assert (code, reason) == ("FAILED_PRECONDITION", "EXPIRED_CHALLENGE")
    gate.clock.now -= 30  # within the skew
    paid = pb.RedeemRequest(challenge=sealed.challenge, counters=counters)
    assert stub.Redeem(paid, metadata=ANNE).key


def test_a_challenge_the_ledger_knows_nothing_of(gate, stub):
    genuine = Keyring([bytes(range(32))]).issue(
        1,
        algorithm="sha1",
        audience="fake/" + "f" * 16,
        client="anne",
        request_id=str(uuid.uuid4()),
        digest=b"d",
        now=gate.clock.now,
    )
    counters = counters_of(genuine)
    verify_counters(genuine, counters)
    code, reason, _, _ = redeem(stub, genuine.token, counters)
    assert (code, reason) == ("FAILED_PRECONDITION", "NOTHING_TO_REDEEM")


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
        assert "powgate.v1.Gate" in ProtoReflectionDescriptorDatabase(channel).get_services()


def test_an_unknown_method(gate):
    with grpc.insecure_channel(gate.address) as channel:
        call = channel.unary_unary("/powgate.v1.Gate/Steal")
        assert refusal(call, b"", metadata=ANNE)[0] == "UNIMPLEMENTED"


def test_a_port_that_is_taken(gate):
    import asyncio

    from server.serve import ServeError, running

    async def again():
        async with running(gate_parts(gate), gate.address):
            raise AssertionError("served on a port that is taken")

    with pytest.raises(ServeError, match=r"cannot be bound: .* in use"):
        asyncio.run(again())


def gate_parts(gate):
    from server.authentication import OpenDoor
    from server.model import Model
    from server.puzzles import Puzzles
    from server.serve import Parts

    return Parts(
        model=Model("fake", "nothing", gate.victim, gate.measure, "f" * 64),
        ledger=gate.ledger,
        keyring=Keyring([bytes(32)]),
        puzzles=Puzzles("sha1"),
        authenticator=OpenDoor(),
        hash_rate=1.0,
        record=lambda kind, **fields: None,
        clock=gate.clock,
    )
