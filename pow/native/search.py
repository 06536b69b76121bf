"""One search for stamps by the compiled kernels: one set-up, as many hits and threads as asked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from pow.hashcash import digest, leading_zero_bits
from pow.native import Exhausted, supports
from pow.native.compiled import kernel_name
from pow.native.kernels import HASHES, NONCES, Hash, Words
from pow.native.layout import EPOCHS, Layout
from pow.native.scans import SCANS, SHAPES
from pow.threads import SharedSearch, share

KERNELS: Final = tuple(SHAPES)
_MANY_LANES: Final = 512
_FEW_LANES: Final = 64  # cheaper to set up, 5 % slower to scan
_FEW_BELOW: Final = 1 << 18  # expected hashes
_CHUNK: Final = {"avx512": 1 << 20, "portable": 1 << 19}  # hashes between looks at the clock: 4 ms


@dataclass(slots=True)
class Search(SharedSearch):
    """One search shared by its threads; ValueError for a kernel or prefix that does not fit."""

    stop: Words = field(default_factory=lambda: np.zeros(1, dtype=np.uint32))
    layout: Layout = field(init=False)
    hash: Hash = field(init=False)
    chain: Words = field(init=False)  # (lanes, words)
    mask: np.uint32 = field(init=False)

    def __post_init__(self) -> None:
        if not supports(self.prefix):
            raise ValueError(f"the kernels take no prefix of {len(self.prefix)} characters")
        kernel = kernel_name() if self.kernel == "auto" else self.kernel
        if kernel not in KERNELS:
            raise ValueError(f"kernel must be auto, {', '.join(KERNELS)}, not {kernel!r}")
        if kernel == "avx512" and kernel_name() != "avx512":
            raise ValueError("this host has no AVX-512: choose kernel auto or portable")
        self.kernel = kernel
        self.hash = HASHES[self.algorithm]
        self.layout = Layout(self.prefix.encode("ascii"))
        self.mask = np.uint32(0xFFFFFFFF << 32 - min(self.bits, 32) & 0xFFFFFFFF)
        state, w = self.hash.start.copy(), np.empty(self.hash.rounds, dtype=np.uint32)
        *whole, block, _ = self.layout.blocks(0)
        for each in whole:
            w[:16] = each
            self.hash.absorb(state, w)
        lanes = _FEW_LANES if self.count << self.bits < _FEW_BELOW else _MANY_LANES
        lanes = min(lanes, 64**self.layout.lane_bytes)
        self.chain = np.empty((lanes, len(state)), dtype=np.uint32)
        self.hash.chain(state, block, self.layout.lane_bytes, w, self.chain)

    def run(self, threads: int) -> None:
        """Search with `threads` threads, this one among them; re-raises what stops one."""
        epochs = iter(range(EPOCHS))
        share(lambda helper: self._work(epochs, threads, helper), threads, self._end)
        if len(self.counters) < self.count:
            raise Exhausted(f"all counters of {self.prefix!r} were tried ({self.hashes} hashes)")
        self.counters = sorted(self.counters)[: self.count]

    def _end(self) -> None:
        self.stop[0] = 1

    def _work(self, epochs: Iterator[int], threads: int, helper: bool) -> None:
        started = time.thread_time()
        scan, shape = SCANS[self.algorithm, self.kernel], SHAPES[self.kernel]
        w = np.empty((self.hash.rounds, 16), dtype=np.uint32)
        lanes = np.empty((len(self.chain) // shape.width, self.hash.fields, shape.width), np.uint32)
        hits = np.empty((self.count + shape.lanes, 2), dtype=np.uint32)
        span = np.zeros(3, dtype=np.uint32)
        steps = NONCES * (len(self.chain) // shape.lanes)
        chunk = _CHUNK[self.kernel] // shape.lanes
        try:
            for epoch in epochs:
                words = self.layout.blocks(epoch)[-1]
                self.hash.fold(self.chain, words, w[:, 0].copy(), lanes)
                at = 0
                while at < steps:
                    # with other threads at work every hit is reported at once, so that the
                    # search ends with the one that completes it
                    wanted = self.count - len(self.counters) if threads == 1 else 1
                    span[:] = at, min(at + chunk, steps), wanted
                    found = scan(lanes, words, w, span, self.mask, hits, self.stop)
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
            counter = self.layout.counter(epoch, lane, nonce)
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
