"""Gates served by a thread of the tests' own process."""

import asyncio
import threading
from concurrent.futures import Future
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from unittest import mock

import grpc
import numpy as np
from ledgers import Clock, Flat

from pow.challenge import Keyring
from protos import codec
from protos.gate_pb2_grpc import GateStub
from server import serve
from server.authentication import NoAuthentication
from server.gate import Gate
from server.ledger.sqlite import SqliteLedger
from server.model import Model
from server.victims import Answer, Victim

NOW = 1_790_000_000.0


class FakeVictim(Victim):
    """Says the class of an image's mean brightness; counts how often it was asked."""

    classes = 3
    outputs = "logits"

    def __init__(self, shape) -> None:
        self.shape = shape
        self.asked = 0

    def answer(self, inputs):
        self.asked += 1
        mean = inputs.reshape(len(inputs), -1).mean(axis=1)
        logits = np.stack([-np.abs(mean - at) * 8 for at in (0.0, 0.5, 1.0)], axis=1)
        return Answer.of_logits(logits.astype(np.float32))


class FakeMeasure:
    """One unit an image."""

    def __init__(self) -> None:
        self.asked = 0

    def cost(self, inputs, answer):
        self.asked += 1
        return np.ones(len(inputs))


@dataclass
class RunningGate:
    """A gate under test, with its inner parts in reach."""

    address: str
    victim: FakeVictim
    measure: FakeMeasure
    ledger: object
    clock: Clock  # Unix seconds that only move when told to
    records: list
    channel: grpc.Channel  # to it, which connects when it is used
    stub: GateStub

    @property
    def computed(self) -> int:
        """How often the victim was run, the warm-up apart."""
        return self.victim.asked - 1


@contextmanager
def running_gate(
    *,
    hashes=64,
    algorithm="sha1",
    ledger=None,
    shape=(1, 4, 4),
    fingerprint="f" * 64,
    authenticator=None,
    tls=None,
    limits=None,
    **fields,
):
    """A gate that is served; `fields` are those of the gate itself."""
    clock, victim, measure, records = Clock(NOW), FakeVictim(shape), FakeMeasure(), []
    if ledger is None:
        made = SqliteLedger(
            ":memory:",
            fingerprint="f",
            tariff=Flat(hashes=hashes, algorithm=algorithm),
            clock=clock,
        )
        held = closing(made)
    else:
        held = nullcontext(ledger)
    defaults = {
        "hash_rate": 1e6,
        "record": lambda kind, **fields: records.append({"kind": kind, **fields}),
        "clock": clock,
        "elapsed": clock,
    }
    with held as ledger:
        gate = Gate(
            model=Model("fake", "nothing", victim, measure, fingerprint),
            ledger=ledger,
            keyring=Keyring([bytes(range(32))]),
            encode=codec.dumps,
            algorithm=algorithm,
            **(defaults | fields),
        )
        with (
            served(gate, authenticator or NoAuthentication(), tls=tls, limits=limits) as address,
            grpc.insecure_channel(address) as channel,
        ):
            stub = GateStub(channel)
            yield RunningGate(address, victim, measure, ledger, clock, records, channel, stub)


@contextmanager
def served(gate, authenticator, address="127.0.0.1:0", tls=None, limits=None):
    """Serves a gate; the address it listens on. What serving raises is raised here."""
    started, stopped = Future(), Future()

    async def main():
        async with serve.running(gate, authenticator, address, tls, limits) as listening:
            started.set_result((listening, asyncio.get_running_loop(), stop := asyncio.Event()))
            await stop.wait()

    def run():
        try:
            stopped.set_result(asyncio.run(main()))
        except BaseException as error:
            (stopped if started.done() else started).set_exception(error)

    with mock.patch.object(serve, "SETTLING_SECONDS", 0.05):
        thread = threading.Thread(target=run)
        thread.start()
        listening, loop, stop = started.result()
        try:
            yield listening
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()
        stopped.result()
