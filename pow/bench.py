"""Rates of the kernels side by side with the programs people would otherwise use.

Every contender is measured once per round, in turns, so that a neighbour's load hits all alike;
the median over the rounds is reported.  Everything counts the contender's own CPU time:

kernels    `pow.rate` with each kernel this host can run
threads    n searches' worth of threads on one challenge: n x hashes / CPU seconds, and on the wall
hashlib    a loop over fresh hashlib objects, what a plain Python client does
hashcash   Debian's program: tries it reports / its user time (SHA-1 only)
refusals   wrong argon2id answers a server can refuse in a second, fresh or the same again
openssl    `openssl speed -evp`, 64-byte messages (two compressions each, like these stamps)
"""

from __future__ import annotations

import json
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

from pow.challenge import Keyring, VerifiedDigests, WrongCounters, verify_counters
from pow.compiled import kernel_name
from pow.native import KERNELS, Search
from pow.puzzle import puzzle_for
from pow.rate import host_name, measure
from pow.solver import Cancelled

FLOODS: Final = ("fresh", "repeated")
HASHCASH_BITS: Final = 21  # about 0.15 s a try, which outweighs starting the program
_PREFIX: Final = "1:60:261121120000:powgate::" + "A" * 32 + ":"
_TRIES: Final = re.compile(r"^tries: (\d+)", re.MULTILINE)
_SPEED: Final = re.compile(r"^\+R:(\d+):\w+:([\d.]+)", re.MULTILINE)

Contender = tuple[str, str, Callable[[], float]]  # algorithm, name, one measurement in hashes/s


def contenders(algorithms: tuple[str, ...], threads: tuple[int, ...]) -> list[Contender]:
    """What can be measured here, in the order of one round."""
    found: list[Contender] = []
    for algorithm in algorithms:
        if algorithm == "argon2id":
            found.append((algorithm, "rate", _rate(algorithm, "auto")))
            found += [(algorithm, f"refusals {how}", partial(refusals, how)) for how in FLOODS]
            continue
        found += [(algorithm, f"kernel {k}", _rate(algorithm, k)) for k in host_kernels()]
        for n in threads:
            wall: list[float] = []
            found.append((algorithm, f"threads {n}", _threads(algorithm, n, wall)))
            found.append((algorithm, f"wall {n}", wall.pop))
        found.append((algorithm, "peer hashlib", _rate(algorithm, "hashlib")))
        if algorithm == "sha1" and shutil.which("hashcash"):
            found.append((algorithm, "peer hashcash", hashcash))
        if shutil.which("openssl"):
            found.append((algorithm, "peer openssl", partial(openssl, algorithm)))
    return found


def host_kernels() -> tuple[str, ...]:
    """The kernels this host can run, the best first."""
    return KERNELS if kernel_name() == "avx512" else KERNELS[1:]


def run(found: list[Contender], rounds: int) -> Iterator[tuple[str, str, float]]:
    """Measure every contender `rounds` times in turns; one (algorithm, name, hashes/s) each."""
    for _ in range(rounds):
        for algorithm, name, once in found:
            yield algorithm, name, once()


def tabulate(measured: list[tuple[str, str, float]]) -> dict[str, Any]:
    """Medians by algorithm: rate, kernel, kernels, threads, wall, peers; absent peers are null."""
    table: dict[str, Any] = {}
    for algorithm in dict.fromkeys(a for a, _, _ in measured):
        values: dict[str, list[float]] = {}
        for a, name, rate in measured:
            if a == algorithm:
                values.setdefault(name, []).append(rate)
        rates = {name: median(v) for name, v in values.items()}
        if algorithm == "argon2id":
            flood = {how: rates[f"refusals {how}"] for how in FLOODS}
            table[algorithm] = {
                "rate": rates["rate"],
                "kernel": "argon2-cffi",
                "refusals": flood,
            }
            continue
        best = host_kernels()[0]
        entry: dict[str, Any] = {"rate": rates[f"kernel {best}"], "kernel": best}
        for group in ("kernel", "threads", "wall"):
            words = [name.split() for name in rates if name.startswith(group + " ")]
            entry["kernels" if group == "kernel" else group] = {
                word: rates[f"{group} {word}"] for _, word in words
            }
        peers = (
            ("hashlib", "hashcash", "openssl") if algorithm == "sha1" else ("hashlib", "openssl")
        )
        entry["peers"] = {peer: rates.get(f"peer {peer}") for peer in peers}
        table[algorithm] = entry
    return table


