"""Whatever a gate sends, a GateError comes out or an answer; records stay readable."""

import json
import math
import traceback
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import grpc
import numpy as np
import pytest
from fake_gate import CLASSES, SHAPE, Failure, FakeGate, FakeTime, refused
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode
from hypothesis import given, settings
from hypothesis import strategies as st

from client.recording import Recorder, recorded
from client.session import BadAnswer, GateError, Refused, Session
from core.arrays import InvalidInputs
from core.records import read
from pow.challenge import Challenge
from protos import codec
from protos import gate_pb2 as pb

IMAGES = np.linspace(0, 1, 2 * 16, dtype=np.float32).reshape(2, 1, 4, 4)
MINE = "00000000-0000-0000-0000-000000000007"
DETAILS = "grpc-status-details-bin"


def asking(gate, **options):
    time = FakeTime()
    options = {"clock": time, "sleep": time.sleep, "timeout": 2.0, "deadline": 20.0, **options}
    return Session("gate.example:1", client_id="anne", stub=gate, max_work=1 << 14, **options)


@pytest.mark.parametrize(
    "change",
    [
        {"input_shape": []},
        {"input_shape": [1] * 400},
        {"input_shape": [1, 0, 4]},
        {"input_shape": [1, 2**62, 2**62]},
        {"input_shape": [-1, -4, 4]},
        {"classes": 1},
        {"classes": 2**31 - 1},
        {"max_batch": 0},
        {"max_batch": -1},
        {"max_unpaid": 0},
        {"max_unpaid": -8},
        {"algorithm": "md5"},
        {"algorithm": ""},
        {"hash_rate": math.nan},
        {"hash_rate": math.inf},
        {"hash_rate": -1.0},
        {"model": "\x1b[2J"},
        {"model": "m" * 300},
        {"fingerprint": "a\nb"},
        {"audience": "x" * 99},
        {"client": ""},
        {"client": "bob"},
        {"client": "a\nb"},
    ],
)
def test_a_description_of_no_gate(change):
    gate = FakeGate()

    def absurd(said):
        for name, value in change.items():
            if name == "input_shape":
                del said.input_shape[:]
                said.input_shape.extend(value)
            else:
                setattr(said, name, value)
        return said

    gate.changed["Describe"] = absurd
    with asking(gate) as session, pytest.raises(BadAnswer) as caught:
        session.predict(IMAGES)
    assert gate.asked["Predict"] == 0
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0, 1e9])
def test_seconds_that_are_none_are_noticed_before_anything_is_paid(value):
    gate = FakeGate()

    def lying(sealed):
        sealed.receipt.server_seconds = value
        return sealed

    gate.changed["Predict"] = lying
    with asking(gate) as session, pytest.raises(BadAnswer, match="the receipt says"):
        session.predict(IMAGES)
    assert gate.asked["Redeem"] == 0


@pytest.mark.parametrize("field", ["work", "queries_charged"])
def test_a_receipt_below_nothing(field):
    gate = FakeGate()

    def lying(sealed):
        setattr(sealed.receipt, field, -1)
        return sealed

    gate.changed["Predict"] = lying
    with asking(gate) as session, pytest.raises(BadAnswer, match="expected 0 or more"):
        session.predict(IMAGES)


@pytest.mark.parametrize(
    "rows",
    [
        [0.5, 0.5, math.nan],
        [math.inf, 0.0, 0.0],
        [1e30, 0.0, 0.0],
        [-0.5, 1.0, 0.5],
        [0.5, 0.5, 0.5],
        [0.0, 0.0, 0.0],
    ],
)
@pytest.mark.parametrize("hashes", [0, 64])
def test_answers_that_are_no_probabilities(rows, hashes):
    gate = FakeGate(hashes)
    gate.answers = lambda images: np.array([[1 / 3] * 3, rows], np.float32)
    with asking(gate) as session, pytest.raises(BadAnswer):
        session.predict(IMAGES)


