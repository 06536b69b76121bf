"""Solving challenges: compiled, in plain Python, or by drawing how long it would have taken.

numpy and numba are imported when a search first needs them, not with this module.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pow.challenge import Challenge
from pow.hashcash import DIGEST_BITS, check_bits, digest

if TYPE_CHECKING:
    import numpy as np

SOLVERS: Final = ("native", "python", "virtual")
Progress = Callable[[int, float], None]

_TINY: Final = 768  # expected hashes below which setting up a kernel costs more than hashlib
_SHARED: Final = 1 << 21  # expected hashes below which a second thread is not worth starting
_EVERY: Final = 0.1  # seconds between two progress calls


class Cancelled(Exception):
    """The search was cancelled."""


class DeadlineExceeded(Exception):
    """The search did not end in the time it was given."""


class Exhausted(Exception):
    """Every counter that goes with a prefix was tried: at least 2**42 of them."""


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
        solver=solver,
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
    solver: str = "native",
    kernel: str = "auto",
    threads: int = 1,
    cancel: threading.Event | None = None,
    deadline: float | None = None,
    progress: Progress | None = None,
) -> Solution:
    """`count` counters that make a prefix a stamp of `bits` bits; any ASCII prefix will do.

    `kernel` is auto, avx512, portable or scalar.  A prefix that ends at byte 55..63 of a 64-byte
    block is searched fastest.  Raises as `solve` does, and Exhausted.
    """
    check_bits(bits)
    if algorithm not in DIGEST_BITS:
        raise ValueError(f"algorithm must be one of {', '.join(DIGEST_BITS)}, not {algorithm!r}")
    if not isinstance(count, int) or not 0 <= count <= 4096:
        raise ValueError(f"count must be from 0 to 4096, not {count!r}")
    if not isinstance(threads, int) or not 1 <= threads <= 1024:
        raise ValueError(f"threads must be from 1 to 1024, not {threads!r}")
    if not prefix.isascii():
        raise ValueError("the prefix of a stamp is ASCII")
    watch = _Watch(cancel, deadline, progress)
    work = count << bits
    if count == 0:
        return Solution((), 0, 0.0, 0.0, False)
    if algorithm == "argon2id" or solver == "python" or (work < _TINY and kernel == "auto"):
        helpers = threads if algorithm == "argon2id" else 1
        return Plain(prefix.encode("ascii"), bits, count, algorithm, watch).run(helpers)

    from pow.native import Search

    watch(0)
    cpu = time.thread_time()
    native = Search(prefix, bits, count, algorithm, kernel, watch)
    native.cpu_seconds = time.thread_time() - cpu
    native.run(threads if work >= _SHARED else 1)
    return Solution(
        tuple(native.counters), native.hashes, watch.seconds(), native.cpu_seconds, False
    )


def aligned_random(bare: int, random: Callable[[], str] | None = None) -> str:
    """A random field that makes a prefix of `bare` characters without it end at byte 58 of a block.

    At least 16 characters (96 bits), so that no two stamps coincide.
    """
    import secrets

    length = 16 + (58 - bare - 16) % 64
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    choose = random or (lambda: secrets.choice(alphabet))
    return "".join(choose() for _ in range(length))


class _Watch:
    """Looks at the cancel event and the clock whenever a search reports."""

    def __init__(
        self, cancel: threading.Event | None, deadline: float | None, progress: Progress | None
    ) -> None:
        if deadline is not None and not deadline > 0:
            raise ValueError(f"deadline must be seconds from now, above 0, not {deadline!r}")
        self._started = time.perf_counter()
        self._cancel = cancel
        self._deadline = deadline
        self._progress = progress
        self._next = _EVERY

    def seconds(self) -> float:
        return time.perf_counter() - self._started

    def __call__(self, hashes: int) -> None:
        if self._cancel is not None and self._cancel.is_set():
            raise Cancelled(f"cancelled after {hashes} hashes")
        now = self.seconds()
        if self._deadline is not None and now > self._deadline:
            raise DeadlineExceeded(f"not solved in {self._deadline:g} s ({hashes} hashes)")
        if self._progress is not None and now >= self._next:
            self._next = now + _EVERY
            self._progress(hashes, now)


class Plain:
    """Counting up in hexadecimal, one digest a try; `keep_on(hashes)` may raise to give up."""

    def __init__(
        self,
        prefix: bytes,
        bits: int,
        count: int,
        algorithm: str,
        keep_on: Callable[[int], None],
    ) -> None:
        self._prefix, self._bits, self._count = prefix, bits, count
        self._algorithm, self._keep_on = algorithm, keep_on
        # a look at the clock costs as much as a hash
        self._every = 1 if algorithm == "argon2id" else 4096
        self._found: list[int] = []
        self._lock = threading.Lock()
        self._over = False
        self.hashes = 0
        self._cpu = 0.0

    def run(self, threads: int) -> Solution:
        """Search; argon2-cffi lets go of the GIL, so its tries run side by side."""
        tries, started = itertools.count(), time.perf_counter()
        failures: list[BaseException] = []

        def work() -> None:
            try:
                self._work(tries, helper=True)
            except BaseException as error:  # handed to the caller's thread
                failures.append(error)
                self._over = True

        helpers = [threading.Thread(target=work, daemon=True) for _ in range(threads - 1)]
        try:
            for helper in helpers:
                helper.start()
            self._work(tries, helper=False)
        finally:
            self._over = True
            for helper in helpers:
                if helper.ident is not None:
                    helper.join()
        if failures:
            raise failures[0]
        # hexadecimal numbers of one more digit sort behind shorter ones, as verify_counters has it
        counters = tuple(f"{i:x}" for i in sorted(self._found)[: self._count])
        seconds = time.perf_counter() - started
        return Solution(counters, self.hashes, seconds, self._cpu, False)

    def _work(self, tries: Iterator[int], *, helper: bool) -> None:
        started, done = time.thread_time(), 0
        prefix, algorithm, every = self._prefix, self._algorithm, self._every
        size = DIGEST_BITS[algorithm]
        limit = ((1 << size - self._bits) - 1).to_bytes(size // 8, "big")
        try:
            for i in tries:
                if done % every == 0:
                    if self._over:
                        return
                    if not helper:
                        self._keep_on(self.hashes + done)
                done += 1
                if digest(prefix + b"%x" % i, algorithm) <= limit:
                    with self._lock:
                        self._found.append(i)
                        self._over = len(self._found) >= self._count
                    if self._over:
                        return
        finally:
            with self._lock:
                self.hashes += done
                self._cpu += time.thread_time() - started


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
