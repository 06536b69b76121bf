"""How long a client waits for an answer that costs nothing."""

import asyncio
import time
import uuid

import grpc
import numpy as np
from numpy.typing import NDArray

from core.environment import DIRECT
from pow.challenge import Keyring
from protos import codec, gate_pb2, gate_pb2_grpc
from server.admission import Limits
from server.authentication import NoAuthentication
from server.gate import Gate
from server.ledger.sqlite import SqliteLedger
from server.model import Model
from server.pricing import no_price
from server.puzzles import BATCH
from server.serve import running

UNPACED = Limits(rate=1e9)
"""The one client of a measurement asks as fast as it is answered."""


async def measure_service(model: Model, images: NDArray[np.uint8], *, repeats: int = 30) -> float:
    """Seconds a client on loopback waits for 64 images under policy none: the median."""
    ledger = SqliteLedger(
        ":memory:", fingerprint="service", tariff=no_price("sha1"), clock=lambda: 0.0
    )
    gate = Gate(
        model=model,
        ledger=ledger,
        keyring=Keyring([bytes(32)]),
        encode=codec.dumps,
        clock=lambda: 0.0,
    )
    batch = np.resize(images, (BATCH, *images.shape[1:]))
    try:
        async with running(gate, NoAuthentication(), "127.0.0.1:0", limits=UNPACED) as address:
            seconds = await asyncio.to_thread(_ask, address, batch, repeats)
    finally:
        ledger.close()
    return float(np.median(seconds))


def _ask(address: str, batch: NDArray[np.uint8], repeats: int) -> list[float]:
    seconds = []
    with grpc.insecure_channel(address, DIRECT) as channel:
        stub = gate_pb2_grpc.GateStub(channel)
        for number in range(repeats + 3):
            start = time.perf_counter()
            request = gate_pb2.PredictRequest(
                request_id=str(uuid.UUID(int=number)), inputs=codec.encode(batch)
            )
            stub.Predict(request, metadata=(("client-id", "calibration"),))
            if number >= 3:  # the first ones open the channel
                seconds.append(time.perf_counter() - start)
    return seconds
