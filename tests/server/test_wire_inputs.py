"""Every bad input to Predict, over loopback: its status, its message, and that it costs nothing."""

import re
import uuid

import numpy as np
from asking import ANNE, BOB, IMAGES, refusal, request, slow_victim, until

from protos import codec
from protos import gate_pb2 as pb
from server.ledger import MAX_UNPAID, Account


def tensor(**changes):
    fields = {"shape": [2, 1, 4, 4], "dtype": pb.DTYPE_FLOAT32, "data": IMAGES.tobytes()}
    return pb.Tensor(**{**fields, **changes})


BAD_TENSORS = [
    (pb.Tensor(), "BAD_TENSOR", "dtype code 0"),
    (tensor(data=bytes(132)), "BAD_TENSOR", "holds 132 bytes.*needs 128"),
    (tensor(shape=[2**62, 4, 4, 4]), "BAD_TENSOR", "needs"),
    (tensor(shape=[2, 16]), "INVALID_IMAGES", "rank 2"),
    (tensor(shape=[1, 2, 4, 4]), "INVALID_IMAGES", "2x4x4, expected 1x4x4"),
    (tensor(shape=[0, 1, 4, 4], data=b""), "INVALID_IMAGES", "empty"),
    (codec.encode(IMAGES * 2), "INVALID_IMAGES", "contain 2"),
    (codec.encode(IMAGES - 1), "INVALID_IMAGES", "contain -1"),
    (codec.encode(IMAGES * np.float32("nan")), "INVALID_IMAGES", "NaN"),
    (codec.encode(np.full((1, 1, 4, 4), np.inf, np.float32)), "INVALID_IMAGES", "inf|NaN"),
    (codec.encode(np.zeros((257, 1, 4, 4), np.uint8)), "INVALID_IMAGES", "257 .* at most 256"),
]
BAD_IDS = ["", "1", "x" * 200, str(uuid.uuid4()).upper(), f"{{{uuid.uuid4()}}}"]


def test_bad_inputs_and_request_ids_are_refused_and_cost_nothing(gate, stub):
    good = codec.encode(IMAGES)
    for request_id, inputs, reason, message in (
        *((str(uuid.uuid4()), *bad) for bad in BAD_TENSORS),
        *((bad, good, "BAD_REQUEST_ID", "is not a UUID") for bad in BAD_IDS),
    ):
        asked = pb.PredictRequest(request_id=request_id, inputs=inputs)
        code, why, text, _ = refusal(stub.Predict, asked, metadata=ANNE)
        assert (code, why) == ("INVALID_ARGUMENT", reason), text
        assert re.search(message, text), text
        assert len(text) < 200
    code, _, text, _ = refusal(
        stub.Predict, request(np.zeros((4096, 1, 4, 4), np.float32)), metadata=ANNE
    )
    assert (code, "larger than max" in text) == ("RESOURCE_EXHAUSTED", True)  # by the transport
    assert gate.computed == 0
    assert gate.ledger.account("anne").result() == Account()


def test_a_victim_of_any_shape_is_asked(gate_with):
    with gate_with(shape=(6,)) as gate:
        stub = gate.stub
        assert stub.Describe(pb.DescribeRequest(), metadata=ANNE).input_shape == [6]
        assert stub.Predict(request(np.zeros((2, 6), np.float32)), metadata=ANNE).challenge
        text = refusal(stub.Predict, request(), metadata=ANNE)[2]
    assert "rank 4 (shape 2x1x4x4), expected rank 2: (b, 6)" in text


def test_every_rpc_wants_to_know_who_calls(stub):
    bad = {"metadata": (("client-id", "../etc"),)}
    for call, message in (
        (stub.Describe, pb.DescribeRequest()),
        (stub.Predict, pb.PredictRequest()),  # who calls is asked before what is wrong with it
        (stub.Redeem, pb.RedeemRequest()),
        (stub.GetAccount, pb.GetAccountRequest()),
    ):
        assert refusal(call, message)[:2] == ("UNAUTHENTICATED", "MISSING_KEY")
        assert refusal(call, message, **bad)[:2] == ("INVALID_ARGUMENT", "BAD_CLIENT_ID")


def test_the_same_id_for_other_inputs_and_the_sixth_retry(gate, stub):
    asked = request()
    other = request(IMAGES[:1], request_id=asked.request_id)
    for _ in range(1 + 5):
        stub.Predict(asked, metadata=ANNE)
        code, reason, _, _ = refusal(stub.Predict, other, metadata=ANNE)
        assert (code, reason) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")
    code, reason, _, details = refusal(stub.Predict, asked, metadata=ANNE)
    assert (code, reason) == ("RESOURCE_EXHAUSTED", "RETRIES_EXHAUSTED")
    assert "QuotaFailure" in details
    assert gate.ledger.account("anne").result().charged == 2
    assert gate.computed == 6
    for _ in range(MAX_UNPAID):  # refused requests gave their places back
        assert refusal(stub.Predict, other, metadata=ANNE)[1] == "REQUEST_ID_REUSED"
    stub.Predict(request(), metadata=ANNE)


def test_more_unpaid_batches_than_are_allowed_are_not_computed(gate, stub):
    for _ in range(MAX_UNPAID - 1):
        stub.Predict(request(), metadata=ANNE)
    with slow_victim(gate):
        last = stub.Predict.future(request(), metadata=ANNE)
        until(lambda: gate.victim.asked)
        code, reason, text, details = refusal(stub.Predict, request(), metadata=ANNE)
    assert (code, reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_UNPAID")
    assert "7 batches are unpaid and 1 are being answered" in text
    assert "QuotaFailure" in details
    assert last.result().challenge
    assert gate.computed == MAX_UNPAID
    stub.Predict(request(), metadata=BOB)  # others are not held up


def test_requests_beyond_those_served_at_once_wait_for_their_turn(gate, stub):
    with slow_victim(gate):
        asked = [stub.Predict.future(request(), metadata=ANNE) for _ in range(MAX_UNPAID + 1)]
        stub.GetAccount(pb.GetAccountRequest(), metadata=ANNE)  # has places of its own
        assert not any(call.done() for call in asked)
    (late,) = (call for call in asked if call.exception() is not None)
    code, reason, _, _ = refusal(late.result)  # its turn came, and eight are unpaid
    assert (code, reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_UNPAID")
    assert gate.ledger.account("anne").result().charged == 2 * MAX_UNPAID


def test_requests_that_were_hung_up_on_are_under_way_all_the_same(gate, stub):
    with slow_victim(gate):
        for _ in range(MAX_UNPAID):
            call = stub.Predict.future(request(), metadata=ANNE)
            for _ in range(3):  # until the request is under way
                stub.GetAccount(pb.GetAccountRequest(), metadata=ANNE)
            call.cancel()
        code, reason, _, details = refusal(stub.Predict, request(), metadata=ANNE)
    assert (code, reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_IN_FLIGHT")
    assert {"RetryInfo", "QuotaFailure"} <= set(details)
