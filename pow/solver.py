"""Solving challenges and minting stamps: compiled, in plain Python, or by drawing the time taken.

numpy and numba are imported when a search first needs them, not with this module.
"""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pow import native
from pow.challenge import Challenge
from pow.hashcash import BASE64, DIGEST_BITS, check_algorithm, check_bits, digest, stamp_prefix
from pow.native import Exhausted as Exhausted
from pow.threads import SharedSearch, share

if TYPE_CHECKING:
    import numpy as np

    from pow.native.search import Search

SOLVERS: Final = ("native", "python", "virtual")
Progress = Callable[[int, float], None]

_TINY: Final = 768  # expected hashes below which setting up a kernel costs more than hashlib
_SHARED: Final = 1 << 21  # expected hashes below which a second thread is not worth starting
_EVERY: Final = 0.1  # seconds between two progress calls
_ALIGNED: Final = 58  # byte of a block at which a minted prefix ends


class Cancelled(Exception):
    """The search was cancelled."""


class DeadlineExceeded(Exception):
    """The search did not end in the time it was given."""


@dataclass(frozen=True, slots=True)
class Solution:
    """Counters in the order `verify_counters` wants them, and what finding them took.

    `hashes` counts every try; `seconds` is wall time, drawn for a virtual solution; `cpu_seconds`
    is the time of the solver's own threads.
    """

    counters: tuple[str, ...]
    hashes: int
    seconds: float
    cpu_seconds: float
    virtual: bool


def solve(
    challenge: Challenge,
    *,
    solver: str = "native",
    threads: int = 1,
    cancel: threading.Event | None = None,
    deadline: float | None = None,
    progress: Progress | None = None,
    rate: float | None = None,
    rng: np.random.Generator | None = None,
) -> Solution:
    """Solve a challenge with one of SOLVERS.

    native: compiled, `threads` threads; python: a hashlib loop on one thread, what a naive client
    pays (argon2id is the same for both).  virtual: only for virtual challenges, needs `rate`
    (hashes a second of one thread) and `rng`, searches nothing and does not sleep.
    `deadline` is seconds from now; `progress(hashes, seconds)` is called about ten times a second.
    Raises Cancelled, DeadlineExceeded, ValueError for arguments that do not fit.
    """
    if solver not in SOLVERS:
        raise ValueError(f"solver must be one of {', '.join(SOLVERS)}, not {solver!r}")
    puzzle = challenge.puzzle
    if (solver == "virtual") != (puzzle.algorithm == "virtual"):
        raise ValueError(f"the solver {solver} cannot solve a {puzzle.algorithm} challenge")
    if solver == "virtual":
        return _draw(puzzle.bits, puzzle.count, threads, rate, rng)
    return search(
        challenge.prefix,
        puzzle.bits,
        puzzle.count,
        algorithm=puzzle.algorithm,
        kernel="hashlib" if solver == "python" else "auto",
        threads=threads,
        cancel=cancel,
        deadline=deadline,
        progress=progress,
    )


def search(
    prefix: str,
    bits: int,
    count: int,
    *,
    algorithm: str = "sha1",
    kernel: str = "auto",
    threads: int = 1,
    cancel: threading.Event | None = None,
    deadline: float | None = None,
    progress: Progress | None = None,
) -> Solution:
    """`count` counters that make a prefix a stamp of `bits` bits; any ASCII prefix will do.

    `kernel` is auto, avx512, portable, or hashlib, which has one thread. auto is hashlib for a
    small work, and for a prefix that does not end at byte 55..63 of a 64-byte block. Raises as
    `solve` does, and Exhausted.
    """
    check_bits(bits)
    check_algorithm(algorithm)
    if not isinstance(count, int) or not 0 <= count <= 4096:
        raise ValueError(f"count must be from 0 to 4096, not {count!r}")
    if not isinstance(threads, int) or not 1 <= threads <= 1024:
        raise ValueError(f"threads must be from 1 to 1024, not {threads!r}")
    if not prefix.isascii():
        raise ValueError("the prefix of a stamp is ASCII")
    if deadline is not None and not deadline > 0:
        raise ValueError(f"deadline must be seconds from now, above 0, not {deadline!r}")
    started = time.perf_counter()
    keep_on = _watch(started, cancel, deadline, progress)
    work = count << bits
    if count == 0:
        return Solution((), 0, 0.0, 0.0, False)
    if kernel == "auto" and (work < _TINY or not native.supports(prefix)):
        kernel = "hashlib"
    keep_on(0)
    found = searching(prefix, bits, count, algorithm, kernel)
    found.keep_on = keep_on
    shared = algorithm == "argon2id" or (kernel != "hashlib" and work >= _SHARED)
    found.run(threads if shared else 1)
    seconds = time.perf_counter() - started
    return Solution(tuple(found.counters), found.hashes, seconds, found.cpu_seconds, False)


