"""Hash rates of the kernels, side by side with the programs people would otherwise use.

Everything counts its own CPU time:

kernels    `pow.rate` with each kernel this host can run
threads    n threads on one challenge: n x hashes / CPU seconds; `wall`: hashes / elapsed seconds
peers      hashlib: a loop over fresh objects, as a plain Python client does it
           hashcash: Debian's program, tries it reports / its user time (SHA-1 only)
           openssl: `openssl speed -evp`, 64-byte messages (two compressions each, like stamps)
refusals   wrong argon2id answers a server can refuse in a second, fresh or the same again
setup      of a search for one challenge, many lanes
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal

from benchmarks.turns import Probe, Row, cpu_seconds, measure, save, show, single, timed
from pow.challenge import Keyring, VerifiedDigests, WrongCounters, verify_counters
from pow.native.compiled import kernel_name
from pow.native.search import KERNELS, Search
from pow.puzzle import puzzle_for
from pow.rate import host_name
from pow.rate import measure as measure_rate
from pow.solver import Cancelled

HASHCASH_BITS: Final = 21  # about 0.15 s a try, which outweighs starting the program
SPELL: Final = 0.1  # seconds of one measurement
_PREFIX: Final = "1:60:261121120000:powgate::" + "A" * 32 + ":"
_TRIES: Final = re.compile(r"^tries: (\d+)", re.MULTILINE)
_SPEED: Final = re.compile(r"^\+R:(\d+):\w+:([\d.]+)", re.MULTILINE)

Algorithm = Literal["sha1", "sha256", "argon2id"]


@dataclass(frozen=True, slots=True)
class Flags:
    """Measure the kernels and their peers side by side."""

    json: Path | None = None
    """Also write the result to this file."""
    rounds: int = 9
    """Measurements of each; the median is reported."""
    algorithms: tuple[Algorithm, ...] = ("sha1", "sha256", "argon2id")
    """Digests to measure."""
    threads: tuple[int, ...] = (1, 2)
    """Numbers of threads to try."""


def run(flags: Flags, command: str) -> None:
    """Measures, prints, and writes the file."""
    if any(not 1 <= n <= 256 for n in flags.threads):
        raise ValueError(f"--threads is {flags.threads}; expected numbers from 1 to 256")
    rows = measure(probes(flags.algorithms, flags.threads), flags.rounds)
    show(rows)
    if flags.json is not None:
        found = rates(rows)
        fast = [name for name in found if name != "argon2id"]
        content = {"host": host_name(), "rates": found, "start_seconds": dict(map(starts, fast))}
        save(flags.json, command, seed=0, rounds=flags.rounds, **content, rows=rows)


def probes(algorithms: tuple[Algorithm, ...], threads: tuple[int, ...]) -> Iterator[Probe]:
    """What can be measured here; a row is called ALGORITHM/GROUP/NAME."""
    for algorithm in algorithms:

        def row(name: str, algorithm: str = algorithm) -> Row:
            best = name.startswith("peers/") and f"{algorithm}/kernels/{host_kernels()[0]}"
            return Row(f"{algorithm}/{name}", "1/s", against=best or None)

        def rate(kernel: str, algorithm: str = algorithm) -> float:
            return measure_rate(algorithm, SPELL, kernel=kernel).hashes_per_second

        if algorithm == "argon2id":
            yield single(row("rate"), partial(rate, "auto"))
            yield single(row("refusals/fresh"), partial(refusals, 200, fresh=True))
            yield single(row("refusals/repeated"), partial(refusals, 5_000, fresh=False))
            continue
        for kernel in host_kernels():
            yield single(row(f"kernels/{kernel}"), partial(rate, kernel))
        for n in threads:
            wall = Row(f"{algorithm}/wall/{n}", "1/s", "wall")
            yield Probe((row(f"threads/{n}"), wall), partial(_in_threads, algorithm, n))
        yield single(row("peers/hashlib"), partial(rate, "hashlib"))
        if algorithm == "sha1" and shutil.which("hashcash"):
            yield single(row("peers/hashcash"), hashcash)
        if shutil.which("openssl"):
            yield single(row("peers/openssl"), partial(openssl, algorithm))
        yield timed(Row(f"{algorithm}/setup", "ms"), partial(_set_up, algorithm), times=20)


def host_kernels() -> tuple[str, ...]:
    """The kernels this host can run, the best first."""
    return KERNELS if kernel_name() == "avx512" else KERNELS[1:]


def rates(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Medians in hashes a second by algorithm, group and name; `rate` is the best kernel's."""
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
            entry["kernel"] = next(iter(entry["kernels"]))
            entry["rate"] = entry["kernels"][entry["kernel"]]
    return found


