"""The scans: every nonce of an epoch tried on every lane, without the GIL.

A stamp's last block ends in a three-character nonce.  What tells lanes apart are characters of the
counter that end the block before ("chained", the fast scan: `rounds.tail`), or the word before the
nonce's ("worded", for prefixes that do not reach into the right place: `rounds.full`).
`pow.layout` decides which, and turns (epoch, lane, nonce) back into a counter.

A scan is called with span = (first step, end, hits wanted), where a step is one vector of lanes at
one nonce, or all lanes at one nonce when worded.  It returns the number of hits, (lane, nonce)
rows of `hits`, which must have room for `wanted` and a step more; span[0] becomes the first step
not done.  A non-zero stop[0], seen once per nonce, ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from pow import kernels
from pow.compiled import compiled, inlined
from pow.kernels import Words, nonce_word, sha1_schedule, sha256_schedule
from pow.rounds import (
    SHA1_FIELDS,
    SHA1_START,
    SHA256_FIELDS,
    SHA256_START,
    Shape,
    full,
    sha1_full,
    sha1_tail,
    sha256_full,
    sha256_tail,
    tail,
)

_u32 = np.uint32

AVX512: Final = Shape(width=16, groups=2, ternary=True)
PORTABLE: Final = Shape(width=8, groups=2, ternary=False)
SCALAR: Final = Shape(width=1, groups=2, ternary=False)


@inlined
def _note(hits: Words, found: int, bits: Any, lane: int, nonce: int) -> int:
    """Append (lane, nonce) of every set bit; how many hits there are now."""
    while bits != np.uint64(0):
        if bits & np.uint64(1):
            hits[found, 0] = _u32(lane)
            hits[found, 1] = _u32(nonce)
            found += 1
        bits = bits >> np.uint64(1)
        lane += 1
    return found


def _renamed(function: Any, kind: str, shape: Shape) -> Any:
    """The function under a name of its own.

    Stored kernels carry the object code of what they call under a symbol made of its name and a
    number that starts anew in each process: two scans of one name, stored by different processes,
    would be taken for the same when both are loaded.
    """
    function.__name__ = function.__qualname__ = f"scan_{kind}_{shape.width}_{shape.ternary:d}"
    return function


def _chained(schedule: Any, rounds: Any, fields: int, shape: Shape) -> Any:
    """The scan over lanes that differ in their chaining value, for one hash and one shape."""
    step = shape.lanes
    run = tail(rounds, fields, shape)

    def scan(
        lanes: Words, words: Words, w: Words, span: Words, mask: Any, hits: Words, stop: Words
    ) -> int:
        flat, columns = lanes.reshape(lanes.size), w.reshape(w.size)
        steps = lanes.shape[0] * lanes.shape[2] // step  # of one nonce
        at, end, wanted = int(span[0]), int(span[1]), int(span[2])
        found, ready = 0, -1
        while at < end and found < wanted and stop[0] == 0:
            nonce = at // steps
            if nonce & -16 != ready:
                ready = nonce & -16
                schedule(words, ready, w)
            part = at - nonce * steps
            until = min(end, (nonce + 1) * steps)
            while at < until and found < wanted:
                bits = run(flat, part * step * fields, columns, nonce & 15, mask)
                if bits != np.uint64(0):
                    found = _note(hits, found, bits, part * step, nonce)
                part += 1
                at += 1
        span[0] = at
        return found

    return inlined(_renamed(scan, rounds.__name__, shape))


def _worded(rounds: Any, shape: Shape) -> Any:
    """The scan over lanes that differ in the word before the nonce's, for one hash and shape."""
    run = full(rounds, shape)

    def scan(
        state: Words, words: Words, row: int, span: Words, mask: Any, hits: Words, stop: Words
    ) -> int:
        at, end, wanted = int(span[0]), int(span[1]), int(span[2])
        found = 0
        while at < end and found < wanted and stop[0] == 0:
            words[row] = nonce_word(at)
            bits = run(state, words, mask)
            if bits != np.uint64(0):
                found = _note(hits, found, bits, 0, at)
            at += 1
        span[0] = at
        return found

    return inlined(_renamed(scan, rounds.__name__, shape))


_sha1_chained_avx512 = _chained(sha1_schedule, sha1_tail, SHA1_FIELDS, AVX512)
_sha1_chained_portable = _chained(sha1_schedule, sha1_tail, SHA1_FIELDS, PORTABLE)
_sha1_chained_scalar = _chained(sha1_schedule, sha1_tail, SHA1_FIELDS, SCALAR)
_sha1_worded_avx512 = _worded(sha1_full, AVX512)
_sha1_worded_portable = _worded(sha1_full, PORTABLE)
_sha1_worded_scalar = _worded(sha1_full, SCALAR)
_sha256_chained_avx512 = _chained(sha256_schedule, sha256_tail, SHA256_FIELDS, AVX512)
_sha256_chained_portable = _chained(sha256_schedule, sha256_tail, SHA256_FIELDS, PORTABLE)
_sha256_chained_scalar = _chained(sha256_schedule, sha256_tail, SHA256_FIELDS, SCALAR)
_sha256_worded_avx512 = _worded(sha256_full, AVX512)
_sha256_worded_portable = _worded(sha256_full, PORTABLE)
_sha256_worded_scalar = _worded(sha256_full, SCALAR)