@pytest.mark.parametrize(
    "answers",
    [
        np.full((2, 3), 85, np.uint8),
        np.full((2, 4), 0.25, np.float32),
        np.full((2, 100), 0.01, np.float32),
        np.full((6,), 0.5, np.float32),
    ],
)
def test_answers_of_another_type_or_shape(answers):
    gate = FakeGate()
    gate.answers = lambda images: answers
    with asking(gate) as session, pytest.raises(BadAnswer):
        session.predict(IMAGES)


@pytest.mark.parametrize("decimals", range(7))
def test_answers_that_a_defence_rounded_are_taken(decimals):
    from server.defences.rounding import rounded

    exact = np.random.default_rng(decimals).dirichlet(np.ones(CLASSES), 2).astype(np.float32)
    gate = FakeGate()
    gate.answers = lambda images: rounded(exact, decimals)
    with asking(gate) as session:
        np.testing.assert_array_equal(session.predict(IMAGES), rounded(exact, decimals))


def test_an_answer_is_an_array_of_one_s_own():
    with asking(FakeGate()) as session:
        answer = session.predict(IMAGES)
    answer *= 2
    assert answer.dtype == np.dtype("float32")


def test_an_answer_holds_nothing_that_nobody_knows():
    # What was solved and could not be redeemed is kept, and 64 of these were gigabytes.
    def padded(sealed):
        unknown = b"\x9a\x06" + bytes([0x80, 0x80, 0x40]) + bytes(1 << 20)  # field 99
        return pb.SealedPrediction.FromString(sealed.SerializeToString() + unknown)

    gate = FakeGate()
    gate.changed["Predict"] = padded
    with asking(gate) as session, pytest.raises(BadAnswer, match="bytes besides what is sealed"):
        session.predict(IMAGES)
    assert gate.asked["Redeem"] == 0


@pytest.mark.parametrize("key", [b"", b"short", bytes(16), bytes(24), bytes(32), bytes(64)])
def test_keys_that_open_nothing(key):
    gate = FakeGate()
    gate.changed["Redeem"] = lambda said: pb.Key(key=key)
    with asking(gate) as session, pytest.raises(BadAnswer):
        session.predict(IMAGES)


def status(code, *details, message="no"):
    return status_pb2.Status(
        code=code.value[0], message=message, details=details
    ).SerializeToString()


MALFORMED = any_pb2.Any(
    type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff\xff\xff\xff"
)
HOSTILE_REASON = any_pb2.Any()
HOSTILE_REASON.Pack(error_details_pb2.ErrorInfo(reason="\x1b[2J a\nreason"))
LONG_AGO = any_pb2.Any()
LONG_AGO.Pack(error_details_pb2.RetryInfo())
LONG_AGO.value = b"\x0a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"  # -1 seconds


@pytest.mark.parametrize("code", [StatusCode.INVALID_ARGUMENT, StatusCode.RESOURCE_EXHAUSTED])
@pytest.mark.parametrize(
    "details",
    [
        b"\xff\xff\xff",
        status(StatusCode.NOT_FOUND),
        status(StatusCode.INVALID_ARGUMENT, message="another"),
        "text",
        *(
            status(code, detail)
            for code in (StatusCode.INVALID_ARGUMENT, StatusCode.RESOURCE_EXHAUSTED)
            for detail in (MALFORMED, HOSTILE_REASON, LONG_AGO)
        ),
    ],
)
def test_details_of_a_refusal_that_are_garbage(code, details):
    gate = FakeGate()
    gate.failing["Predict"] = [Failure(code, "no", ((DETAILS, details),))]
    with asking(gate) as session, pytest.raises(BadAnswer, match="cannot be read"):
        session.predict(IMAGES)


def test_a_refusal_is_one_line_that_a_terminal_can_show():
    gate = FakeGate()
    gate.failing["Predict"] = [Failure(StatusCode.INTERNAL, "\x1b[2J\r\nerror: \x00" + "x" * 9999)]
    with asking(gate) as session, pytest.raises(Refused) as caught:
        session.predict(IMAGES)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("said", [pb.Account(queries=-1), pb.Account(unpaid_batches=-1)])
