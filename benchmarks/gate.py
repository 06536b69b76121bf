"""What the gate costs: its ledger, beside bare appends to the same disk, and whole queries.

`benchmarks.measures` and `benchmarks.puzzles` say what measures and puzzles take of it.
"""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import turns
from benchmarks.measures import BATCH, untrained_victim
from benchmarks.turns import Probe, Row, single
from client.offer import Exchange
from client.session import Session
from pow.challenge import Keyring
from protos import codec
from server.authentication import NoAuthentication
from server.gate import Gate
from server.ledger import DIGEST_BYTES, MAX_UNPAID, NANO, Batch, Ledger
from server.ledger.sqlite import SqliteLedger
from server.measures.entropy import Entropy
from server.model import Model
from server.pricing import PolicyTariff, no_price
from server.pricing.paper import Paper
from server.puzzles import Puzzles
from server.serve import running

SPELL = 0.1  # seconds of what waits for the disk, in a round
REQUESTS = 25  # whole queries of each size, in a round
RECORD_BYTES = 256  # about what one charge has to say

FLAT = PolicyTariff(Paper(1.0, 0.0, 0.0, 1.0, 1.0), 256.0, 0.0, Puzzles("argon2id"))
"""64 tries for 16 images, whoever asks: the least that argon2id is asked for."""


Flags = turns.Flags


def probes(flags: Flags, stack: ExitStack) -> Iterator[Probe]:
    """All of it."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="powgate-gate-")))
    yield from durable(folder, stack)
    address, _ = stack.enter_context(serving(no_price("sha1")))
    yield from loopback(address, stack)


def durable(folder: Path, stack: ExitStack) -> Iterator[Probe]:
    """What must be on the disk before it is answered: charges, and bare appends beside them."""
    handle = os.open(folder / "appended", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    stack.callback(os.close, handle)
    flush = getattr(os, "fdatasync", os.fsync)  # not on macOS

    def append() -> float:
        done, started = 0, time.perf_counter()
        while not done or time.perf_counter() - started < SPELL:
            os.write(handle, bytes(RECORD_BYTES))
            flush(handle)
            done += 1
        return done / (time.perf_counter() - started)

    bare = Row(f"append {RECORD_BYTES} bytes and fdatasync, one by one", "1/s", "wall")
    yield single(bare, append)
    file = folder / "ledger.db"
    ledger = SqliteLedger(file, fingerprint="f" * 64, tariff=FLAT, clock=time.time)
    stack.callback(ledger.close)
    serial = itertools.count()
    for callers in (1, 16, 64):
        name = f"ledger charges, {callers} caller{'s' * (callers > 1)} in flight"
        row = Row(name, "1/s", "wall", against=bare.name)
        yield single(row, partial(_charges_per_second, ledger, callers, serial))


def _charges_per_second(ledger: Ledger, callers: int, serial: Iterator[int]) -> float:
    digests = tuple(os.urandom(DIGEST_BYTES) for _ in range(BATCH))  # seen by no ledger
    asking = Batch((NANO,) * BATCH, digests)
    started = time.perf_counter()

    async def caller() -> int:
        for done in itertools.count():
            if done and time.perf_counter() - started >= SPELL:
                break
            if done % MAX_UNPAID == 0:  # where the ledger would refuse this client, who never pays
                client = f"client {next(serial)}"
            request_id = f"{next(serial):036}"  # as long as a UUID, and cheaper to make
            await asyncio.wrap_future(ledger.ask(client, request_id, bytes(32), asking))
        return done

    async def all_callers() -> float:
        done = await asyncio.gather(*(caller() for _ in range(callers)))
        return sum(done) / (time.perf_counter() - started)

    return asyncio.run(all_callers())


def loopback(target: str, stack: ExitStack) -> Iterator[Probe]:
    """Whole queries of one client to the gate at `target`, which must ask for no work."""
    told: list[Exchange] = []
    session = Session(target, client_id="benchmark", solver="python", observe=told.append)
    stack.enter_context(session)
    rng = np.random.default_rng(0)

    def ask(images: NDArray[np.uint8]) -> list[list[float]]:
        samples = []
        for _ in range(REQUESTS):
            started = time.perf_counter()
            session.predict(images)
            seconds, found = time.perf_counter() - started, told.pop()
            own = seconds - found.network - found.server
            samples.append([1e3 * part for part in (seconds, found.network, found.server, own)])
        return [list(each) for each in zip(*samples, strict=True)]

    for batch in (BATCH, 1):
        images = rng.integers(0, 256, (batch, *session.service.shape), dtype=np.uint8)
        name = f"predict() over loopback, batch {batch}"
        rows = (
            Row(name, "ms", "wall"),
            Row(f"{name}: network and gRPC", "ms", "wall"),
            Row(f"{name}: server, by the receipt", "ms", "wall"),
            Row(f"{name}: the client's own", "ms", "wall", goal=5.0),
        )
        yield Probe(rows, partial(ask, images))


@contextmanager
def serving(tariff: PolicyTariff) -> Iterator[tuple[str, Callable[[], float]]]:
    """Yields the address, and what tells the CPU seconds that the gate has used."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with tempfile.TemporaryDirectory(prefix="powgate-benchmark-") as folder:
        file = Path(folder) / "ledger.db"
        process = context.Process(target=_run, args=(file, tariff, theirs), daemon=True)
        process.start()
        theirs.close()

        def used() -> float:
            ours.send("used")
            return float(ours.recv())

        try:
            yield ours.recv(), used
        finally:
            ours.close()
            process.join()


def _run(*arguments: Any) -> None:
    asyncio.run(_serve(*arguments))


async def _serve(file: Path, tariff: PolicyTariff, pipe: Connection) -> None:
    ledger = SqliteLedger(file, fingerprint="benchmark", tariff=tariff, clock=time.time)
    gate = Gate(
        model=Model("untrained", "none", untrained_victim(), Entropy(), "0" * 64),
        ledger=ledger,
        keyring=Keyring([bytes(range(32))]),
        encode=codec.dumps,
        algorithm=tariff.puzzles.algorithm,
    )
    async with running(gate, NoAuthentication(), "127.0.0.1:0") as address:
        pipe.send(address)
        try:
            while await asyncio.to_thread(pipe.recv):
                pipe.send(time.process_time())
        except EOFError:
            pass
    ledger.close()