def refusals(how: str) -> float:
    """Wrong argon2id answers refused in a second of CPU time, with the cache of digests."""
    ring = Keyring([bytes(32)])
    challenge = ring.issue(
        puzzle_for(1 << 20, "argon2id"),
        audience="bench",
        client="flood",
        request_id="0",
        digest=b"",
        now=time.time(),
        expires=int(time.time()) + 600,
    )
    verified = VerifiedDigests()
    count = 200 if how == "fresh" else 5_000
    answers = [[f"{i * 4 + j:06x}" for j in range(4)] for i in range(count)]
    started = time.thread_time()
    for i in range(count):
        with suppress(WrongCounters):
            verify_counters(challenge, answers[i if how == "fresh" else 0], verified)
    return count / (time.thread_time() - started)


def setups(algorithm: str) -> float:
    """Median milliseconds of CPU time to set up a search for one challenge, many lanes."""
    spent = []
    for _ in range(101):
        started = time.thread_time()
        search = Search(_PREFIX, 60, 1, algorithm, "auto", lambda _: None)
        search.stop[0] = 1
        search.run(1)
        spent.append(time.thread_time() - started)
    return 1e3 * median(spent)


def starts(algorithm: str) -> dict[str, float]:
    """Seconds of a new process from its first import to its first 20-bit stamp."""
    code = (
        "import time; t = time.perf_counter(); from pow.hashcash import mint; "
        f"mint('powgate', 20, {algorithm!r}); print(time.perf_counter() - t)"
    )
    with TemporaryDirectory() as empty:
        environment = {**os.environ, "NUMBA_CACHE_DIR": empty}
        return {
            name: float(
                subprocess.run(
                    [sys.executable, "-c", code],
                    env=environment,
                    capture_output=True,
                    text=True,
                    check=True,
                ).stdout
            )
            for name in ("cold", "warm")
        }


def record(path: Path, table: dict[str, Any], command: str) -> None:
    """Write a result file that says how to get it again."""
    result = {
        "command": command,
        "host": host_name(),
        "revision": _revision(),
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "unit": "hashes a second of own CPU time, medians; wall: of elapsed time",
        "rates": table,
        "setup_milliseconds": {a: setups(a) for a in table if a != "argon2id"},
        "start_seconds": {a: starts(a) for a in table if a != "argon2id"},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def hashcash() -> float:
    """One run of Debian's hashcash: tries per second of its user time."""
    command = ["hashcash", "-m", "-v", "-b", str(HASHCASH_BITS), "powgate"]
    done, spent = _spent(command)
    tries = _TRIES.search(done.stderr + done.stdout)
    if tries is None:
        raise RuntimeError(f"hashcash did not say how many tries it took: {done.stderr[-200:]}")
    return int(tries[1]) / max(spent, 1e-3)


def openssl(algorithm: str) -> float:
    """One second of openssl speed: 64-byte messages a second of its user time."""
    command = ["openssl", "speed", "-mr", "-seconds", "1", "-bytes", "64", "-evp", algorithm]
    done, _ = _spent(command)
    counted = _SPEED.search(done.stdout + done.stderr)
    if counted is None:
        raise RuntimeError(f"openssl speed was not understood: {done.stdout[-200:]}")
    return int(counted[1]) / float(counted[2])


def _spent(command: list[str]) -> tuple[subprocess.CompletedProcess[str], float]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done, resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def _rate(algorithm: str, kernel: str) -> Callable[[], float]:
    return lambda: measure(algorithm, 0.1, kernel=kernel).hashes_per_second


def _threads(algorithm: str, threads: int, wall: list[float]) -> Callable[[], float]:
    def once() -> float:
        started = time.perf_counter()

        def keep_on(_: int) -> None:
            if time.perf_counter() - started > 0.15:
                raise Cancelled

        search = Search(_PREFIX, 60, 1, algorithm, "auto", keep_on)
        with suppress(Cancelled):
            search.run(threads)
        wall.append(search.hashes / (time.perf_counter() - started))
        return threads * search.hashes / search.cpu_seconds

    return once


def _revision() -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