def searching(
    prefix: str, bits: int, count: int, algorithm: str, kernel: str
) -> PlainSearch | Search:
    """A search with a kernel, or with what the algorithm has; importing the kernels is no work."""
    if algorithm == "argon2id":
        return PlainSearch(prefix, bits, count, algorithm, "argon2-cffi")
    if kernel == "hashlib":
        return PlainSearch(prefix, bits, count, algorithm, kernel)
    from pow.native.search import Search

    cpu = time.thread_time()
    found = Search(prefix, bits, count, algorithm, kernel)
    found.cpu_seconds = time.thread_time() - cpu
    return found


def mint(
    resource: str,
    bits: int,
    algorithm: str = "sha1",
    *,
    now: float | None = None,
    ext: str = "",
    date_width: int = 12,
    threads: int = 1,
) -> str:
    """A stamp found by the compiled solver; as `mint_reference`, with a random field of its own."""
    moment = time.time() if now is None else now
    bare = stamp_prefix(resource, bits, now=moment, ext=ext, date_width=date_width)
    prefix = f"{bare[:-1]}{aligned_random(len(bare))}:"
    return prefix + search(prefix, bits, 1, algorithm=algorithm, threads=threads).counters[0]


def aligned_random(bare: int) -> str:
    """A random field after which a prefix of `bare` characters without it suits the kernels.

    At least 16 characters (96 bits), so that no two stamps coincide.
    """
    length = 16 + (_ALIGNED - bare - 16) % native.BLOCK
    return "".join(secrets.choice(BASE64) for _ in range(length))


def _watch(
    started: float,
    cancel: threading.Event | None,
    deadline: float | None,
    progress: Progress | None,
) -> Callable[[int], None]:
    """Looks at the cancel event and the clock whenever a search reports its hashes."""
    report_at = _EVERY

    def keep_on(hashes: int) -> None:
        nonlocal report_at
        if cancel is not None and cancel.is_set():
            raise Cancelled(f"cancelled after {hashes} hashes")
        now = time.perf_counter() - started
        if deadline is not None and now > deadline:
            raise DeadlineExceeded(f"not solved in {deadline:g} s ({hashes} hashes)")
        if progress is not None and now >= report_at:
            report_at = now + _EVERY
            progress(hashes, now)

    return keep_on


@dataclass(slots=True)
class PlainSearch(SharedSearch):
    """Counting up in hexadecimal, one digest a try."""

    over: bool = False

    def run(self, threads: int) -> None:
        """Search; argon2-cffi lets go of the GIL, so its tries run side by side."""
        tries = itertools.count()
        share(lambda helper: self._work(tries, helper), threads, self._end)
        # numbers of one more digit come behind shorter ones, as verify_counters has it
        self.counters = sorted(self.counters, key=lambda c: (len(c), c))[: self.count]

    def _end(self) -> None:
        self.over = True

    def _work(self, tries: Iterator[int], helper: bool) -> None:
        started, done = time.thread_time(), 0
        prefix, algorithm = self.prefix.encode("ascii"), self.algorithm
        every = (
            1 if algorithm == "argon2id" else 4096
        )  # a look at the clock costs as much as a hash
        size = DIGEST_BITS[algorithm]
        limit = ((1 << size - self.bits) - 1).to_bytes(size // 8, "big")
        try:
            for i in tries:
                if done % every == 0:
                    if self.over:
                        return
                    if not helper:
                        self.keep_on(self.hashes + done)
                done += 1
                if digest(prefix + b"%x" % i, algorithm) <= limit:
                    with self.lock:
                        self.counters.append(f"{i:x}")
                        if len(self.counters) >= self.count:
                            self.over = True
                    if self.over:
                        return
        finally:
            with self.lock:
                self.hashes += done
                self.cpu_seconds += time.thread_time() - started


def _draw(
    bits: int, count: int, threads: int, rate: float | None, rng: np.random.Generator | None
) -> Solution:
    """A virtual solution: the hashes until the k-th hit have a negative binomial distribution."""
    if rate is None or not 0 < rate < float("inf"):
        raise ValueError(f"a virtual solver needs a rate in hashes a second, not {rate!r}")
    if rng is None:
        raise ValueError("a virtual solver needs a random generator")
    # from 2**20 on the wait for one hit is exponential to six digits, and numpy's negative
    # binomial, a mixture of Poisson draws, would overflow beyond 2**63
    if count == 0:
        hashes = 0
    elif bits < 20:
        hashes = count + int(rng.negative_binomial(count, 2.0**-bits))
    else:
        hashes = max(count, round(rng.gamma(count) * 2.0**bits))
    seconds = hashes / rate
    return Solution((), hashes, seconds / threads, seconds, True)
