"""The running gate: a grpc.aio server with health, reflection, TLS and a graceful end."""

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import torch
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health
from grpc_reflection.v1alpha import reflection
from numpy.typing import NDArray

from pow.audience import Audience
from pow.challenge import Keyring
from protos import codec, gate_pb2, gate_pb2_grpc
from server import transport
from server.admission import Admission, Limits
from server.authentication import Authenticator
from server.defences import Perturbation
from server.fair import FairExecutor
from server.gate import MAX_BATCH, Gate
from server.guard import Guard
from server.ledger import Ledger
from server.model import Model
from server.puzzles import Puzzles
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


@dataclass(frozen=True, slots=True)
class Parts:
    """What a gate is made of."""

    model: Model
    ledger: Ledger
    keyring: Keyring
    puzzles: Puzzles
    authenticator: Authenticator
    hash_rate: float
    record: Callable[..., None]
    clock: Callable[[], float]
    perturbation: Perturbation | None = None
    calibration: str = "0" * 16  # 16 hex digits of what the prices rest on
    hosts: tuple[str, ...] = ()  # public names of the gate
    elapsed: Callable[[], float] = time.monotonic  # for durations; the clock may be set


@asynccontextmanager
async def running(
    parts: Parts, address: str, tls: Tls | None = None, limits: Limits | None = None
) -> AsyncIterator[str]:
    """A serving gate; yields the address it listens on, and drains at the end.

    `address` is HOST:PORT; port 0 takes a free one. Raises ServeError where it cannot be bound.
    """
    torch.set_num_threads(1)  # torch in one thread leaves the other core to the event loop
    torch_pool, verify_pool = FairExecutor("torch"), FairExecutor("verify")
    gate = Gate(
        model=parts.model,
        ledger=parts.ledger,
        keyring=parts.keyring,
        puzzles=parts.puzzles,
        audience=Audience(
            fingerprint=parts.model.public_fingerprint,
            ledger=parts.ledger.id,
            books=parts.ledger.books,
            calibration=parts.calibration,
            hosts=parts.hosts,
        ),
        encode=codec.dumps,
        record=parts.record,
        clock=parts.clock,
        torch_pool=torch_pool,
        verify_pool=verify_pool,
        perturbation=parts.perturbation,
        elapsed=parts.elapsed,
    )
    # Twice the largest batch: a batch a little too large still gets our own message.
    message_bytes = 2 * MAX_BATCH * 4 * int(np.prod(parts.model.victim.shape)) + 4096
    guard = Guard(parts.authenticator, Admission(message_bytes, limits or Limits()))
    server = transport.server(guard, message_bytes)
    gate_pb2_grpc.add_GateServicer_to_server(Servicer(gate, hash_rate=parts.hash_rate), server)
    healthy = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    reflection.enable_server_reflection(
        (
            SERVICE,
            health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
            reflection.SERVICE_NAME,
        ),
        server,
    )
    host, _, _ = address.rpartition(":")
    check_free(address)
    if tls is None:
        port = server.add_insecure_port(address)
    else:
        credentials = grpc.ssl_server_credentials([(tls.key, tls.certificate)])
        port = server.add_secure_port(address, credentials)
    warm_up(parts.model, parts.perturbation)
    await server.start()
    for service in ("", SERVICE):
        await healthy.set(service, health_pb2.HealthCheckResponse.SERVING)
    try:
        yield f"{host}:{port}"
    finally:
        await healthy.enter_graceful_shutdown()
        refusing = asyncio.create_task(server.stop(DRAIN_SECONDS))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(gate.idle(for_seconds=SETTLING_SECONDS), DRAIN_SECONDS)
        # What is left is nobody's answer, such as an open Watch of health: not waited for.
        await server.stop(None)
        await refusing
        await gate.idle()
        torch_pool.shutdown()
        verify_pool.shutdown()


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


def warm_up(model: Model, perturbation: Perturbation | None = None) -> None:
    """Runs one batch through victim, measure and defence: no client waits for a first time.

    Raises ValueError for a defence that cannot work with this victim.
    """
    images: NDArray[Any] = np.zeros((MAX_BATCH, *model.victim.shape), dtype=np.float32)
    answer = model.victim.answer(images)
    model.measure.cost(images, answer)
    if perturbation is not None:
        perturbation.answer(answer.probabilities, images, "")