@compiled
def sha1_chained_avx512(
    lanes: Words, words: Words, w: Words, span: Words, mask: np.uint32, hits: Words, stop: Words
) -> int:
    return int(_sha1_chained_avx512(lanes, words, w, span, mask, hits, stop))


@compiled
def sha1_chained_portable(
    lanes: Words, words: Words, w: Words, span: Words, mask: np.uint32, hits: Words, stop: Words
) -> int:
    return int(_sha1_chained_portable(lanes, words, w, span, mask, hits, stop))


@compiled
def sha1_chained_scalar(
    lanes: Words, words: Words, w: Words, span: Words, mask: np.uint32, hits: Words, stop: Words
) -> int:
    return int(_sha1_chained_scalar(lanes, words, w, span, mask, hits, stop))


@compiled
def sha1_worded_avx512(
    state: Words, words: Words, row: int, span: Words, mask: np.uint32, hits: Words, stop: Words
) -> int:
    return int(_sha1_worded_avx512(state, words, row, span, mask, hits, stop))


@compiled
def sha1_worded_portable(
    state: Words, words: Words, row: int, span: Words, mask: np.uint32, hits: Words, stop: Words
) -> int:
    return int(_sha1_worded_portable(state, words, row, span, mask, hits, stop))


@compiled
def sha1_worded_scalar(
    state: Words, words: Words, row: int, span: Words, mask: np.uint32, hits: Words, stop: Words
) -> int:
    return int(_sha1_worded_scalar(state, words, row, span, mask, hits, stop))


@compiled
def sha256_chained_avx512(
    lanes: Words, words: Words, w: Words, span: Words, mask: np.uint32, hits: Words, stop: Words
) -> int:
    return int(_sha256_chained_avx512(lanes, words, w, span, mask, hits, stop))


@compiled
def sha256_chained_portable(
    lanes: Words, words: Words, w: Words, span: Words, mask: np.uint32, hits: Words, stop: Words
) -> int:
    return int(_sha256_chained_portable(lanes, words, w, span, mask, hits, stop))


@compiled
def sha256_chained_scalar(
    lanes: Words, words: Words, w: Words, span: Words, mask: np.uint32, hits: Words, stop: Words
) -> int:
    return int(_sha256_chained_scalar(lanes, words, w, span, mask, hits, stop))


@compiled
def sha256_worded_avx512(
    state: Words, words: Words, row: int, span: Words, mask: np.uint32, hits: Words, stop: Words
) -> int:
    return int(_sha256_worded_avx512(state, words, row, span, mask, hits, stop))


@compiled
def sha256_worded_portable(
    state: Words, words: Words, row: int, span: Words, mask: np.uint32, hits: Words, stop: Words
) -> int:
    return int(_sha256_worded_portable(state, words, row, span, mask, hits, stop))


@compiled
def sha256_worded_scalar(
    state: Words, words: Words, row: int, span: Words, mask: np.uint32, hits: Words, stop: Words
) -> int:
    return int(_sha256_worded_scalar(state, words, row, span, mask, hits, stop))


@dataclass(frozen=True, slots=True)
class Scan:
    """The two scans of one hash with one kernel, and the lanes of a step."""

    chained: Callable[..., int]
    worded: Callable[..., int]
    shape: Shape


@dataclass(frozen=True, slots=True)
class Hash:
    """Everything the solver calls for one hash function."""

    rounds: int
    start: Words
    fields: int
    absorb: Callable[..., None]
    chain: Callable[..., None]
    fold: Callable[..., None]
    scans: Mapping[str, Scan]


HASHES: Final = {
    "sha1": Hash(
        rounds=80,
        start=SHA1_START,
        fields=SHA1_FIELDS,
        absorb=kernels.sha1_absorb,
        chain=kernels.sha1_chain,
        fold=kernels.sha1_fold,
        scans={
            "avx512": Scan(sha1_chained_avx512, sha1_worded_avx512, AVX512),
            "portable": Scan(sha1_chained_portable, sha1_worded_portable, PORTABLE),
            "scalar": Scan(sha1_chained_scalar, sha1_worded_scalar, SCALAR),
        },
    ),
    "sha256": Hash(
        rounds=64,
        start=SHA256_START,
        fields=SHA256_FIELDS,
        absorb=kernels.sha256_absorb,
        chain=kernels.sha256_chain,
        fold=kernels.sha256_fold,
        scans={
            "avx512": Scan(sha256_chained_avx512, sha256_worded_avx512, AVX512),
            "portable": Scan(sha256_chained_portable, sha256_worded_portable, PORTABLE),
            "scalar": Scan(sha256_chained_scalar, sha256_worded_scalar, SCALAR),
        },
    ),
}
