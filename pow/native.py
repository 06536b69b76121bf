"""The compiled search for stamps: one set-up, one search, as many hits as asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from pow.compiled import kernel_name
from pow.hashcash import digest, leading_zero_bits
from pow.kernels import NONCES, Words
from pow.layout import Layout, layout_for
from pow.scans import HASHES, Hash, Scan
from pow.solver import Exhausted

KERNELS: Final = ("avx512", "portable", "scalar")
_MANY_LANES: Final = 512
_FEW_LANES: Final = 64  # cheaper to set up, 5 % slower to scan
_FEW_BELOW: Final = 1 << 18  # expected hashes
# hashes between two looks at the clock: about 4 ms
_CHUNK: Final = {"avx512": 1 << 20, "portable": 1 << 19, "scalar": 1 << 16}


@dataclass(slots=True)
class Search:
    """One search shared by its threads."""

    prefix: str
    bits: int
    count: int
    algorithm: str
    kernel: str
    keep_on: Callable[[int], None]  # called with the hashes so far; raises to give up
    lock: threading.Lock = field(default_factory=threading.Lock)
    stop: Words = field(default_factory=lambda: np.zeros(1, dtype=np.uint32))
    counters: list[str] = field(default_factory=list)
    hashes: int = 0
    cpu_seconds: float = 0.0
    layout: Layout = field(init=False)
    hash: Hash = field(init=False)
    scan: Scan = field(init=False)
    state: Words = field(init=False)  # chaining value common to all lanes
    chain: Words = field(init=False)  # (lanes, words), chained layouts only
    lanes: int = field(init=False)
    mask: np.uint32 = field(init=False)

    def __post_init__(self) -> None:
        kernel = kernel_name() if self.kernel == "auto" else self.kernel
        if kernel not in KERNELS:
            raise ValueError(f"kernel must be auto, {', '.join(KERNELS)}, not {kernel!r}")
        if kernel == "avx512" and kernel_name() != "avx512":
            raise ValueError("this host has no AVX-512: choose kernel auto, portable or scalar")
        self.kernel = kernel
        self.hash = HASHES[self.algorithm]
        self.scan = self.hash.scans[kernel]
        self.layout = layout_for(self.prefix.encode("ascii"))
        self.mask = np.uint32(0xFFFFFFFF << 32 - min(self.bits, 32) & 0xFFFFFFFF)
        self.state = self.hash.start.copy()
        blocks = self.layout.blocks(0)
        w = np.empty(self.hash.rounds, dtype=np.uint32)
        for block in blocks[: -2 if self.layout.lane_bytes else -1]:
            w[:16] = block
            self.hash.absorb(self.state, w)
        if self.layout.lane_bytes:
            few = self.count << self.bits < _FEW_BELOW
            self.lanes = min(_FEW_LANES if few else _MANY_LANES, self.layout.lanes)
            self.chain = np.empty((self.lanes, len(self.state)), dtype=np.uint32)
            self.hash.chain(self.state, blocks[-2], self.layout.lane_bytes, w, self.chain)
        else:
            self.lanes = self.scan.shape.lanes

    def run(self, threads: int) -> None:
        """Search with `threads` threads, this one among them; re-raises what stops one."""
        epochs = iter(range(self.layout.epochs(self.lanes)))
        failures: list[BaseException] = []

        def work() -> None:
            try:
                self._work(epochs, threads, helper=True)
            except BaseException as error:  # handed to the caller's thread
                failures.append(error)
                self.stop[0] = 1

        helpers = [threading.Thread(target=work, daemon=True) for _ in range(threads - 1)]
        try:
            for helper in helpers:
                helper.start()
            self._work(epochs, threads, helper=False)
            exhausted = not self.stop[0]
            if exhausted:  # nothing left to draw: the others are at the last epochs
                for helper in helpers:
                    helper.join()
        finally:
            self.stop[0] = 1
            for helper in helpers:
                if helper.ident is not None:
                    helper.join()
        if failures:
            raise failures[0]
        if exhausted and len(self.counters) < self.count:
            raise Exhausted(f"all counters of {self.prefix!r} were tried ({self.hashes} hashes)")
        self.counters = sorted(self.counters)[: self.count]

    def _work(self, epochs: Iterator[int], threads: int, *, helper: bool) -> None:
        started = time.thread_time()
        chained = bool(self.layout.lane_bytes)
        w = np.empty((self.hash.rounds, 16), dtype=np.uint32)
        shape = self.scan.shape
        lanes = np.empty((self.lanes // shape.width, self.hash.fields, shape.width), np.uint32)
        hits = np.empty((self.count + shape.lanes, 2), dtype=np.uint32)
        span = np.zeros(3, dtype=np.uint32)
        steps = NONCES * (self.lanes // shape.lanes) if chained else NONCES
        chunk = _CHUNK[self.kernel] // shape.lanes
        try:
            for epoch in epochs:
                words = self.layout.blocks(epoch)[-1]
                arguments: tuple[object, ...]
                if chained:
                    self.hash.fold(self.chain, words, w[:, 0].copy(), lanes)
                    scan = self.scan.chained
                    arguments = (lanes, words, w)
                else:
                    scan = self.scan.worded
                    spread = self.layout.worded(words, epoch, self.lanes)
                    arguments = (self.state, spread, self.layout.nonce_word)
                at = 0
                while at < steps:
                    # with other threads at work every hit is reported at once, so that the
                    # search ends with the one that completes it
                    wanted = self.count - len(self.counters) if threads == 1 else 1
                    span[:] = at, min(at + chunk, steps), wanted
                    found = scan(*arguments, span, self.mask, hits, self.stop)
                    done = (int(span[0]) - at) * shape.lanes
                    at = int(span[0])
                    if self._report(epoch, done, hits[:found]):
                        return
                    if not helper:
                        self.keep_on(self.hashes)
        finally:
            with self.lock:
                self.cpu_seconds += time.thread_time() - started

    def _report(self, epoch: int, hashes: int, hits: Words) -> bool:
        """Count what was scanned, keep the hits that hold; whether the search is over."""
        counters = []
        for lane, nonce in hits.tolist():
            counter = self.layout.counter(epoch, lane, nonce, self.lanes)
            stamp = (self.prefix + counter).encode("ascii")
            worth = leading_zero_bits(digest(stamp, self.algorithm))
            if worth >= self.bits:
                counters.append(counter)
            elif worth < min(self.bits, 32):  # the kernel only looks at the first 32 bits
                raise RuntimeError(f"the {self.kernel} kernel is broken: {stamp!r} is no hit")
        with self.lock:
            self.hashes += hashes
            self.counters += counters
            if len(self.counters) >= self.count:
                self.stop[0] = 1
            return bool(self.stop[0])
