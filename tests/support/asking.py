"""Asking a gate under test over the wire, and hearing its refusals."""

import threading
import time
import uuid
from contextlib import contextmanager

import grpc
import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from pow.challenge import Challenge
from pow.solver import solve
from protos import codec
from protos import gate_pb2 as pb

ANNE = (("client-id", "anne"),)
BOB = (("client-id", "bob"),)
IMAGES = np.linspace(0, 1, 2 * 16, dtype=np.float32).reshape(2, 1, 4, 4)


def request(images=IMAGES, request_id=None):
    return pb.PredictRequest(
        request_id=request_id or str(uuid.uuid4()), inputs=codec.encode(images)
    )


def counters_of(token: bytes) -> list[str]:
    """The counters that solve a challenge."""
    return list(solve(Challenge.parse(token), solver="python").counters)


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
    """A sealed answer, and the counters that solve its challenge."""
    sealed = stub.Predict(request(images), metadata=who)
    return sealed, counters_of(sealed.challenge)


def paid(stub, sealed, who=ANNE):
    """The key of a sealed answer, worked for."""
    counters = counters_of(sealed.challenge)
    redeemed = pb.RedeemRequest(challenge=sealed.challenge, counters=counters)
    return stub.Redeem(redeemed, metadata=who).key


def opened(sealed, key):
    """The class probabilities (b, k) of a sealed answer."""
    return codec.loads(AESGCM(key).decrypt(bytes(12), sealed.ciphertext, sealed.challenge))


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


def redeem(stub, challenge, counters, who=ANNE):
    return refusal(
        stub.Redeem, pb.RedeemRequest(challenge=challenge, counters=counters), metadata=who
    )
