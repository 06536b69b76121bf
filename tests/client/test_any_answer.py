"""Whatever a gate sends, an answer or a GateError comes out."""

import json
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import numpy as np
import pytest
from fake_gate import CLASSES, IMAGES, MINE, SHAPE, FakeGate, asking, failed, status
from google.protobuf import any_pb2
from grpc import StatusCode
from hypothesis import given, settings
from hypothesis import strategies as st

from client.session import GateError, Session
from core.arrays import InvalidInputs
from pow.challenge import Challenge
from protos import codec
from protos import gate_pb2 as pb

text = st.text(max_size=40)
number = st.integers(-(2**31), 2**31 - 1)
large = st.integers(-(2**63), 2**63 - 1)
real = st.floats(allow_nan=True, allow_infinity=True)
TYPES = ["", "x", *(f"type.googleapis.com/google.rpc.{n}" for n in ("ErrorInfo", "RetryInfo"))]
some_details = st.lists(
    st.builds(any_pb2.Any, type_url=st.sampled_from(TYPES), value=st.binary(max_size=30)),
    max_size=3,
)
failures = st.builds(
    lambda code, message, details, other: failed(
        code, status(code, *details, message=message) if other is None else other, message
    ),
    st.sampled_from(list(StatusCode)[1:]),
    text,
    some_details,
    st.none() | st.binary(max_size=30),
)

descriptions = st.builds(
    pb.Description,
    model=text,
    input_shape=st.just(SHAPE) | st.lists(large, max_size=5),
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
    queries_charged=large,
    work=st.just(64) | large,
    server_seconds=real,
)
tensors = st.builds(
    pb.Tensor,
    shape=st.just((2, CLASSES)) | st.lists(large, max_size=4),
    dtype=st.integers(0, 3),
    data=st.just(codec.encode(np.full((2, CLASSES), 1 / 3, np.float32)).data) | st.binary(),
).map(lambda tensor: tensor.SerializeToString())


@settings(max_examples=40)
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
    with asking(gate, observe=seen.append, timeout=2.0, deadline=20.0, max_work=1 << 14) as session:
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


@contextmanager
def serving(answer):
    """A server that says the same to every call."""

    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.server(ThreadPoolExecutor(1), handlers=(Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with Session(f"127.0.0.1:{port}", client_id="anne", timeout=0.5) as session:
            yield session
    finally:
        server.stop(None).wait()


@pytest.mark.parametrize("code", [StatusCode.INTERNAL, StatusCode.UNAVAILABLE])
def test_a_traceback_shows_nothing_that_a_gate_said_as_it_stands(code):
    def answer(request, context):
        context.abort(code, "\x1b[2J\nanother line")

    with serving(answer) as session, pytest.raises(GateError) as caught:
        session.predict(IMAGES)
    no_parser = serving(lambda request, context: b"\xff" * 50)
    with no_parser as session, pytest.raises(GateError):
        session.predict(IMAGES)
    assert "\x1b" not in "".join(traceback.format_exception(caught.value))
