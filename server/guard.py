"""The interceptor of all methods: authenticates, admits, and translates errors."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias, cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import code_pb2
from grpc_status import rpc_status

from server.admission import Admission, Turn
from server.authentication import CALLER, Authenticator
from server.catalogue import status_of
from server.refusals import LedgerUnavailable, MalformedMessage

PREDICT = "/powgate.v1.Gate/Predict"

CHECK = "/grpc.health.v1.Health/Check"
"""The one method that asks for no key: load balancers have none."""

SMALL_MESSAGE = 8_192
"""Bytes of any message but Predict's: a Redeem of the most and longest counters takes half."""

_LOG = logging.getLogger("powgate.server")

_Context = grpc.aio.ServicerContext[Any, Any]
_Inner = Callable[[Any, _Context], Awaitable[Any]]  # the stubs know of blocking handlers only
_InnerStream = Callable[[AsyncIterator[Any], _Context], AsyncIterator[Any]]
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class Guard(grpc.aio.ServerInterceptor):
    """Authenticates before the message is received, and lets out no text but the catalogue's.

    Every handler becomes one that reads and writes for itself: so nothing of a call is received
    before its caller is known, and every wait has an end. On the wire there is no difference.
    """

    def __init__(self, authenticator: Authenticator, admission: Admission) -> None:
        self._authenticator = authenticator
        self._admission = admission

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["_Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "_Handler | None":
        handler = await continuation(handler_call_details)
        if handler is None:
            return None  # an unknown method: refused by grpc, unread
        method = handler_call_details.method
        client, refused = "", None
        if method != CHECK:
            try:
                client = self._authenticator.client(handler_call_details.invocation_metadata or ())
            except Exception as error:
                refused = error
        CALLER.set(client)  # grpc runs the handler in the same context

        async def guarded(_: Any, context: _Context) -> None:
            try:
                if refused is not None:
                    await self._admission.refusal()
                    raise refused
                await self._serve(handler, method, client, context)
            except grpc.aio.BaseError:
                raise  # aborted, or the caller has hung up
            except Exception as error:
                await _refuse(context, method, error)

        return grpc.stream_stream_rpc_method_handler(
            guarded, response_serializer=handler.response_serializer
        )

    async def _serve(self, handler: _Handler, method: str, client: str, context: _Context) -> None:
        if method == CHECK:
            async with self._admission.check():
                answer = await _answer(handler, await _read(context, method), method, context)
            await context.write(answer)
        elif handler.unary_unary is not None:
            async with self._admission.call(
                client, lambda: _read(context, method), predict=method == PREDICT
            ) as data:
                answer = await _answer(handler, data, method, context)
                writing = asyncio.ensure_future(context.write(answer))
                # A caller that does not take its answer loses its place, but not its answer.
                try:
                    await asyncio.wait({writing}, timeout=self._admission.limits.answer_seconds)
                except asyncio.CancelledError:
                    writing.cancel()
                    raise
            await writing
        else:
            async with self._admission.stream(client) as turn:
                await _stream(handler, method, context, turn)


async def _answer(handler: _Handler, data: bytes, method: str, context: _Context) -> Any:
    """What a handler answers to one message."""
    inner = cast(_Inner, handler.unary_unary)
    return await inner(_parsed(handler, method, data), context)


async def _stream(handler: _Handler, method: str, context: _Context, turn: Turn) -> None:
    """Runs a handler of many answers: health's Watch writes them itself, reflection yields them."""
    if handler.unary_stream is not None:
        data = await _read(context, method)
        await cast(_Inner, handler.unary_stream)(_parsed(handler, method, data), context)
        return
    inner = cast(_InnerStream, handler.stream_stream)
    async for answer in inner(_messages(handler, method, context, turn), context):
        await context.write(answer)


async def _messages(
    handler: _Handler, method: str, context: _Context, turn: Turn
) -> AsyncIterator[Any]:
    """The messages of a stream, each in the turn of a call: no more of them than of calls."""
    while (data := await context.read()) is not grpc.aio.EOF:
        await turn()
        yield _parsed(handler, method, data)


async def _read(context: _Context, method: str) -> bytes:
    """The message of a call that has one. Raises MalformedMessage."""
    data = await context.read()
    if data is grpc.aio.EOF:
        raise MalformedMessage(f"{method.rpartition('/')[2]} got no message; expected one")
    return bytes(data)


def _parsed(handler: _Handler, method: str, data: bytes) -> Any:
    """The request in a message. Raises MalformedMessage."""
    if method != PREDICT and len(data) > SMALL_MESSAGE:
        name = method.rpartition("/")[2]
        raise MalformedMessage(f"{name} got {len(data)} bytes; expected at most {SMALL_MESSAGE}")
    try:
        return cast(Callable[[bytes], Any], handler.request_deserializer)(data)
    except DecodeError as error:
        raise MalformedMessage(f"{len(data)} bytes are no request of {method}") from error


async def _refuse(context: _Context, method: str, error: Exception) -> None:
    """Ends a call with what the catalogue says of the error; the log has one entry at most."""
    status = status_of(error)
    if status.code == code_pb2.INTERNAL:
        _LOG.error("uncaught in %s", method, exc_info=error)
    elif isinstance(error, LedgerUnavailable):
        _LOG.error("%s: %s (%r)", method, error, error.__cause__)
    answer = rpc_status.to_status(status)
    with contextlib.suppress(grpc.aio.InternalError):  # the caller has gone, or takes nothing
        await context.abort(answer.code, answer.details, answer.trailing_metadata)
