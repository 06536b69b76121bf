"""Hash rates of the kernels, side by side with the programs people would otherwise use.

Everything counts its own CPU time, but for the wall clock:

kernels    `pow.rate` with each kernel this host can run
threads    n threads on one challenge: n x hashes / CPU seconds; `wall`: hashes / elapsed seconds
peers      hashlib: a loop over fresh objects, as a plain Python client does it
           hashcash: Debian's program, tries it reports / its user time (SHA-1 only)
           openssl: `openssl speed -evp`, 64-byte messages (two compressions each, like stamps)

What refusing wrong argon2id answers costs a gate, `benchmarks.flood` measures.
"""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from benchmarks import turns
from benchmarks.turns import Probe, Row, single
from pow.native.compiled import kernel_name
from pow.native.search import KERNELS, Search
from pow.rate import host_name, measure
from pow.solver import Cancelled

SPELL: Final = 0.1  # seconds of one measurement
_PREFIX: Final = "1:60:261121120000:powgate::" + "A" * 32 + ":"

Algorithm = Literal["sha1", "sha256", "argon2id"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags(turns.Flags):
    """Measure the kernels and their peers side by side."""

    algorithms: tuple[Algorithm, ...] = ("sha1", "sha256", "argon2id")
    """Digests to measure."""
    threads: tuple[int, ...] = (1, 2)
    """Numbers of threads to try."""


def probes(flags: Flags, stack: ExitStack) -> Iterator[Probe]:
    """What can be measured here; a row is called ALGORITHM/GROUP/NAME."""
    if any(not 1 <= n <= 256 for n in flags.threads):
        raise ValueError(f"--threads is {flags.threads}; expected numbers from 1 to 256")
    for algorithm in flags.algorithms:
        calls = _calls(algorithm)
        best = f"{algorithm}/{next(iter(calls))}"
        for name, call in calls.items():
            against = best if name.startswith("peers/") else None
            yield single(Row(f"{algorithm}/{name}", "1/s", against=against), call)
        for n in flags.threads if algorithm != "argon2id" else ():
            names = f"{algorithm}/threads/{n}", f"{algorithm}/wall/{n}"
            rows = Row(names[0], "1/s"), Row(names[1], "1/s", "wall")
            yield Probe(rows, partial(_in_threads, algorithm, n))


def _calls(algorithm: Algorithm) -> dict[str, Callable[[], float]]:
    """One thread each; the best kernel this host can run comes first."""
    if algorithm == "argon2id":
        return {"rate": partial(_rate, algorithm, "auto")}
    kernels = KERNELS if kernel_name() == KERNELS[0] else KERNELS[1:]
    calls: dict[str, Callable[[], float]] = {
        f"kernels/{kernel}": partial(_rate, algorithm, kernel) for kernel in kernels
    }
    calls["peers/hashlib"] = partial(_rate, algorithm, "hashlib")
    if algorithm == "sha1" and shutil.which("hashcash"):
        calls["peers/hashcash"] = hashcash
    if shutil.which("openssl"):
        calls["peers/openssl"] = partial(openssl, algorithm)
    return calls


def about(rows: turns.Rows) -> dict[str, Any]:
    """Host, and medians in hashes a second by algorithm, group and name."""
    found: dict[str, Any] = {}
    for name, row in rows.items():
        if row["unit"] == "1/s":
            *groups, last = name.split("/")
            entry = found
            for group in groups:
                entry = entry.setdefault(group, {})
            entry[last] = row["median"]
    for entry in found.values():
        if "kernels" in entry:
            entry["kernel"], entry["rate"] = next(iter(entry["kernels"].items()))
    return {"host": host_name(), "rates": found}


def _rate(algorithm: str, kernel: str) -> float:
    return measure(algorithm, SPELL, kernel=kernel).hashes_per_second


def _in_threads(algorithm: str, threads: int) -> list[list[float]]:
    started = time.perf_counter()

    def keep_on(_: int) -> None:
        if time.perf_counter() - started > SPELL:
            raise Cancelled

    search = Search(_PREFIX, 60, 1, algorithm, "auto", keep_on)
    with suppress(Cancelled):
        search.run(threads)
    elapsed = time.perf_counter() - started
    return [[threads * search.hashes / search.cpu_seconds], [search.hashes / elapsed]]


def hashcash() -> float:
    """One run of Debian's hashcash: tries per second of its user time."""
    said, spent = _spent(["hashcash", "-m", "-v", "-b", "21", "powgate"])  # takes about 0.15 s
    return _numbers(r"^tries: (\d+)", said)[0] / max(spent, 1e-3)


def openssl(algorithm: str) -> float:
    """One second of openssl speed: 64-byte messages a second of its user time."""
    command = ["openssl", "speed", "-mr", "-seconds", "1", "-bytes", "64", "-evp", algorithm]
    count, seconds = _numbers(r"^\+R:(\d+):\w+:([\d.]+)", _spent(command)[0])
    return count / seconds


def _numbers(pattern: str, said: str) -> list[float]:
    found = re.search(pattern, said, re.MULTILINE)
    if found is None:
        raise ValueError(f"expected a line like {pattern!r}, not {said[-200:]!r}")
    return [float(number) for number in found.groups()]


def _spent(command: list[str]) -> tuple[str, float]:
    """What a program printed, and its user time in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    return done.stdout + done.stderr, after - before
