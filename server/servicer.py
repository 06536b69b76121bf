"""The gate on the wire: every RPC decodes, calls, encodes. `Guard` has authenticated the caller."""

from typing import Any

import grpc

from protos import codec
from protos import gate_pb2 as pb
from protos.gate_pb2_grpc import GateServicer
from server.authentication import CALLER
from server.gate import MAX_BATCH, Gate
from server.ledger import MAX_UNPAID

_Context = grpc.aio.ServicerContext[Any, Any]


class Servicer(GateServicer):
    """`powgate.v1.Gate`."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def Describe(  # noqa: N802
        self, request: pb.DescribeRequest, context: _Context
    ) -> pb.Description:
        model = self._gate.model
        return pb.Description(
            model=model.name,
            input_shape=model.victim.shape,
            classes=model.victim.classes,
            max_batch=MAX_BATCH,
            max_unpaid=MAX_UNPAID,
            algorithm=self._gate.algorithm,
            hash_rate=self._gate.hash_rate,
            fingerprint=model.public_fingerprint,
            audience=str(self._gate.audience),
            client=CALLER.get(),
        )

    async def Predict(  # noqa: N802
        self, request: pb.PredictRequest, context: _Context
    ) -> pb.SealedPrediction:
        client = CALLER.get()
        inputs = codec.decode(request.inputs)
        sealed = await self._gate.predict(client, request.request_id, inputs)
        return pb.SealedPrediction(
            challenge=sealed.challenge,
            ciphertext=sealed.ciphertext,
            receipt=pb.Receipt(
                queries_charged=sealed.charged, work=sealed.work, server_seconds=sealed.seconds
            ),
            key=None if sealed.key is None else pb.Key(key=sealed.key),
        )

    async def Redeem(self, request: pb.RedeemRequest, context: _Context) -> pb.Key:  # noqa: N802
        client = CALLER.get()
        key = await self._gate.redeem(client, request.challenge, request.counters)
        return pb.Key(key=key)

    async def GetAccount(  # noqa: N802
        self, request: pb.GetAccountRequest, context: _Context
    ) -> pb.Account:
        account = await self._gate.account(CALLER.get())
        return pb.Account(queries=account.charged, unpaid_batches=account.unpaid)
