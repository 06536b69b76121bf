"""What a scan needs once per challenge, per epoch and per 16 nonces: scalar numba code.

Per challenge `absorb` and `chain` (the chaining value of every lane), per epoch `fold` (rounds
0..12 of the last block, and what later rounds owe to them), per 16 nonces `schedule`.

Every array is uint32; numba widens uint32 arithmetic to 64 bits, so each step is cut back with
`_u32` (without that right shifts see stale bits, and vectors hold half as many lanes).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numba.np.unsafe.ndarray import to_fixed_tuple

from pow.native.compiled import compiled, inlined
from pow.native.rounds import (
    FOLDED,
    SHA1_FIELDS,
    SHA1_K,
    SHA1_START,
    SHA256_FIELDS,
    SHA256_K,
    SHA256_START,
    sha1_tail,
    sha256_tail,
)

Words = npt.NDArray[np.uint32]
_u32 = np.uint32
_tuple: Any = to_fixed_tuple  # numba only: the first n elements of an array

# ASCII order is the order of value, so counters of one length sort by (epoch, lane, nonce).
ALPHABET: Final = np.frombuffer(
    b"+/0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", dtype=np.uint8
).astype(np.uint32)
NONCES: Final = 1 << 18  # three characters of 64


@inlined
def _rotl(x: Any, n: int) -> Any:
    return _u32(_u32(x << _u32(n)) | _u32(x >> _u32(32 - n)))


@inlined
def _rotr(x: Any, n: int) -> Any:
    return _rotl(x, 32 - n)


@inlined
def _nonce_word(nonce: int) -> Any:
    """Three characters and the byte that starts the padding."""
    word = (ALPHABET[nonce >> 12] << _u32(24)) | (ALPHABET[(nonce >> 6) & 63] << _u32(16))
    return _u32(word | (ALPHABET[nonce & 63] << _u32(8)) | _u32(0x80))


@inlined
def _end_with_lane(w: Words, lane: int, lane_bytes: int) -> None:
    if lane_bytes == 1:
        w[15] = _u32((w[15] & _u32(0xFFFFFF00)) | ALPHABET[lane])
    else:
        ends = (ALPHABET[lane >> 6] << _u32(8)) | ALPHABET[lane & 63]
        w[15] = _u32((w[15] & _u32(0xFFFF0000)) | ends)


# --- SHA-1 ---------------------------------------------------------------------------------------


@inlined
def _sha1_rounds(s: Any, w: Words, last: int) -> Any:
    """Rounds 0..last-1 on the state (a, b, c, d, e); w holds 16 words and is expanded."""
    a, b, c, d, e = s
    for t in range(last):
        if t >= 16:
            w[t] = _rotl(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1)
        if t < 20:
            f = d ^ (b & (c ^ d))
        elif 40 <= t < 60:
            f = (b & c) | (d & (b | c))
        else:
            f = b ^ c ^ d
        x = _u32(_rotl(a, 5) + f + e + SHA1_K[t] + w[t])
        a, b, c, d, e = x, a, _rotl(b, 30), c, d
    return a, b, c, d, e


@inlined
def _sha1_word(w: Words, t: int, i: int) -> Any:
    return _rotl(_u32(w[t - 3, i] ^ w[t - 8, i] ^ w[t - 14, i] ^ w[t - 16, i]), 1)


@compiled
def sha1_fold(chain: Words, words: Words, w: Words, lanes: Words) -> None:
    """Rounds 0..12 of the last block: lanes (groups, SHA1_FIELDS, width) from chain (lanes, 5)."""
    width = lanes.shape[2]
    w[:16] = words
    w17 = _rotl(w[14] ^ w[9] ^ w[3] ^ w[1], 1)
    for lane in range(len(chain)):
        a, b, c, d, e = _sha1_rounds(_tuple(chain[lane], 5), w, FOLDED)
        k = SHA1_K[FOLDED]
        group, at = lane // width, lane % width
        out = lanes[group]
        out[0, at] = _u32(_rotl(a, 5) + (d ^ (b & (c ^ d))) + e + k)
        out[1, at] = _u32((c ^ (a & (_rotl(b, 30) ^ c))) + d + k + w[14])
        out[2, at] = _u32(c + k + w[15])
        out[3, at] = _u32(_rotl(a, 30) + k + w17)
        out[4, at] = _rotl(b, 30)
        out[5, at] = _rotl(a, 30)
        out[6, at] = chain[lane, 0]


# --- SHA-256 -------------------------------------------------------------------------------------


@inlined
def _small0(x: Any) -> Any:
    return _u32(_rotr(x, 7) ^ _rotr(x, 18) ^ (x >> _u32(3)))


@inlined
def _small1(x: Any) -> Any:
    return _u32(_rotr(x, 17) ^ _rotr(x, 19) ^ (x >> _u32(10)))


@inlined
def _big0(x: Any) -> Any:
    return _u32(_rotr(x, 2) ^ _rotr(x, 13) ^ _rotr(x, 22))


@inlined
def _big1(x: Any) -> Any:
    return _u32(_rotr(x, 6) ^ _rotr(x, 11) ^ _rotr(x, 25))


@inlined
def _sha256_rounds(s: Any, w: Words, last: int) -> Any:
    """Rounds 0..last-1 on the state (a, ..., h); w holds 16 words and is expanded."""
    a, b, c, d, e, f, g, h = s
    for t in range(last):
        if t >= 16:
            w[t] = _u32(w[t - 16] + _small0(w[t - 15]) + w[t - 7] + _small1(w[t - 2]))
        t1 = _u32(h + _big1(e) + (g ^ (e & (f ^ g))) + SHA256_K[t] + w[t])
        t2 = _u32(_big0(a) + ((a & b) | (c & (a | b))))
        a, b, c, d, e, f, g, h = _u32(t1 + t2), a, b, c, _u32(d + t1), e, f, g
    return a, b, c, d, e, f, g, h


@inlined
def _sha256_word(w: Words, t: int, i: int) -> Any:
    x = _u32(w[t - 16, i] + _small0(w[t - 15, i]))
    return _u32(x + _u32(w[t - 7, i] + _small1(w[t - 2, i])))


@compiled
def sha256_fold(chain: Words, words: Words, w: Words, lanes: Words) -> None:
    """Rounds 0..12 of the last block: lanes (groups, SHA256_FIELDS, width), chain (lanes, 8)."""
    width = lanes.shape[2]
    w[:16] = words
    w16 = _u32(w[0] + _small0(w[1]) + w[9] + _small1(w[14]))
    for lane in range(len(chain)):
        a, b, c, d, e, f, g, h = _sha256_rounds(_tuple(chain[lane], 8), w, FOLDED)
        t1 = _u32(h + _big1(e) + (g ^ (e & (f ^ g))) + SHA256_K[13])
        group, at = lane // width, lane % width
        out = lanes[group]
        out[0, at] = _u32(d + t1)
        out[1, at] = _u32(t1 + _big0(a) + ((a & b) | (c & (a | b))))
        out[2, at] = _u32(g + SHA256_K[14] + w[14])
        out[3, at] = _u32(f + SHA256_K[15] + w[15])
        out[4, at] = _u32(e + SHA256_K[16] + w16)
        out[5, at] = e
        out[6, at] = f
        out[7, at] = a
        out[8, at] = b
        out[9, at] = c
        out[10, at] = chain[lane, 0]


# --- both ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hash:
    """What a search needs of one hash function."""

    rounds: int
    start: Words
    fields: int
    absorb: Callable[..., None]
    chain: Callable[..., None]
    fold: Callable[..., None]
    schedule: Callable[..., None]
    tail: Callable[..., Any]


def _hash(
    name: str, start: Words, k: Words, fields: int, rounds: Any, word: Any, fold: Any, tail: Any
) -> Hash:
    state_words, last = len(start), len(k)

    def absorb(state: Words, w: Words) -> None:
        """Compress the block in w[:16] into the state; w (rounds,) is scratch."""
        out = rounds(_tuple(state, state_words), w, last)
        for i, x in enumerate(out):
            state[i] = _u32(state[i] + x)

    def chain(state: Words, block: Words, lane_bytes: int, w: Words, lanes: Words) -> None:
        """Chaining value of each lane, (lanes, state): its characters end the block (16,)."""
        for lane in range(len(lanes)):
            w[:16] = block
            _end_with_lane(w, lane, lane_bytes)
            out = rounds(_tuple(state, state_words), w, last)
            for i, x in enumerate(out):
                lanes[lane, i] = _u32(state[i] + x)

    def schedule(words: Words, first: int, w: Words) -> None:
        """K + W of 16 nonces from `first` on: w (rounds, 16), W alone in rounds below 16."""
        for t in range(16):
            for i in range(16):
                w[t, i] = words[t]
        for i in range(16):
            w[13, i] = _nonce_word(first + i)
        for t in range(16, last):
            for i in range(16):
                w[t, i] = word(w, t, i)
        for t in range(16, last):
            for i in range(16):
                w[t, i] = _u32(w[t, i] + k[t])

    made = compiled(absorb, f"{name}_absorb"), compiled(chain, f"{name}_chain")
    return Hash(last, start, fields, *made, fold, inlined(schedule, f"{name}_schedule"), tail)


HASHES: Final = {
    "sha1": _hash(
        "sha1", SHA1_START, SHA1_K, SHA1_FIELDS, _sha1_rounds, _sha1_word, sha1_fold, sha1_tail
    ),
    "sha256": _hash(
        "sha256",
        SHA256_START,
        SHA256_K,
        SHA256_FIELDS,
        _sha256_rounds,
        _sha256_word,
        sha256_fold,
        sha256_tail,
    ),
}
