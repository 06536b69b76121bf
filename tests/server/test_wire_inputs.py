"""Every bad input to Predict, over loopback: its status, its message, and that it costs nothing."""

import re
import uuid

import numpy as np
import pytest
from asking import (
    ANNE,
    BOB,
    IMAGES,
    refusal,
    request,
    slow_victim,
)

from protos import codec
from protos import gate_pb2 as pb
from server.ledger import MAX_UNPAID, Account


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
    "huge and empty": (tensor(shape=[0, 2**62, 2**62, 4], data=b""), "BAD_TENSOR", "needs more"),
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
        "257 inputs, expected at most 256",
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


def test_requests_beyond_those_served_at_once_wait_for_their_turn(gate, stub):
    with slow_victim(gate):
        asked = [stub.Predict.future(request(), metadata=ANNE) for _ in range(MAX_UNPAID + 1)]
        stub.GetAccount(pb.GetAccountRequest(), metadata=ANNE)  # has places of its own
        assert not any(call.done() for call in asked)
    (late,) = (call for call in asked if call.exception() is not None)
    code, reason, _text, _details = refusal(late.result)  # its turn came, and eight are unpaid
    assert (code, reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_UNPAID")
    assert gate.ledger.account("anne").result().charged == 2 * MAX_UNPAID


def test_requests_that_were_hung_up_on_are_under_way_all_the_same(gate, stub):
    with slow_victim(gate):
        for _ in range(MAX_UNPAID):
            call = stub.Predict.future(request(), metadata=ANNE)
            for _ in range(3):  # until the request is under way
                stub.GetAccount(pb.GetAccountRequest(), metadata=ANNE)
            call.cancel()
        code, reason, _text, details = refusal(stub.Predict, request(), metadata=ANNE)
    assert (code, reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_IN_FLIGHT")
    assert {"RetryInfo", "QuotaFailure"} <= set(details)


def test_refused_requests_give_their_places_back(gate, stub):
    used = request()
    stub.Predict(used, metadata=ANNE)
    for _ in range(MAX_UNPAID + 1):
        other = request(IMAGES[:1], request_id=used.request_id)
        assert refusal(stub.Predict, other, metadata=ANNE)[1] == "REQUEST_ID_REUSED"
    stub.Predict(request(), metadata=ANNE)
