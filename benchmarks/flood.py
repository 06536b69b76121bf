"""What a client can do to a gate, and to an honest user of it, by asking as fast as it can.

The gate asks everybody for a little memory-hard work, so that refusing wrong stamps costs it the
most. An honest user asks at a pace; beside it a flooder redeems one challenge without pause, or
sends questions that it never pays for, with and without a key. Each time it is another client: a
gate remembers wrong answers.
"""

from __future__ import annotations

import itertools
import multiprocessing
import time
import uuid
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import numpy as np

from benchmarks import turns
from benchmarks.gate import FLAT, serving
from benchmarks.measures import SHAPE
from benchmarks.turns import Probe, Row
from client.calls import refusal
from client.errors import Refused
from client.offer import Exchange
from client.session import Session
from core.environment import DIRECT
from pow.challenge import Challenge
from pow.solver import solve
from protos import codec
from protos import gate_pb2 as pb
from protos.gate_pb2_grpc import GateStub

NEW, SAME, RIGHT = "new wrong counters", "the same wrong counters", "the right counters again"
KEYLESS, UNPAID = "questions without a key", "questions never paid for"
QUIET = "quiet"

IMAGES = np.zeros((16, *SHAPE), np.uint8)

Metadata = tuple[tuple[str, str], ...]

AT_ONCE = 64  # questions of the flooder under way; of Redeems one
PACE = 0.05  # seconds between two requests of the honest user


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags(turns.Flags):
    """Measure what a client can do to the gate by asking without pause, under argon2id."""

    rounds: int = 1
    """Floods of each kind."""
    seconds: float = 10.0
    """How long one lasts."""


def probes(flags: Flags, stack: ExitStack) -> Iterator[Probe]:
    """What the honest user waits for the gate, the gate's CPU, and what the flooder got done."""
    if not 0 < flags.seconds <= 3600:
        raise ValueError(f"--seconds is {flags.seconds}; expected above 0, at most 3600")
    context = multiprocessing.get_context("spawn")
    pool = stack.enter_context(ProcessPoolExecutor(1, mp_context=context))
    address, used = stack.enter_context(serving(FLAT))
    pool.submit(flood, address, KEYLESS, 0.0).result()  # its imports are not measured
    for kind in (QUIET, NEW, SAME, RIGHT, KEYLESS, UNPAID):
        rows = (
            Row(f"{kind}: an honest user waits", "ms", "wall"),
            Row(f"{kind}: CPU of the gate, of one core", ""),
            Row(f"{kind}: answers to the flooder", "1/s", "wall"),
            Row(f"{kind}: of these not refused unread", "1/s", "wall"),
        )

        def once(kind: str = kind) -> list[list[float]]:
            cpu, start = used(), time.monotonic()
            flooding = pool.submit(flood, address, kind, flags.seconds)
            waited = ask_at_a_pace(address, flags.seconds)
            share = (used() - cpu) / (time.monotonic() - start)
            answers = flooding.result()
            done = answers["DONE"] + answers["WRONG_COUNTERS"]
            return [waited, [share], [answers.total() / flags.seconds], [done / flags.seconds]]

        yield Probe(rows, once, warm=False)


def ask_at_a_pace(address: str, seconds: float) -> list[float]:
    """The honest user: milliseconds each predict() waited for the gate, its solving apart."""
    exchanges: list[Exchange] = []
    with Session(address, client_id="honest", observe=exchanges.append) as session:
        session.predict(IMAGES)  # what happens once is not measured
        end = time.monotonic() + seconds
        while len(exchanges) < 2 or time.monotonic() < end:
            session.predict(IMAGES)
            time.sleep(PACE)
    return [1e3 * (exchange.network + exchange.server) for exchange in exchanges[1:]]


def flood(address: str, kind: str, seconds: float) -> Counter[str]:
    """The flooder: how often each answer came, by reason."""
    seen: Counter[str] = Counter()
    asking = kind in (KEYLESS, UNPAID)
    metadata = (("client-id", str(uuid.uuid4())),)
    with grpc.insecure_channel(address, DIRECT) as channel:
        stub = GateStub(channel)
        if kind == QUIET:
            return seen
        if asking:
            send = partial(_ask, stub, metadata if kind == UNPAID else ())
        else:
            token = _ask(stub, metadata).result().challenge
            send = partial(_redeem, stub, metadata, token, _guesses(kind, Challenge.parse(token)))
        waiting: deque[Any] = deque()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            waiting.append(send())
            if len(waiting) >= (AT_ONCE if asking else 1):
                error = waiting.popleft().exception()
                told = None if error is None else refusal(error)
                seen[told.reason if isinstance(told, Refused) else str(told or "DONE")] += 1
        for call in waiting:
            call.cancel()
    return seen


def _ask(stub: GateStub, metadata: Metadata) -> Any:
    asked = pb.PredictRequest(request_id=str(uuid.uuid4()), inputs=codec.encode(IMAGES))
    return stub.Predict.future(asked, metadata=metadata)


def _redeem(stub: GateStub, metadata: Metadata, token: bytes, guesses: Iterator[list[str]]) -> Any:
    sent = pb.RedeemRequest(challenge=token, counters=next(guesses))
    return stub.Redeem.future(sent, metadata=metadata)


def _guesses(kind: str, challenge: Challenge) -> Iterator[list[str]]:
    if kind == RIGHT:
        return itertools.repeat(list(solve(challenge).counters))
    numbers = itertools.count() if kind == NEW else itertools.repeat(0)
    return ([f"{n:08x}{part:02x}" for part in range(challenge.puzzle.count)] for n in numbers)
