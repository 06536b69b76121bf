"""Hash rates: measuring this host's, and what other devices are published to reach.

Work is counted in expected hashes everywhere; seconds exist only as work / rate.
"""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

from pow.hashcash import MAX_BITS, check_algorithm
from pow.solver import Cancelled, PlainSearch, searching

if TYPE_CHECKING:
    from pow.native.search import Search

FASTEST: Final = 1e15  # hashes a second; no processor comes near
SLICES: Final = 9  # a rate is the median of so many
PREFIX: Final = "1:60:261121120000:powgate::" + "A" * 32 + ":"  # as a challenge's


@dataclass(frozen=True, slots=True)
class Rate:
    """Hashes a second of one thread's own CPU time, with what it was measured on and when."""

    algorithm: str
    hashes_per_second: float
    kernel: str
    host: str
    measured: str  # ISO 8601, UTC

    def __post_init__(self) -> None:
        if not 0 < self.hashes_per_second <= FASTEST:
            raise ValueError(
                f"hashes_per_second is {self.hashes_per_second}, "
                f"expected above 0 and at most {FASTEST:g}"
            )


@dataclass(frozen=True, slots=True)
class Device:
    """A device work can be converted for: hashes a second by algorithm, and where from."""

    name: str
    rates: Mapping[str, float]
    source: str


# A GPU is bounded by memory for argon2id: Argon2 with t = 1 moves 2 x 1 MiB a hash, so at most
# bandwidth / 2 MiB (the rule of https://tobtu.com/minimum-password-settings/).
_GIST: Final = "https://gist.github.com/Chick3nman/"
DEVICES: Final = (
    Device(
        "RTX 3090",
        {"sha1": 23_273.2e6, "sha256": 9_941.0e6, "argon2id": 936e9 / 2**21},
        "hashcat 6.1.1 -b, "
        "https://github.com/siseci/hashcat-benchmark-comparison/issues/3; argon2id: 936 GB/s",
    ),
    Device(
        "RTX 4090",
        {"sha1": 50_638.7e6, "sha256": 21_975.5e6, "argon2id": 1_008e9 / 2**21},
        f"hashcat 6.2.6 -b, {_GIST}32e662a5bb63bc4f51b847bb422222fd; argon2id: 1 008 GB/s",
    ),
)


def seconds(work: int, rate: Rate | Device, algorithm: str = "sha1") -> float:
    """Expected seconds of one thread (or one GPU) for a work; ValueError for a foreign rate."""
    if isinstance(rate, Device):
        if algorithm not in rate.rates:
            raise ValueError(f"no {algorithm} rate is known of {rate.name}")
        return work / rate.rates[algorithm]
    if rate.algorithm != algorithm:
        raise ValueError(f"the rate is one of {rate.algorithm}, not of {algorithm}")
    return work / rate.hashes_per_second


def host_name() -> str:
    """What identifies a host for a rate: processor, cores, system; no names or addresses."""
    model = platform.processor() or platform.machine()
    with suppress(OSError):  # not Linux
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        if named := re.search(r"^model name\s*: *(.*)$", text, re.MULTILINE):
            model = named[1].strip()
    return f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"


def measure(
    algorithm: str = "sha1",
    seconds: float = 0.3,
    *,
    kernel: str = "auto",
    clock: Callable[[], float] = time.time,
) -> Rate:
    """The rate of one thread here, from about `seconds` of CPU time.

    `kernel` is auto, avx512, portable, or hashlib for what a plain Python client reaches;
    argon2id has only one.  ValueError for an unknown algorithm or kernel, or no time at all.
    """
    check_algorithm(algorithm)
    if not 0 < seconds <= 3600:
        raise ValueError(f"seconds must be above 0 and at most 3600, not {seconds!r}")
    search = searching(PREFIX, MAX_BITS, 1, algorithm, kernel)
    return Rate(
        algorithm,
        median(_slices(search, seconds)),
        search.kernel,
        host_name(),
        datetime.fromtimestamp(clock(), UTC).isoformat(timespec="seconds"),
    )


def _slices(search: PlainSearch | Search, seconds: float) -> list[float]:
    """Hashes per CPU second of SLICES consecutive parts of a search that finds nothing."""
    marks: list[tuple[float, int]] = []

    def keep_on(hashes: int) -> None:
        now = time.thread_time()
        marks.append((now, hashes))
        # the first report also pays for compiling or loading the kernel: the clock starts there
        if len(marks) > SLICES + 1 and now - marks[1][0] >= seconds:
            raise Cancelled

    search.keep_on = keep_on
    with suppress(Cancelled):
        search.run(1)
    del marks[0]
    ends = [i * (len(marks) - 1) // SLICES for i in range(SLICES + 1)]
    return [(marks[b][1] - marks[a][1]) / (marks[b][0] - marks[a][0]) for a, b in pairwise(ends)]
