"""What `python -m experiments bench` measures: steps, ledger, and whole queries, a probe each.

Pure computation counts the CPU time of its thread, with torch on one thread; whatever crosses
threads or processes counts wall time. Axes: b images, c channels, h rows, w columns, k classes.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from client.session import Session
from core.arrays import to_float
from core.learning import artifacts, networks
from core.privacy.pate import gnmax_epsilon
from experiments.arm import LISTENING, RunError, healthy
from experiments.commands import PYTHON
from experiments.processes import POLL, Child, stop
from pow.audience import Audience
from pow.challenge import Challenge, Keyring, verify_counters
from pow.puzzle import Puzzle
from pow.solver import solve
from protos import codec
from server.ledger import DIGEST_BYTES, MAX_UNPAID, NANO, Account, Batch, Ledger
from server.ledger.sqlite import SqliteLedger
from server.measures import Measure, heads, teachers
from server.measures.votes import DELTA, SIGMA_SHARE
from server.pricing import Band, PolicyTariff, Rate, Score
from server.puzzles import Puzzles
from server.victims.local import LocalVictim

BATCH = 64
SHAPE = (1, 28, 28)
CLASSES = 10
CALLERS = (1, 16, 64)
RECORD_BYTES = 256  # about what one charge has to say
PATIENCE = 60.0  # seconds for the server to come up

BAND = Band((1, 64, 8192), ((0.5, 0.14, 0.13), (0.5, 0.14, 0.12), (0.5, 0.14, 0.11)))
TAIL = Band((1, 64, 8192), ((0.3, 0.03, 0.02), (0.3, 0.03, 0.02), (0.3, 0.03, 0.02)))
SCORES = (Score(0.0, 0.1, BAND, 8.0), Score(0.2, 0.01, TAIL, 2.0))
THRESHOLDS = [round(score.threshold * NANO) for score in SCORES[1:]]
POLICY = Rate(SCORES, tolerance=0.05, t_min=0.002, t_max=16.0)
COST = 2 * NANO // 10  # of an image twice as dear as an honest one, so that it is priced

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Row:
    """One measured quantity."""

    name: str
    what: str
    unit: str  # us, ms, or 1/s
    clock: str  # "cpu" of the thread, or "wall"
    against: str | None = None  # the row it is compared with


@dataclass(frozen=True, slots=True)
class Probe:
    """Something to measure; each call of `once` gives samples, at least one, for each row."""

    rows: tuple[Row, ...]
    once: Callable[[], Sequence[list[float]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is done in one round."""

    quick: int = 200  # calls of what takes microseconds
    slow: int = 5  # calls of what takes milliseconds
    heads: int = 250
    teachers: int = 50
    spell: float = 0.1  # seconds of what waits for the disk
    requests: int = 25


def cpu(call: Callable[[], object], times: int, scale: float) -> list[float]:
    """CPU time of this thread for one call, the mean over `times`; scale 1e6 gives microseconds."""
    started = time.thread_time()
    for _ in range(times):
        call()
    return [(time.thread_time() - started) / times * scale]


def computing(sizes: Sizes, seed: int) -> Iterator[Probe]:
    """What happens inside one thread: codec, accounting, victim and voters, price, challenge."""
    rng = np.random.default_rng(seed)
    raw = rng.integers(0, 256, (BATCH, *SHAPE), dtype=np.uint8)
    pixels = to_float(raw)

    def probe(row: Row, call: Callable[[], object]) -> Probe:
        times, scale = (sizes.quick, 1e6) if row.unit == "us" else (sizes.slow, 1e3)
        return Probe((row,), lambda: [cpu(call, times, scale)])

    for images in (raw, pixels):
        kind = images.dtype.name
        row = Row(f"codec_{kind}", f"codec to bytes and back, 64x1x28x28 {kind}", "us", "cpu")
        yield probe(row, partial(_there_and_back, images))

    votes, sigma = _votes(rng), 250 / SIGMA_SHARE
    row = Row("pate", "GNMax epsilon, 64 rows of 10 classes", "ms", "cpu")
    yield probe(row, partial(gnmax_epsilon, votes, sigma, DELTA))

    victim = LocalVictim(networks.build("lenet", SHAPE, CLASSES, seed=seed))
    answer = victim.answer(pixels)
    row = Row("victim", "victim lenet, 64 images", "ms", "cpu")
    yield probe(row, partial(victim.answer, pixels))
    voters: tuple[tuple[str, int, Measure], ...] = (
        ("heads", sizes.heads, untrained_heads(sizes.heads, victim, seed=seed)),
        ("teachers", sizes.teachers, _untrained_teachers(sizes.teachers, seed)),
    )
    for name, count, measure in voters:
        row = Row(name, f"measure {name}, N = {count}, 64 images", "ms", "cpu", "victim")
        yield probe(row, partial(measure.cost, pixels, answer))

    account = Account()
    for _ in range(100):
        account = account.with_batch(_batch(), THRESHOLDS)
    yield probe(Row("price", "Rate.price", "us", "cpu"), partial(POLICY.price, account))
    row = Row("counting", "Account.with_batch", "us", "cpu")
    yield probe(row, partial(account.with_batch, _batch(), THRESHOLDS))
    yield _challenge(sizes, rng)


