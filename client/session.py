"""A session with a gate: ask, solve, redeem, open; and where the time went.

with Session("gate.example:50051", key="…", tls=True) as session:
    probabilities = session.predict(images)
"""

from __future__ import annotations

import logging
import math
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from client.calls import Calls, check_seconds
from client.channel import credentials, endpoint
from client.errors import (
    ASKED_ANEW,
    SPOILT,
    BadAnswer,
    Closed,
    DeadlineExceeded,
    GateError,
    Refused,
    TooMuchWork,
    Unreachable,
    about,
)
from client.inputs import as_inputs
from client.offer import Exchange, Offer, Spent
from client.solving import DEADLINE, MAX_WORK, Solving
from client.wire import (
    Account,
    ForeignPuzzle,
    Service,
    open_answer,
    read_account,
    read_challenge,
    read_service,
)
from protos import codec
from protos import gate_pb2 as pb
from protos.gate_pb2_grpc import GateStub

__all__ = [
    "Account",
    "BadAnswer",
    "Closed",
    "DeadlineExceeded",
    "Exchange",
    "GateError",
    "Refused",
    "Service",
    "Session",
    "TooMuchWork",
    "Unreachable",
]

PAYMENTS = 3
"""How often an offer is paid for, at most: one that expired while it was solved is asked anew."""

_LOG = logging.getLogger("powgate.client")