def refusals(count: int, *, fresh: bool) -> float:
    """Wrong argon2id answers refused in a second of CPU time, with the cache of digests."""
    now = int(time.time())
    challenge = Keyring([bytes(32)]).issue(
        puzzle_for(1 << 20, "argon2id"),
        audience="benchmark",
        client="flood",
        request_id="0",
        digest=b"",
        now=now,
        expires=now + 600,
    )
    verified = VerifiedDigests()
    answers = iter([[f"{i * 4 * fresh + j:06x}" for j in range(4)] for i in range(count)])

    def refuse() -> None:
        with suppress(WrongCounters):
            verify_counters(challenge, next(answers), verified)

    return 1 / cpu_seconds(refuse, count)


def _in_threads(algorithm: str, threads: int) -> list[list[float]]:
    started = time.perf_counter()

    def keep_on(_: int) -> None:
        if time.perf_counter() - started > 1.5 * SPELL:
            raise Cancelled

    search = Search(_PREFIX, 60, 1, algorithm, "auto", keep_on)
    with suppress(Cancelled):
        search.run(threads)
    elapsed = time.perf_counter() - started
    return [[threads * search.hashes / search.cpu_seconds], [search.hashes / elapsed]]


def _set_up(algorithm: str) -> None:
    search = Search(_PREFIX, 60, 1, algorithm, "auto", lambda _: None)
    search.stop[0] = 1
    search.run(1)


def starts(algorithm: str) -> tuple[str, dict[str, float]]:
    """Seconds of a new process from its first import to its first 20-bit stamp."""
    code = (
        "import time; t = time.perf_counter(); from pow.solver import mint; "
        f"mint('powgate', 20, {algorithm!r}); print(time.perf_counter() - t)"
    )
    with TemporaryDirectory() as empty:
        environment = {**os.environ, "NUMBA_CACHE_DIR": empty}
        return algorithm, {
            name: float(_spent([sys.executable, "-c", code], environment)[0])
            for name in ("cold", "warm")
        }


def hashcash() -> float:
    """One run of Debian's hashcash: tries per second of its user time."""
    said, spent = _spent(["hashcash", "-m", "-v", "-b", str(HASHCASH_BITS), "powgate"])
    return int(_found(_TRIES, said)[1]) / max(spent, 1e-3)


def openssl(algorithm: str) -> float:
    """One second of openssl speed: 64-byte messages a second of its user time."""
    said, _ = _spent(
        ["openssl", "speed", "-mr", "-seconds", "1", "-bytes", "64", "-evp", algorithm]
    )
    counted = _found(_SPEED, said)
    return int(counted[1]) / float(counted[2])


def _found(pattern: re.Pattern[str], said: str) -> re.Match[str]:
    match = pattern.search(said)
    if match is None:
        raise ValueError(f"expected a line like {pattern.pattern!r}, not {said[-200:]!r}")
    return match


def _spent(command: list[str], environment: Mapping[str, str] | None = None) -> tuple[str, float]:
    """What a program printed, and its user time in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    spent = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    return done.stdout + done.stderr, spent
