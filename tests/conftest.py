"""A gate on loopback in front of a victim that costs nothing, for tests of both ends."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import hypothesis
import numpy as np
import pytest

from core import environment

environment.settle()  # tests run as commands do

# Small networks on two cores: a second thread of torch only waits. Set before torch is imported,
# and inherited by the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell starts a background job with SIGINT ignored, which processes inherit. A handler that does
# nothing ignores it, too, and leaves those that tests start with their own.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, lambda number, frame: None)

# The same examples every time: a test that fails fails for everybody.
hypothesis.settings.register_profile("powgate", derandomize=True, deadline=None)
hypothesis.settings.load_profile("powgate")

SHAPE = (1, 4, 4)
CLASSES = 3


class FakeVictim:
    """Says the class of an image's mean brightness; counts how often it was asked."""

    classes = CLASSES
    dtypes = ("uint8", "float32")
    outputs = "logits"
    gives_features = False
    network = None

    def __init__(self, shape) -> None:
        self.shape = shape
        self.asked = 0

    def answer(self, images):
        from server.victims import Answer

        self.asked += 1
        mean = images.reshape(len(images), -1).mean(axis=1)
        logits = np.stack([-np.abs(mean - at) * 8 for at in (0.0, 0.5, 1.0)], axis=1)
        return Answer.of_logits(logits.astype(np.float32))


class FakeMeasure:
    """One unit an image."""

    def __init__(self) -> None:
        self.asked = 0

    def cost(self, images, answer):
        self.asked += 1
        return np.ones(len(images))


@dataclass
class FixedTariff:
    """The same work for every batch."""

    hashes: int = 64
    algorithm: str = "sha1"

    thresholds = ()

    def counts_at_once(self, before, after):
        return True

    def work(self, account, images):
        return self.hashes

    def puzzle(self, work, images, account):
        from fractions import Fraction

        from server.puzzles import Puzzles

        return Puzzles(self.algorithm, tries_per_hash=1.0).choose(work, Fraction(work * 64, images))


@dataclass
class Clock:
    """Unix seconds that only move when told to."""

    now: float = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class RunningGate:
    """A gate under test, with its inner parts in reach."""

    address: str
    victim: FakeVictim
    measure: FakeMeasure
    ledger: object
    clock: Clock
    records: list = field(default_factory=list)

    @property
    def computed(self) -> int:
        """How often the victim was run, the warm-up apart."""
        return self.victim.asked - 1


@contextmanager
def running_gate(
    *,
    hashes: int = 64,
    authenticator=None,
    tls=None,
    algorithm: str = "sha1",
    ledger=None,
    hash_rate: float = 1e6,
    shape: tuple[int, ...] = SHAPE,
    record=None,
    perturbation=None,
    fingerprint: str = "f" * 64,
    hosts: tuple[str, ...] = (),
    limits=None,
    elapsed=None,
) -> Iterator[RunningGate]:
    from gates import served

    from pow.challenge import Keyring
    from protos import codec
    from server.authentication import NoAuthentication
    from server.gate import Gate
    from server.ledger.sqlite import SqliteLedger
    from server.model import Model

    clock = Clock()
    victim, measure = FakeVictim(shape), FakeMeasure()
    own = ledger is None
    ledger = ledger or SqliteLedger(
        ":memory:", fingerprint="f", tariff=FixedTariff(hashes, algorithm), clock=clock
    )
    records: list = []
    gate = Gate(
        model=Model("fake", "nothing", victim, measure, fingerprint),
        ledger=ledger,
        keyring=Keyring([bytes(range(32))]),
        encode=codec.dumps,
        algorithm=algorithm,
        hash_rate=hash_rate,
        record=record or (lambda kind, **fields: records.append({"kind": kind, **fields})),
        clock=clock,
        elapsed=elapsed or clock,
        perturbation=perturbation,
        hosts=hosts,
    )
    try:
        with served(gate, authenticator or NoAuthentication(), tls=tls, limits=limits) as address:
            yield RunningGate(address, victim, measure, ledger, clock, records)
    finally:
        if own:
            ledger.close()


@pytest.fixture
def gate():
    """An open gate that asks for 64 hashes a batch."""
    with running_gate() as running:
        yield running


@pytest.fixture
def gate_with():
    """Starts gates as asked."""
    return running_gate


@pytest.fixture(scope="session")
def digits_home(tmp_path_factory):
    """A home folder that tests share for what takes long to make; nobody removes anything in it."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def stub(gate):
    import grpc

    from protos.gate_pb2_grpc import GateStub

    with grpc.insecure_channel(gate.address) as channel:
        yield GateStub(channel)