class Session:
    """A client of one gate. Threads may share it; each predict() is one request and one payment.

    Give `key` for a gate with API keys, `client_id` for an open one. `tls=True` trusts the
    system's certificates, `ca` those of a PEM file; a key is sent in clear only to this machine,
    or with `insecure=True`. `name` is the gate's public name where it is dialled under another.

    `timeout` bounds each call in seconds, and how long a gate that is away or full is asked again;
    `deadline` all of predict(), solving included; `max_work` what is solved for one answer, in
    expected hashes (client.solving). None is no bound. `threads` is what the solver may use.
    `observe` is told of every exchange; what it raises is logged, once. `stub`, `clock` and `sleep`
    stand in for a gate and for time. Raises ValueError for arguments that cannot be.
    """

    def __init__(
        self,
        target: str,
        *,
        key: str | None = None,
        client_id: str | None = None,
        ca: Path | str | None = None,
        tls: bool = False,
        insecure: bool = False,
        name: str | None = None,
        solver: Literal["native", "python", "virtual"] = "native",
        threads: int = 1,
        timeout: float = 60.0,
        deadline: float | None = DEADLINE,
        max_work: int | None = MAX_WORK,
        observe: Callable[[Exchange], None] | None = None,
        rng: np.random.Generator | None = None,
        stub: Any = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        if deadline is not None:
            check_seconds("deadline", deadline)
        metadata = credentials(key, client_id)
        self._endpoint = endpoint(
            target, keyed=key is not None, ca=ca, tls=tls, insecure=insecure, name=name
        )
        self._call = Calls(
            metadata,
            timeout=timeout,
            fault=self._endpoint.fault if stub is None else lambda seconds: None,
            clock=clock,
            sleep=sleep,
        )
        self._solving = Solving(
            solver, threads=threads, max_work=max_work, rng=rng, cancel=self._call.closed
        )
        self._client_id = client_id
        self._deadline = math.inf if deadline is None else deadline
        self._observe = observe
        self._observe_failed = False
        self._clock = clock
        self._channel = self._endpoint.open() if stub is None else None
        self._stub = GateStub(self._channel) if stub is None else stub
        self._service: Service | None = None
        self._describing = threading.Lock()
        self._places = threading.Semaphore()  # as many as one account may have unpaid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the session; a puzzle being solved is given up."""
        self._call.closed.set()
        if self._channel is not None:
            self._channel.close()

    @property
    def service(self) -> Service:
        """What the gate serves, asked once. Raises Refused, Unreachable, BadAnswer, Closed.

        Also loads the compiled solver, about half a second that no answer should have to wait for.
        """
        return self._described(None)

    def account(self) -> Account:
        """What this client has asked so far. Raises Refused, Unreachable, BadAnswer, Closed."""
        return read_account(self._call(self._stub.GetAccount, pb.GetAccountRequest()))

    def predict(
        self, images: Any, *, request_id: str | uuid.UUID | None = None
    ) -> NDArray[np.float32]:
        """Class probabilities (b, k) of inputs (b, *shape), uint8 or floats in [0, 1].

        What else is taken says client.inputs; one image is a batch of 1. Threads beyond
        the gate's `max_unpaid` wait for their turn. A gate that is away or full is asked again with
        the same request id, so that nothing is charged twice; give the UUID yourself to ask the
        same request again later, or take that of the GateError. Raises core.arrays.InvalidInputs
        and ValueError before anything is sent, and Refused, Unreachable, BadAnswer, TooMuchWork,
        DeadlineExceeded, Closed.
        """
        with self._request(request_id) as (mine, until):
            batch = self._batch(images, until)
            with self._turn(self._places, until):
                offer = self._solving.kept_offer(mine, batch)
                if offer is None or self._clock() >= offer.until:
                    offer = self._offered(batch, mine, until, unpaid_waits=True)
                return self._paid(offer, until)

    def offer(self, images: Any, *, request_id: str | uuid.UUID | None = None) -> Offer:
        """What an answer to images costs, and the answer itself, under seal.

        The account is charged, and has one unpaid batch more until the offer is accepted; the gate
        allows `service.max_unpaid` of them, and this does not wait for one. Raises as predict()
        does, but for TooMuchWork: nothing is solved.
        """
        with self._request(request_id) as (mine, until):
            # a copy: the caller's array may hold others when this has expired and is asked again
            return self._offered(self._batch(images, until).copy(), mine, until)

    def accept(self, offer: Offer) -> NDArray[np.float32]:
        """Pays for an offer: class probabilities (b, k).

        One that has expired is asked for again, under its own request id, so that nothing is
        charged twice. Raises as predict() does.
        """
        with self._request(offer.request_id) as (_, until):
            return self._paid(offer, until)

    @contextmanager
    def _request(self, request_id: str | uuid.UUID | None) -> Iterator[tuple[str, float]]:
        """The id of a request, which all its errors name, and its deadline on the clock."""
        mine = request_uuid(request_id)
        with about(mine):
            yield mine, self._clock() + self._deadline

    def _described(self, stale: Service | None, until: float = math.inf) -> Service:
        """What the gate serves, asked anew if that is what was known so far."""
        began = self._clock()  # who waits for another's call has waited for the gate
        with self._turn(self._describing, until):
            self._call.check_open()
            if self._service is stale:
                said = self._call(
                    self._stub.Describe, pb.DescribeRequest(), until=until, began=began
                )
                service = read_service(said, self._endpoint, self._client_id)
                if self._service is None:
                    self._solving.get_ready(service.algorithm)
                    self._places = threading.Semaphore(service.max_unpaid)
                self._service = service
            assert self._service is not None
            return self._service

    def _batch(self, images: Any, until: float) -> NDArray[Any]:
        service = self._described(None, until)
        return as_inputs(images, service.shape, service.max_batch)

    def _offered(
        self, batch: NDArray[Any], request_id: str, until: float, *, unpaid_waits: bool = False
    ) -> Offer:
        """The gate's offer, checked."""
        started, cpu = time.perf_counter(), time.process_time()
        service = self._described(None, until)
        request = pb.PredictRequest(request_id=request_id, inputs=codec.encode(batch))
        sealed = self._call(self._stub.Predict, request, until=until, unpaid_waits=unpaid_waits)
        try:
            challenge = read_challenge(sealed, request, batch, service)
        except ForeignPuzzle:  # the gate may have been restarted, and have another audience
            challenge = read_challenge(sealed, request, batch, self._described(service, until))
        return Offer(
            request_id=request_id,
            images=batch,
            until=self._clock() + challenge.expires - challenge.issued,
            seconds=time.perf_counter() - started,
            cpu=time.process_time() - cpu,
            sent=request.ByteSize(),
            sealed=sealed,
            challenge=challenge,
        )

    def _paid(self, offer: Offer, until: float) -> NDArray[np.float32]:
        """The answer of an offer, solved and redeemed; asked for anew where it expired."""
        service = self._described(None, until)
        started, cpu = time.perf_counter(), time.process_time()
        spent = Spent(offer)
        for attempt in range(1, PAYMENTS + 1):
            if self._clock() >= offer.until:
                offer = self._offered(offer.images, offer.request_id, until, unpaid_waits=True)
                spent.asked(offer)
            try:
                key = self._key(offer, spent, service.hash_rate, until)
                break
            except Refused as error:
                if error.reason not in ASKED_ANEW or attempt == PAYMENTS:
                    raise
                offer = replace(offer, until=-math.inf)
        opening = time.perf_counter()
        answer = open_answer(offer.sealed, key, images=len(offer.images), classes=service.classes)
        opened = time.perf_counter() - opening
        spent.seconds += time.perf_counter() - started
        spent.cpu += time.process_time() - cpu
        self._tell(spent.exchange(offer, solver=self._solving.solver, opened=opened))
        return answer

    def _key(self, offer: Offer, spent: Spent, rate: float, until: float) -> bytes:
        """The key of an offer: given, or solved for and redeemed."""
        sealed = offer.sealed
        if sealed.HasField("key"):
            return bytes(sealed.key.key)
        solution = self._solving.kept_solution(offer)
        if solution is None:
            seconds = until - self._clock()
            solution = self._solving.solution(offer, seconds=seconds, rate=rate, before=spent.work)
            spent.solved(offer.challenge.puzzle, solution)
        redeem = pb.RedeemRequest(challenge=sealed.challenge, counters=solution.counters)
        try:
            paid = self._call(self._stub.Redeem, redeem, until=until)
        except Refused as error:
            if error.reason in SPOILT:
                self._solving.drop(offer)
            raise
        self._solving.drop(offer)
        spent.moved(redeem.ByteSize(), paid.ByteSize())
        return bytes(paid.key)

    @contextmanager
    def _turn(self, turns: threading.Lock | threading.Semaphore, until: float) -> Iterator[None]:
        """Waits for a turn among the threads of this session. Raises DeadlineExceeded, Closed."""
        while not turns.acquire(timeout=0.2):
            self._call.check_open()
            if self._clock() >= until:
                raise DeadlineExceeded("the deadline passed before earlier requests had ended")
        try:
            yield
        finally:
            turns.release()

    def _tell(self, exchange: Exchange) -> None:
        """Calls the observer, whose failure must not cost a paid answer."""
        try:
            if self._observe is not None:
                self._observe(exchange)
        except Exception:
            if not self._observe_failed:
                _LOG.exception("observe failed (logged once); the answer is given all the same")
            self._observe_failed = True


def request_uuid(request_id: str | uuid.UUID | None) -> str:
    """The id of a request as gates take it, a fresh one for None. Raises ValueError."""
    if request_id is None:
        return str(uuid.uuid4())
    if isinstance(request_id, uuid.UUID):
        return str(request_id)
    try:
        canonical = str(uuid.UUID(request_id))
    except (AttributeError, TypeError, ValueError):
        canonical = f"as a UUID, such as {uuid.UUID(int=4)}"
    if canonical != request_id:
        raise ValueError(f"request id is {request_id!r:.80}; expected it written {canonical}")
    return request_id
