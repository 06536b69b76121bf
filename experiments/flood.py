"""What a client can do to a gate by sending it counters as fast as it can, under argon2id.

A gate asks for memory-hard stamps; an honest user asks at a pace, and beside him a flooder redeems
one challenge without pause: with counters that are always new and wrong, with the same wrong ones,
or with the right ones again and again. For each, and for quiet, this measures what the flooder got
done, the gate's CPU time, and how long the honest user waited for the gate.
"""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import tempfile
import time
import uuid
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import grpc
import numpy as np
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from rich.console import Console
from rich.table import Table

from client.session import Exchange, Session
from core.environment import DIRECT
from core.records import provenance
from experiments import bench
from experiments.probes import SHAPE, Sizes, untrained_model
from pow.challenge import Challenge, Keyring
from pow.puzzle import Puzzle, puzzle_for
from pow.solver import solve
from protos import codec
from protos import gate_pb2 as pb
from protos.gate_pb2_grpc import GateStub
from server import model
from server.authentication import NoAuthentication
from server.gate import Gate
from server.ledger import Account
from server.ledger.sqlite import SqliteLedger
from server.serve import running

KINDS = ("quiet", "new wrong counters", "the same wrong counters", "the right counters again")

FLOODER = (("client-id", "flooder"),)

PACE = 0.05  # seconds between two requests of the honest user
BATCH = 16  # images of one


@dataclass(frozen=True, slots=True)
class SmallestWork:
    """A tariff that asks everyone for the least work that argon2id is asked for."""

    thresholds: ClassVar[tuple[int, ...]] = ()

    def counts_at_once(self, before: Account, after: Account) -> bool:
        """Every batch does."""
        return True

    def work(self, account: Account, images: int) -> int:
        """Tries of argon2id."""
        return 64

    def puzzle(self, work: int, images: int, account: Account) -> Puzzle:
        """Of argon2id."""
        return puzzle_for(work, "argon2id")


def redeem_without_pause(address: str, kind: str, seconds: float) -> dict[str, int]:
    """The flooder: how often each answer came, by reason ("KEY" for a key)."""
    seen: Counter[str] = Counter()
    with grpc.insecure_channel(address, DIRECT) as channel:
        stub = GateStub(channel)
        images = np.zeros((1, *SHAPE), np.uint8)
        asked = pb.PredictRequest(request_id=str(uuid.uuid4()), inputs=codec.encode(images))
        token = stub.Predict(asked, metadata=FLOODER).challenge
        count = Challenge.parse(token).puzzle.count
        right = solve(Challenge.parse(token)).counters
        numbers = itertools.count()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if kind == "the right counters again":
                counters = list(right)
            else:
                first = next(numbers) if kind == "new wrong counters" else 0
                counters = [f"{first:08x}{part:02x}" for part in range(count)]
            try:
                stub.Redeem(pb.RedeemRequest(challenge=token, counters=counters), metadata=FLOODER)
                seen["KEY"] += 1
            except grpc.RpcError as error:
                info = error_details_pb2.ErrorInfo()
                status = rpc_status.from_call(error)
                told = status is not None and any(part.Unpack(info) for part in status.details)
                seen[info.reason if told else error.code().name] += 1
    return dict(seen)


def ask_at_a_pace(address: str, seconds: float) -> list[float]:
    """The honest user: milliseconds waited for the gate by each predict(), its solving apart."""
    exchanges: list[Exchange] = []
    images = np.zeros((BATCH, *SHAPE), np.uint8)
    with Session(address, client_id="honest", observe=exchanges.append) as session:
        session.predict(images)  # what happens once is not measured
        end = time.monotonic() + seconds
        while len(exchanges) < 2 or time.monotonic() < end:
            session.predict(images)
            time.sleep(PACE)
    return [1e3 * (exchange.network + exchange.server) for exchange in exchanges[1:]]


async def _measure(seconds: float, home: Path) -> list[dict[str, Any]]:
    name = untrained_model(home, Sizes(), seed=0)
    ledger = SqliteLedger(
        home / "flood.db", fingerprint="flood", tariff=SmallestWork(), clock=time.time
    )
    served = model.load(home, name, "heads")
    loop = asyncio.get_running_loop()
    rows = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        for kind in KINDS:
            gate = Gate(  # anew: no wrong answer is remembered
                model=served,
                ledger=ledger,
                keyring=Keyring([bytes(range(32))]),
                encode=codec.dumps,
                algorithm="argon2id",
                hash_rate=1.0,
            )
            async with running(gate, NoAuthentication(), "127.0.0.1:0") as address:
                cpu, start = time.process_time(), time.monotonic()
                honest = loop.run_in_executor(pool, ask_at_a_pace, address, seconds)
                answers: dict[str, int] = {}
                if kind != "quiet":
                    answers = await loop.run_in_executor(
                        pool, redeem_without_pause, address, kind, seconds
                    )
                waited = await honest
                rows.append(
                    {
                        "kind": kind,
                        "answers": answers,
                        "redeems_per_second": sum(answers.values()) / seconds,
                        "gate_cpu_share": (time.process_time() - cpu) / (time.monotonic() - start),
                        "honest_ms": {
                            "p50": float(np.median(waited)),
                            "p99": float(np.quantile(waited, 0.99)),
                            "requests": len(waited),
                        },
                    }
                )
    ledger.close()
    return rows


def flood(seconds: float) -> dict[str, Any]:
    """Measures every kind of flood for so many seconds each."""
    with tempfile.TemporaryDirectory(prefix="powgate-flood-") as folder:
        rows = asyncio.run(_measure(seconds, Path(folder)))
    return {"seconds": seconds, "provenance": provenance(0), "rows": rows}


def tabulate(result: dict[str, Any]) -> Table:
    """The result for the terminal."""
    table = Table("flood", "answers", box=None, pad_edge=False)
    for heading in ("redeems/s", "gate CPU", "honest p50 ms", "p99 ms"):
        table.add_column(heading, justify="right")
    for row in result["rows"]:
        table.add_row(
            row["kind"],
            ", ".join(f"{count} {reason}" for reason, count in row["answers"].items()),
            f"{row['redeems_per_second']:.0f}",
            f"{100 * row['gate_cpu_share']:.0f} %",
            f"{row['honest_ms']['p50']:.1f}",
            f"{row['honest_ms']['p99']:.1f}",
        )
    return table


@dataclass(frozen=True, slots=True)
class Flags:
    """Measure what a client can do to the gate by redeeming without pause, under argon2id."""

    json: Path | None = None
    """Also write the result to this file."""
    seconds: float = 10.0
    """How long each kind of flood lasts."""


def run(flags: Flags) -> None:
    """Floods a gate with Redeems."""
    if not 0 < flags.seconds <= 3600:
        raise ValueError(f"--seconds is {flags.seconds}; expected above 0, at most 3600")
    result = flood(flags.seconds)
    Console(width=140).print(tabulate(result))
    if flags.json is not None:
        bench.save(result, flags.json)
