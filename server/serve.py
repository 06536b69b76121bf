"""The running gate: a grpc.aio server with health, reflection, TLS and a graceful end."""

import asyncio
import contextlib
import math
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import torch
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health
from grpc_reflection.v1alpha import reflection

from protos import gate_pb2, gate_pb2_grpc
from server import transport
from server.admission import Admission, Limits
from server.authentication import Authenticator
from server.gate import MAX_BATCH, Gate
from server.guard import Guard
from server.servicer import Servicer

SERVICE = gate_pb2.DESCRIPTOR.services_by_name["Gate"].full_name

DRAIN_SECONDS = 10.0
"""How long requests under way may take once the server is told to stop."""

SETTLING_SECONDS = 0.5
"""How long the gate must have had nothing to do: what had just arrived begins, answers leave."""


class ServeError(Exception):
    """The server cannot start; the text says why in one line."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Certificate chain and private key, PEM."""

    certificate: bytes
    key: bytes

    @classmethod
    def read(cls, certificate: Path, key: Path) -> "Tls":
        """Raises ServeError for a file that is missing, no PEM, or a pair that does not match."""
        try:
            # grpc reports a bad pair only in its log, after binding: asked of the ssl module first.
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
            return cls(certificate.read_bytes(), key.read_bytes())
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise ServeError(
                f"{certificate} and {key} are not a PEM certificate and its key: {error}"
            ) from error

    def hosts(self) -> tuple[str, ...]:
        """DNS names and IP addresses that the certificate is for, wildcards apart."""
        certificate = x509.load_pem_x509_certificates(self.certificate)[0]
        try:
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except x509.ExtensionNotFound:
            return ()
        dns = names.value.get_values_for_type(x509.DNSName)
        addresses = map(str, names.value.get_values_for_type(x509.IPAddress))
        return tuple(name for name in (*dns, *addresses) if "*" not in name)


@asynccontextmanager
async def running(
    gate: Gate,
    authenticator: Authenticator,
    address: str,
    tls: Tls | None = None,
    limits: Limits | None = None,
) -> AsyncIterator[str]:
    """Serves a gate; yields the address it listens on, drains at the end, and closes the gate.

    `address` is HOST:PORT; port 0 takes a free one. Raises ServeError where it cannot be bound.
    """
    torch.set_num_threads(1)  # torch in one thread leaves the other core to the event loop
    # Twice the largest batch: a batch a little too large still gets our own message.
    victim = gate.model.victim
    width = max(np.dtype(name).itemsize for name in victim.dtypes)
    message_bytes = 2 * MAX_BATCH * width * math.prod(victim.shape) + 4096
    guard = Guard(authenticator, Admission(message_bytes, limits or Limits()))
    server = transport.server(guard, message_bytes)
    gate_pb2_grpc.add_GateServicer_to_server(Servicer(gate), server)
    healthy = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    health_service = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
    reflection.enable_server_reflection((SERVICE, health_service, reflection.SERVICE_NAME), server)
    host, _, _ = address.rpartition(":")
    check_free(address)
    if tls is None:
        port = server.add_insecure_port(address)
    else:
        credentials = grpc.ssl_server_credentials([(tls.key, tls.certificate)])
        port = server.add_secure_port(address, credentials)
    gate.warm_up()
    await server.start()
    for service in ("", SERVICE):
        await healthy.set(service, health_pb2.HealthCheckResponse.SERVING)
    try:
        yield f"{host}:{port}"
    finally:
        await healthy.enter_graceful_shutdown()
        refusing = asyncio.create_task(server.stop(DRAIN_SECONDS))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(gate.under_way.idle(for_seconds=SETTLING_SECONDS), DRAIN_SECONDS)
        # What is left is nobody's answer, such as an open Watch of health: not waited for.
        await server.stop(None)
        await refusing
        await gate.under_way.idle()
        gate.close()


def check_free(address: str) -> None:
    """Raises ServeError where HOST:PORT cannot be bound; grpc itself only says that it failed."""
    host, _, port = address.rpartition(":")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host.strip("[]"), int(port)))
    except (OSError, OverflowError) as error:
        raise ServeError(f"{address} cannot be bound: {error}") from error