def test_an_account_below_nothing(said):
    gate = FakeGate()
    gate.changed["GetAccount"] = lambda _: said
    with asking(gate) as session, pytest.raises(BadAnswer):
        session.account()


def test_a_record_survives_a_hostile_gate(tmp_path):
    gate, path = FakeGate(), tmp_path / "anne.jsonl"
    recorder = Recorder(path, client="anne", config={}, seed=0)

    def lying(sealed):
        sealed.receipt.server_seconds = math.nan
        return sealed

    with (  # noqa: PT012
        pytest.raises(BadAnswer),
        recorded(recorder),
        asking(gate, observe=recorder.observe) as session,
    ):
        session.predict(IMAGES)
        gate.changed["Predict"] = lying
        session.predict(IMAGES)
    lines = read(path)[1]
    assert [line["kind"] for line in lines] == ["predict", "end"]
    assert lines[-1]["status"] == "crashed"
    assert "the receipt says nan s" in lines[-1]["reason"]
    assert json.dumps(lines, allow_nan=False)


def test_a_record_that_lost_a_line_is_not_called_whole(tmp_path, monkeypatch):
    recorder = Recorder(tmp_path / "anne.jsonl", client="anne", config={}, seed=0)
    write, full = recorder._writer.write, [OSError("no space left")]

    def once(*args, **fields):
        if full:
            raise full.pop()
        write(*args, **fields)

    monkeypatch.setattr(recorder._writer, "write", once)
    with (
        pytest.raises(OSError, match="lost a line"),
        recorded(recorder),
        asking(FakeGate(), observe=recorder.observe) as session,
    ):
        assert session.predict(IMAGES).shape == (2, 3)
    assert read(tmp_path / "anne.jsonl")[1][-1]["status"] == "crashed"


text = st.text(max_size=40)
number = st.integers(-(2**31), 2**31 - 1)
real = st.floats(allow_nan=True, allow_infinity=True)


TYPES = ["", "x", *(f"type.googleapis.com/google.rpc.{n}" for n in ("ErrorInfo", "RetryInfo"))]
some_details = st.lists(
    st.builds(any_pb2.Any, type_url=st.sampled_from(TYPES), value=st.binary(max_size=30)),
    max_size=3,
)
failures = st.builds(
    lambda code, message, details, other: Failure(
        code,
        message,
        ((DETAILS, status(code, *details, message=message) if other is None else other),),
    ),
    st.sampled_from(list(StatusCode)[1:]),
    text,
    some_details,
    st.none() | st.binary(max_size=30),
)

