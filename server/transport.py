"""The grpc.aio server, with limits of its connections; it refuses unregistered methods unread."""

import asyncio
import resource
from typing import Any
from unittest import mock

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]

CALLS_A_CONNECTION = 16
"""Calls open on one connection, as many as one client is served at once; the client's library keeps
more of them back."""

MAX_CONNECTIONS = 8_192
"""Connections open at once, where the limit of open files allows them."""

OWN_FILES = 128
"""Files that the gate itself may have open."""

HANDSHAKE_MS = 5_000
"""For a connection to speak TLS and HTTP/2; one that says nothing is closed then."""

IDLE_MS = 60_000
"""How long a connection without a call stays open; a client connects again by itself."""


class _KnownMethods(cygrpc.AioServer):  # type: ignore[misc]
    """Serves registered methods only, and refuses any other call without a look at its name.

    grpc decodes the name of an unknown method in its serving loop, which ends, and the server with
    it, at a name that is not UTF-8: one packet of anybody's would do.
    """

    async def _request_call(self) -> None:
        refusing = set()
        while True:
            task = asyncio.create_task(_unknown(await super()._request_call()))
            refusing.add(task)  # the loop itself does not keep it
            task.add_done_callback(refusing.discard)


async def _unknown(state: Any) -> None:
    """Refuses a call."""
    context = cygrpc._ServicerContext(state, None, None, asyncio.get_running_loop())
    try:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
    except grpc.aio.BaseError:
        return  # aborted, or gone


def server(guard: grpc.aio.ServerInterceptor, message_bytes: int) -> grpc.aio.Server:
    """A server that is not started yet; `message_bytes` is the size of its largest message."""
    with mock.patch.object(cygrpc, "AioServer", _KnownMethods):
        made = grpc.aio.server(interceptors=[guard], options=options(message_bytes))
    if not isinstance(made._server, _KnownMethods):  # type: ignore[attr-defined]
        raise RuntimeError(f"grpcio {grpc.__version__} makes its servers in a way unknown here")
    return made


def options(message_bytes: int) -> list[tuple[str, int]]:
    """Options of the transport: how large, how many and how idle things may be."""
    return [
        ("grpc.max_receive_message_length", message_bytes),
        ("grpc.so_reuseport", 0),  # a port in use is an error, not a share of its traffic
        ("grpc.max_concurrent_streams", CALLS_A_CONNECTION),
        ("grpc.max_allowed_incoming_connections", connections()),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
        ("grpc.max_connection_idle_ms", IDLE_MS),
        ("grpc.max_connection_age_ms", 600_000),  # what is left open on it ends with it
        ("grpc.max_connection_age_grace_ms", 60_000),  # for the calls that are open then
        ("grpc.keepalive_time_ms", 30_000),  # a peer that is gone, or does not read, is found out
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", 16_384),  # received of a message before it has room
    ]


def raise_file_limit() -> None:
    """Allows this process as many open files as connections need, where the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + OWN_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def connections() -> int:
    """Connections taken at once: as many as there are files to open, less those of our own."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(16, min(MAX_CONNECTIONS, files - OWN_FILES))