def _batch() -> Batch:
    """Images that no ledger has seen."""
    return Batch((COST,) * BATCH, tuple(os.urandom(DIGEST_BYTES) for _ in range(BATCH)))


def _there_and_back(images: NDArray[Any]) -> NDArray[Any]:
    return codec.loads(codec.dumps(images))


def _votes(rng: np.random.Generator) -> NDArray[np.int64]:
    """Votes (64, 10) of 250 voters: most images are clear to nearly all of them, a few are not."""
    sure = rng.beta(8, 1, BATCH)
    rest = rng.dirichlet(np.full(CLASSES - 1, 0.3), BATCH)
    shares = np.column_stack([sure, (1 - sure)[:, None] * rest])
    return rng.multinomial(250, shares / shares.sum(axis=1, keepdims=True))


def untrained_heads(count: int, victim: LocalVictim, *, seed: int) -> heads.Heads:
    """Heads that mostly agree, as trained ones do: what their votes cost depends on that."""
    rng = np.random.default_rng(seed)
    width, out = victim.network.width, count * victim.classes
    shared = rng.standard_normal((width, 1, victim.classes), np.float32)
    own = rng.standard_normal((width, count, victim.classes), np.float32)
    return heads.Heads(
        heads.Config(heads=count, sigma=count / SIGMA_SHARE),
        center=np.zeros(width, np.float32),
        scale=np.ones(width, np.float32),
        weight=(shared + shared + own).reshape(width, out),
        bias=np.zeros(out, np.float32),
    )


def _untrained_teachers(count: int, seed: int) -> teachers.Teachers:
    config = teachers.Config(teachers=count, sigma=count / SIGMA_SHARE, schedule={})
    ensemble = [networks.build(config.network, SHAPE, CLASSES, seed=seed + i) for i in range(count)]
    return teachers.Teachers(config, [network.eval() for network in ensemble])


def _challenge(sizes: Sizes, rng: np.random.Generator) -> Probe:
    """Sixteen stamps: what the gate does with them at Predict, and what at Redeem."""
    ring = Keyring([rng.bytes(32)])
    posterior = rng.dirichlet(np.ones(CLASSES), BATCH).astype(np.float32)
    audience = Audience(fingerprint="0" * 16, ledger="0" * 16, books="0" * 16, calibration="0" * 16)
    client, now = "client", time.time()
    issue = partial(
        ring.issue,
        audience=str(audience),
        client=client,
        now=now,
        expires=int(now) + 600,
    )
    request_id, digest, nonce = str(uuid.UUID(int=4)), rng.bytes(32), bytes(12)

    def seal() -> Challenge:
        challenge = issue(Puzzle("sha1", 8, 16), request_id=request_id, digest=digest)
        key = ring.sealing_key(challenge)
        AESGCM(key).encrypt(nonce, codec.dumps(posterior), challenge.token)
        return challenge

    def redeem() -> bytes:
        challenge = ring.verify(issued.token, client=client, now=now)
        verify_counters(challenge, counters)
        return ring.sealing_key(challenge)

    issued = seal()
    counters = solve(issued, solver="python").counters

    def once() -> list[list[float]]:
        at_predict, at_redeem = (cpu(call, sizes.quick, 1e6) for call in (seal, redeem))
        return [at_predict, at_redeem, [at_predict[0] + at_redeem[0]]]

    rows = (
        Row("seal", "issue a challenge, seal 64x10 with AES-GCM", "us", "cpu"),
        Row("redeem", "verify a challenge and its 16 stamps, key", "us", "cpu"),
        Row("challenge", "both", "us", "cpu"),
    )
    return Probe(rows, once)