descriptions = st.builds(
    pb.Description,
    model=text,
    input_shape=st.just(SHAPE) | st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5),
    classes=st.just(CLASSES) | number,
    max_batch=st.just(256) | number,
    max_unpaid=st.just(8) | number,
    algorithm=st.sampled_from(["sha1", "sha256", "argon2id", "virtual"]) | text,
    hash_rate=real,
    fingerprint=text,
    audience=st.just(FakeGate().audience) | text,
    client=st.just("anne") | text,
)
receipts = st.builds(
    pb.Receipt,
    queries_charged=st.integers(-(2**63), 2**63 - 1),
    work=st.just(64) | st.integers(-(2**63), 2**63 - 1),
    server_seconds=real,
)
tensors = st.builds(
    pb.Tensor,
    shape=st.just((2, CLASSES)) | st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4),
    dtype=st.integers(0, 3),
    data=st.just(codec.encode(np.full((2, CLASSES), 1 / 3, np.float32)).data) | st.binary(),
).map(lambda tensor: tensor.SerializeToString())


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_only_gate_errors_come_of_what_a_gate_sends(data):
    gate = FakeGate(data.draw(st.sampled_from([0, 1, 64])))
    hostile = data.draw(st.sets(st.sampled_from(["describe", "receipt", "seal", "token", "key"])))
    method = data.draw(st.sampled_from(["Describe", "Predict", "Redeem", "GetAccount"]))
    gate.failing[method] = data.draw(st.lists(failures, max_size=2))
    if "describe" in hostile:
        gate.changed["Describe"] = lambda said: data.draw(descriptions)

    def sealed(said):
        if "seal" in hostile:
            challenge = Challenge.parse(said.challenge)
            said = gate.under_seal(challenge, data.draw(tensors | st.binary(max_size=99)))
        if "receipt" in hostile:
            said.receipt.CopyFrom(data.draw(receipts))
        if "token" in hostile:
            token = bytearray(said.challenge)
            for _ in range(data.draw(st.integers(1, 3))):
                token[data.draw(st.integers(0, len(token) - 1))] = data.draw(st.integers(0, 255))
            said.challenge = bytes(token)
        if "key" in hostile:
            said.key.key = data.draw(st.binary(max_size=40))
        return said

    gate.changed["Predict"] = sealed
    if "key" in hostile:
        gate.changed["Redeem"] = lambda said: pb.Key(key=data.draw(st.binary(max_size=40)))
    seen, errors = [], []
    with asking(gate, solver="python", observe=seen.append) as session:
        try:
            answer = session.predict(IMAGES, request_id=MINE)
        except InvalidInputs:  # of a gate that says it serves others
            assert "describe" in hostile
        except GateError as error:
            errors.append(error)
        else:
            assert answer.shape == (2, CLASSES)
            np.testing.assert_allclose(answer.sum(axis=1), 1, atol=2e-3)
            json.dumps(seen[0].total, allow_nan=False)
        assert [error.request_id for error in errors] == [MINE] * len(errors)
        try:
            session.account()
        except GateError as error:
            errors.append(error)
    assert all(str(error).isprintable() for error in errors)


@pytest.mark.parametrize("code", [StatusCode.INTERNAL, StatusCode.UNAVAILABLE])
def test_a_traceback_shows_nothing_that_a_gate_said_as_it_stands(code):
    def said(request, context):
        context.abort(code, "\x1b[2J\nanother line")

    class Refusing(grpc.GenericRpcHandler):
        def service(self, details):
            return grpc.unary_unary_rpc_method_handler(said)

    server = grpc.server(ThreadPoolExecutor(1), handlers=(Refusing(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with (
            Session(f"127.0.0.1:{port}", client_id="anne", timeout=0.5) as session,
            pytest.raises(GateError) as caught,
        ):
            session.predict(IMAGES)
    finally:
        server.stop(None).wait()
    assert "\x1b" not in "".join(traceback.format_exception(caught.value))


def test_a_wire_of_garbage_is_a_gate_error():
    # Not even messages: bytes that no parser takes, from a real server.
    class Garbage(grpc.GenericRpcHandler):
        def service(self, details):
            return grpc.unary_unary_rpc_method_handler(lambda request, context: b"\xff" * 50)

    server = grpc.server(ThreadPoolExecutor(1), handlers=(Garbage(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with Session(f"127.0.0.1:{port}", client_id="anne") as session, pytest.raises(GateError):
            session.predict(IMAGES)
    finally:
        server.stop(None).wait()


@pytest.mark.parametrize("method", ["Describe", "Predict", "Redeem", "GetAccount"])
def test_a_call_that_ended_well_without_an_answer_is_a_gate_error(method):
    # gRPC hands None to whoever called.
    gate = FakeGate()
    gate.changed[method] = lambda said: None
    with asking(gate) as session:
        ask = session.account if method == "GetAccount" else partial(session.predict, IMAGES)
        with pytest.raises(BadAnswer, match="sent no answer"):
            ask()


def test_refused_is_what_it_was():
    gate = FakeGate()
    gate.failing["Predict"] = [refused(StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED", 0.25)]
    with asking(gate) as session, pytest.raises(Refused) as caught:
        session.predict(IMAGES)
    error = caught.value
    assert (error.reason, error.message, error.retry_seconds) == ("REQUEST_ID_REUSED", "no", 0.25)
