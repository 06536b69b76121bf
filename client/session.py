"""A session with a gate: ask, solve, redeem, open; and where the time went.

with Session("localhost:50051", key="…", ca=Path("ca.pem")) as session:
    probabilities = session.predict(images)
"""

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import grpc
import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from numpy.typing import NDArray

from client.offer import Offer
from core.arrays import check_images
from pow.challenge import Challenge, ChallengeError
from pow.solver import Cancelled, search, solve
from protos import codec
from protos import gate_pb2 as pb
from protos.gate_pb2_grpc import GateStub

SOLVERS = ("native", "python", "virtual")

_ZERO_NONCE = bytes(12)  # the gate seals every answer under a key of its own

_T = TypeVar("_T")


AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
"""What a client hears of a gate that is not there, and of one that stops: nobody else cancels."""


class GateError(Exception):
    """The gate did not answer as asked."""


class Refused(GateError):
    """The gate refused. `reason` is a word for programs, such as TOO_MANY_UNPAID."""

    def __init__(self, reason: str, message: str, retry_seconds: float | None) -> None:
        super().__init__(f"{message} ({reason})")
        self.reason = reason
        self.message = message
        self.retry_seconds = retry_seconds


class Unreachable(GateError):
    """The gate could not be reached, or gave up, within the time allowed."""


class Closed(GateError):
    """The session was closed while a request or a puzzle was under way."""


class BadAnswer(GateError):
    """The gate's answer could not be read or opened."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One predict(): seconds, work and bytes. total = network + server + solve + open."""

    request_id: str
    images: int
    total: float
    network: float
    server: float
    solve: float
    open: float
    cpu: float  # seconds of this process
    hashes: int  # tried
    work: int  # asked, in expected hashes
    bits: int
    count: int  # stamps, k
    sent: int  # bytes
    received: int  # bytes
    solver: str
    virtual: bool


@dataclass(frozen=True, slots=True)
class Service:
    """What the gate serves."""

    model: str
    shape: tuple[int, int, int]  # (c, h, w) of one image
    classes: int
    max_batch: int
    max_unpaid: int
    algorithm: str
    hash_rate: float  # hashes per second on which prices in seconds rest
    fingerprint: str  # of the model and its measure; empty from a gate that does not tell


@dataclass(frozen=True, slots=True)
class Account:
    """What this client has asked."""

    queries: int  # images
    unpaid_batches: int