def durable(sizes: Sizes, folder: Path, stack: ExitStack) -> Iterator[Probe]:
    """What must be on the disk before it is answered: charges, and bare appends beside them."""
    handle = os.open(folder / "appended", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    stack.callback(os.close, handle)
    flush = getattr(os, "fdatasync", os.fsync)  # not on macOS
    bare = Row("disk", f"append {RECORD_BYTES} bytes and fdatasync, one by one", "1/s", "wall")

    def append() -> list[list[float]]:
        done, started = 0, time.perf_counter()
        while not done or time.perf_counter() - started < sizes.spell:
            os.write(handle, bytes(RECORD_BYTES))
            flush(handle)
            done += 1
        return [[done / (time.perf_counter() - started)]]

    yield Probe((bare,), append)
    tariff = PolicyTariff(POLICY, 1e7, SCORES[0].honest, Puzzles("sha1"))
    ledger = SqliteLedger(
        folder / "ledger.db", fingerprint="f" * 64, tariff=tariff, clock=time.time
    )
    stack.callback(ledger.close)
    serial = itertools.count()
    for callers in CALLERS:
        what = f"ledger charges, {callers} caller{'s' * (callers > 1)} in flight"

        def charge(callers: int = callers) -> list[list[float]]:
            return [[asyncio.run(_charges_per_second(ledger, callers, sizes.spell, serial))]]

        yield Probe((Row(f"ledger_{callers}", what, "1/s", "wall", "disk"),), charge)


async def _charges_per_second(
    ledger: Ledger, callers: int, spell: float, serial: Iterator[int]
) -> float:
    asking = _batch()

    async def caller() -> int:
        for done in itertools.count():
            if done and time.perf_counter() - started >= spell:
                break
            if done % MAX_UNPAID == 0:  # where the ledger would refuse this client, who never pays
                client = f"client {next(serial)}"
            request_id = f"{next(serial):036}"  # as long as a UUID, and cheaper to make
            asked = ledger.ask(client, request_id, bytes(32), asking)
            await asyncio.wrap_future(asked)
        return done

    started = time.perf_counter()
    done = sum(await asyncio.gather(*(caller() for _ in range(callers))))
    return done / (time.perf_counter() - started)


class WatchedSession(Session):
    """A session that adds up how long its calls took, so that what is left is its own time."""

    calling = 0.0  # seconds

    def _call(self, method: Callable[..., _T], request: Any, **options: Any) -> _T:
        started = time.perf_counter()
        try:
            return super()._call(method, request, **options)
        finally:
            self.calling += time.perf_counter() - started


def loopback(target: str, sizes: Sizes, stack: ExitStack, seed: int) -> Iterator[Probe]:
    """Whole queries of one client to the gate at `target`, which must ask for no work."""
    serving: list[float] = []  # seconds, of the receipts
    session = WatchedSession(
        target,
        client_id="bench",
        solver="python",
        observe=lambda exchange: serving.append(exchange.server),
    )
    stack.enter_context(session)
    rng = np.random.default_rng(seed)
    for batch in (BATCH, 1):
        images = rng.integers(0, 256, (batch, *session.service.shape), dtype=np.uint8)

        def ask(images: NDArray[np.uint8] = images) -> list[list[float]]:
            samples: list[list[float]] = [[], [], [], []]
            total, network, server, own = samples
            for _ in range(sizes.requests):
                called, started = session.calling, time.perf_counter()
                session.predict(images)
                seconds, waited = time.perf_counter() - started, session.calling - called
                served = serving.pop()
                total.append(seconds * 1e3)
                network.append((waited - served) * 1e3)
                server.append(served * 1e3)
                own.append((seconds - waited) * 1e3)
            return samples

        name, what = f"predict_{batch}", f"predict() over loopback, batch {batch}"
        rows = (
            Row(name, what, "ms", "wall"),
            Row(f"{name}_network", "  of which network and gRPC", "ms", "wall"),
            Row(f"{name}_server", "  of which server, by the receipt", "ms", "wall"),
            Row(f"{name}_own", "  of which the client's own (at most 5)", "ms", "wall"),
        )
        yield Probe(rows, ask)


@contextmanager
def serving(home: Path, model: str, folder: Path) -> Iterator[str]:
    """A gate in a process of its own, policy none; yields its address. Raises RunError."""
    command = [
        *(PYTHON, "-m", "server", "serve", "--home", str(home), "--model", model),
        *("--measure", "heads", "--policy", "none", "--port", "0", "--open"),
        *("--ledger", str(folder / "served.db")),
    ]
    server = Child("server", command, folder / "server.txt")
    try:
        deadline = time.monotonic() + PATIENCE
        while not (found := LISTENING.search(server.text())):
            if server.code() is not None or time.monotonic() > deadline:
                said = server.tail().removeprefix("error: ") or "it said nothing"
                raise RunError(f"the server did not start: {said}")
            time.sleep(POLL)
        healthy(found[1], PATIENCE)
        yield found[1]
    finally:
        stop([server], grace=10.0)


def untrained_model(home: Path, sizes: Sizes, seed: int) -> str:
    """Writes a lenet and its heads, as fast as trained ones, under `home`; gives their name."""
    files = home / "models" / "untrained"
    network = networks.build("lenet", SHAPE, CLASSES, seed=seed)
    facts = {"dataset": "none", "split": "none", "seed": seed}
    artifacts.save_network(files / "victim.safetensors", network, **facts)
    measure = untrained_heads(sizes.heads, LocalVictim(network), seed=seed)
    about = {
        "kind": "measure",
        "measure": "heads",
        "victim": artifacts.weights_digest(network),
        "config": measure.config(),
    }
    artifacts.save(files / "heads.safetensors", measure.arrays(), about)
    return files.name