class Session:
    """A client of one gate. Threads may share it; each predict() is one request and one payment.

    Give `key` for a gate with API keys, `client_id` for an open one. With `ca` (PEM) the connection
    is TLS. `threads` is what the solver may use; `timeout` bounds each call in seconds, and how
    long an unreachable gate is tried. `observe` is told of every exchange.
    """

    def __init__(
        self,
        target: str,
        *,
        key: str | None = None,
        client_id: str | None = None,
        ca: Path | None = None,
        solver: Literal["native", "python", "virtual"] = "native",
        threads: int = 1,
        timeout: float = 60.0,
        observe: Callable[[Exchange], None] | None = None,
        rng: np.random.Generator | None = None,
    ) -> None:
        if solver not in SOLVERS:
            raise ValueError(f"solver is {solver!r}; expected one of {', '.join(SOLVERS)}")
        if threads < 1:
            raise ValueError(f"threads is {threads}; expected at least 1")
        if (key is None) == (client_id is None):
            raise ValueError("give either an API key or a client id")
        self._solver = solver
        self._threads = threads
        self._timeout = timeout
        self._observe = observe
        self._rng = rng
        self._cancel = threading.Event()
        if key is not None:
            self._metadata = (("authorization", f"Bearer {key}"),)
        else:
            self._metadata = (("client-id", str(client_id)),)
        options = [("grpc.max_receive_message_length", 64 * 2**20)]
        if ca is None:
            self._channel = grpc.insecure_channel(target, options)
        else:
            credentials = grpc.ssl_channel_credentials(ca.read_bytes())
            self._channel = grpc.secure_channel(target, credentials, options)
        self._stub = GateStub(self._channel)
        self._service: Service | None = None
        self._describing = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the session; a puzzle being solved is given up."""
        self._cancel.set()
        self._channel.close()

    @property
    def service(self) -> Service:
        """What the gate serves, asked once. Raises Refused, Unreachable, BadAnswer.

        Also loads the compiled solver, about half a second that no answer should have to wait for.
        """
        with self._describing:
            if self._service is None:
                said = self._call(self._stub.Describe, pb.DescribeRequest())
                if len(said.input_shape) != 3 or min(said.input_shape) < 1 or said.classes < 2:
                    raise BadAnswer(
                        f"the gate serves images of shape {tuple(said.input_shape)} in "
                        f"{said.classes} classes; expected (c, h, w) and at least 2 classes"
                    )
                if self._solver == "native":
                    kernel = "sha256" if said.algorithm == "sha256" else "sha1"
                    search("x" * 60, 12, 1, algorithm=kernel)
                channels, height, width = said.input_shape
                self._service = Service(
                    model=said.model,
                    shape=(channels, height, width),
                    classes=said.classes,
                    max_batch=said.max_batch,
                    max_unpaid=said.max_unpaid,
                    algorithm=said.algorithm,
                    hash_rate=said.hash_rate,
                    fingerprint=said.fingerprint,
                )
            return self._service

    def account(self) -> Account:
        """What this client has asked so far. Raises Refused, Unreachable."""
        said = self._call(self._stub.GetAccount, pb.GetAccountRequest())
        return Account(said.queries, said.unpaid_batches)

    def predict(
        self, images: NDArray[Any], *, request_id: str | None = None
    ) -> NDArray[np.float32]:
        """Class probabilities (b, k) of images (b, c, h, w), uint8 or float32 in [0, 1].

        Only an unavailable gate is asked again, with the same request id, so that nothing is
        charged twice; give the UUID yourself to ask the same request again later. Raises
        core.arrays.InvalidImages before anything is sent, and Refused, Unreachable, BadAnswer,
        Closed.
        """
        return self.accept(self.offer(images, request_id=request_id))

    def offer(self, images: NDArray[Any], *, request_id: str | None = None) -> Offer:
        """What an answer to images (b, c, h, w) costs, and the answer itself, under seal.

        The account is charged, and has one unpaid batch more until the offer is accepted; the gate
        allows `service.max_unpaid` of them. Raises as predict() does.
        """
        service = self.service
        check_images(images, service.shape, service.max_batch)
        started, cpu = time.perf_counter(), time.process_time()
        request = pb.PredictRequest(
            request_id=request_id or str(uuid.uuid4()), inputs=codec.encode(images)
        )
        sealed = self._call(self._stub.Predict, request)
        try:
            challenge = Challenge.parse(sealed.challenge)
        except ChallengeError as error:
            raise _unreadable(error) from error
        return Offer(
            request_id=request.request_id,
            images=images,
            work=sealed.receipt.work,
            until=time.monotonic() + challenge.expires - challenge.issued,
            seconds=time.perf_counter() - started,
            cpu=time.process_time() - cpu,
            sent=request.ByteSize(),
            sealed=sealed,
            challenge=challenge,
        )

    def accept(self, offer: Offer) -> NDArray[np.float32]:
        """Pays for an offer: class probabilities (b, k).

        One that has run out is asked for again, under its own request id, so that nothing is
        charged twice. Raises Refused, Unreachable, BadAnswer, Closed.
        """
        service = self.service
        if time.monotonic() >= offer.until:
            offer = self.offer(offer.images, request_id=offer.request_id)
        sealed, challenge = offer.sealed, offer.challenge
        started, cpu = time.perf_counter(), time.process_time()
        sent, received = offer.sent, sealed.ByteSize()
        try:
            if sealed.HasField("key"):
                key, hashes, solving, virtual = sealed.key.key, 0, 0.0, False
            else:
                solution = solve(
                    challenge,
                    solver=self._solver,
                    threads=self._threads,
                    cancel=self._cancel,
                    rate=service.hash_rate,
                    rng=self._rng,
                )
                hashes, solving, virtual = solution.hashes, solution.seconds, solution.virtual
                redeem = pb.RedeemRequest(challenge=sealed.challenge, counters=solution.counters)
                paid = self._call(self._stub.Redeem, redeem)
                sent, received = sent + redeem.ByteSize(), received + paid.ByteSize()
                key = paid.key
            opening = time.perf_counter()
            plain = AESGCM(key).decrypt(_ZERO_NONCE, sealed.ciphertext, sealed.challenge)
            probabilities: NDArray[np.float32] = codec.loads(plain)
        except Cancelled as error:
            raise Closed("the session was closed before the answer was paid for") from error
        except (ChallengeError, InvalidTag, ValueError) as error:
            raise _unreadable(error) from error
        if probabilities.shape != (len(offer.images), service.classes):
            raise BadAnswer(
                f"the answer has shape {probabilities.shape}; "
                f"expected {(len(offer.images), service.classes)}"
            )
        ended = time.perf_counter()
        # Virtual work takes no time here: its drawn seconds are added to what was measured.
        total = offer.seconds + ended - started + (solving if virtual else 0.0)
        server, opened = sealed.receipt.server_seconds, ended - opening
        if self._observe is not None:
            self._observe(
                Exchange(
                    request_id=offer.request_id,
                    images=len(offer.images),
                    total=total,
                    network=total - server - solving - opened,
                    server=server,
                    solve=solving,
                    open=opened,
                    cpu=offer.cpu + time.process_time() - cpu,
                    hashes=hashes,
                    work=offer.work,
                    bits=challenge.puzzle.bits,
                    count=challenge.puzzle.count,
                    sent=sent,
                    received=received,
                    solver=self._solver,
                    virtual=virtual,
                )
            )
        return probabilities

    def _call(self, method: Callable[..., _T], request: Any) -> _T:
        """One RPC, repeated while the gate is unavailable and time is left."""
        deadline = time.monotonic() + self._timeout
        pause = 0.1
        while True:
            try:
                return method(request, metadata=self._metadata, timeout=deadline - time.monotonic())
            except grpc.RpcError as error:
                if self._cancel.is_set():
                    raise Closed("the session was closed before the gate answered") from error
                if error.code() not in AWAY:
                    raise _explained(error) from error
                if time.monotonic() + pause >= deadline:
                    raise Unreachable(f"no answer in {self._timeout:g} s: {error.details()}") from (
                        error
                    )
            time.sleep(pause)
            pause *= 2


def _unreadable(error: Exception) -> BadAnswer:
    """For what came from the gate and is no answer to be opened."""
    return BadAnswer(f"the gate's answer cannot be opened: {error!r}")


def _explained(error: grpc.RpcError) -> GateError:
    """The refusal inside an RPC error."""
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Unreachable(f"no answer in time: {error.details()}")
    status = rpc_status.from_call(error)
    reason, retry = error.code().name, None
    for detail in () if status is None else status.details:
        info, wait = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(wait):
            retry = wait.retry_delay.ToNanoseconds() / 1e9
    return Refused(reason, error.details() or reason, retry)
