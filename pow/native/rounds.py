"""SHA-1 and SHA-256 rounds over vectors of lanes, written once as LLVM IR for every kernel.

A kernel computes the first word of the digest of a last block in which words 0..12 do not depend on
the nonce and no word depends on the lane, and returns a bit mask of the lanes whose word has no bit
in common with `mask`.  All lanes share one message schedule (computed outside, read as scalars);
what differs between lanes is the chaining value.  Rounds 0..12 are done once per lane, and what
rounds 13..17 owe to them is folded into per-lane constants (`SHA1_FIELDS`, `SHA256_FIELDS`).

Operations per vector on AVX-512 (one instruction each; FIPS 180-4 sections 6.1.2, 6.2.2)

                 add   rotate   three-input logic   test   all
    SHA-1        196      130                  65      1   392   rotl5, rotl30, f; 3 adds a round
    SHA-256      299      300                 200      1   800   2 x 3 rotates, 2 sums, Ch, Maj

Additions and logic issue on two ports, rotates on one of the two, so the limit is half the sum:
12.25 cycles a SHA-1 hash and 25.0 cycles a SHA-256 hash with 16 lanes, which is 240 and 118 MH/s
at 2.94 GHz.  `groups` vectors are interleaved round by round to hide the latency of each chain.

The boolean functions are single vpternlogd instructions where the host has AVX-512 (LLVM would
take two for Ch and Maj); elsewhere the same rounds are plain and/or/xor on <8 x i32>, which LLVM
lowers to whatever the host has (AVX2, SSE2, NEON).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

Value = Any  # an ir.Value of type <width x i32>
Word = Callable[[int], Value]
Rounds = Iterator[Value]  # None after a round, the first digest word after the last one

SHA1_FIELDS: Final = 7  # x13, x14, x15, x17, rotl30(a11), rotl30(a12), h0
SHA256_FIELDS: Final = 11  # x13 for e and a, x14, x15, x16, e12, e11, a12, a11, a10, h0
FOLDED: Final = 13  # rounds that do not depend on the nonce


def _roots(power: int, count: int) -> list[int]:
    """First 32 fraction bits of the square or cube roots of the first primes (FIPS 180-4, 4.2)."""
    primes = [n for n in range(2, 312) if all(n % d for d in range(2, n))]
    found = []
    for prime in primes[:count]:
        target = prime << 32 * power
        root = 1 << 36
        while root**power > target:  # Newton's method in whole numbers
            root = ((power - 1) * root + target // root ** (power - 1)) // power
        found.append(root & 0xFFFFFFFF)
    return found


SHA1_K: Final = np.repeat(
    np.array([0x5A827999, 0x6ED9EBA1, 0x8F1BBCDC, 0xCA62C1D6], dtype=np.uint32), 20
)
SHA256_K: Final = np.array(_roots(3, 64), dtype=np.uint32)
SHA1_START: Final = np.array(
    [0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0], dtype=np.uint32
)
SHA256_START: Final = np.array(_roots(2, 8), dtype=np.uint32)


@dataclass(frozen=True, slots=True)
class Shape:
    """How a kernel lays out its lanes: `groups` interleaved vectors of `width` lanes."""

    width: int
    groups: int
    ternary: bool  # AVX-512: three-input logic in one instruction

    @property
    def lanes(self) -> int:
        return self.width * self.groups


class Vector:
    """Arithmetic on <width x i32> values."""

    def __init__(self, builder: Any, shape: Shape) -> None:
        self.builder = builder
        self.width = shape.width
        self.ternary = shape.ternary
        word = ir.IntType(32)
        self.type = ir.VectorType(word, shape.width)
        self._fshl = self._external(f"llvm.fshl.v{shape.width}i32", [self.type] * 3)
        if shape.ternary:
            self._logic = self._external("llvm.x86.avx512.pternlog.d.512", [self.type] * 3 + [word])

    def _external(self, name: str, arguments: list[Any]) -> Any:
        known = self.builder.module.globals.get(name)
        if known is not None:
            return known
        return ir.Function(self.builder.module, ir.FunctionType(self.type, arguments), name)

    def constant(self, number: int) -> Value:
        one = ir.Constant(ir.IntType(32), number)
        return ir.Constant(self.type, [one] * self.width)

    def broadcast(self, scalar: Value) -> Value:
        first = self.builder.insert_element(
            ir.Constant(self.type, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0)
        )
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.width), None)
        return self.builder.shuffle_vector(first, ir.Constant(self.type, ir.Undefined), zeros)

    def load(self, pointer: Value, offset: Value) -> Value:
        at = self.builder.gep(pointer, [offset])
        loaded = self.builder.load(self.builder.bitcast(at, self.type.as_pointer()))
        loaded.align = 4
        return loaded

    def zeros(self, x: Value, mask: Value) -> Value:
        """Bit i of the 64-bit result: lane i has no bit in common with the mask."""
        hit = self.builder.icmp_unsigned("==", self.builder.and_(x, mask), self.constant(0))
        hit = self.builder.bitcast(hit, ir.IntType(self.width))
        return self.builder.zext(hit, ir.IntType(64))

    def add(self, *terms: Value) -> Value:
        total = terms[0]
        for term in terms[1:]:
            total = self.builder.add(total, term)
        return total

    def rotl(self, x: Value, n: int) -> Value:
        return self.builder.call(self._fshl, [x, x, self.constant(n)])

    def xor3(self, x: Value, y: Value, z: Value) -> Value:
        if self.ternary:
            return self._ternary(x, y, z, 0x96)
        return self.builder.xor(self.builder.xor(x, y), z)

    def choose(self, x: Value, y: Value, z: Value) -> Value:
        if self.ternary:
            return self._ternary(x, y, z, 0xCA)
        return self.builder.xor(z, self.builder.and_(x, self.builder.xor(y, z)))

    def majority(self, x: Value, y: Value, z: Value) -> Value:
        if self.ternary:
            return self._ternary(x, y, z, 0xE8)
        both = self.builder.and_(x, y)
        return self.builder.or_(both, self.builder.and_(z, self.builder.or_(x, y)))

    def _ternary(self, x: Value, y: Value, z: Value, table: int) -> Value:
        return self.builder.call(self._logic, [x, y, z, ir.Constant(ir.IntType(32), table)])


def sha1_tail(v: Vector, field: Word, kw: Word) -> Rounds:
    """First digest word from the folded fields; kw(13) is the nonce word without K, kw(t) K + W.

    a[t] is a after round t, r[t] = rotl30(a[t]).
    """
    x13, x14, x15, x17, r11, r12, h0 = (field(i) for i in range(SHA1_FIELDS))
    a: dict[int, Value] = {13: v.add(x13, kw(13))}
    r = {11: r11, 12: r12, 13: v.rotl(a[13], 30)}
    a[14] = v.add(v.rotl(a[13], 5), x14)
    r[14] = v.rotl(a[14], 30)
    a[15] = v.add(v.rotl(a[14], 5), v.choose(a[13], r12, r11), x15)
    r[15] = v.rotl(a[15], 30)
    yield
    a[16] = v.add(v.rotl(a[15], 5), v.choose(a[14], r[13], r12), v.add(r11, kw(16)))
    r[16] = v.rotl(a[16], 30)
    a[17] = v.add(v.rotl(a[16], 5), v.choose(a[15], r[14], r[13]), x17)
    r[17] = v.rotl(a[17], 30)
    yield
    for t in range(18, 80):
        logic = v.choose if t < 20 else v.majority if 40 <= t < 60 else v.xor3
        f = logic(a[t - 2], r[t - 3], r[t - 4])
        a[t] = v.add(v.rotl(a[t - 1], 5), f, v.add(r[t - 5], kw(t)))
        r[t] = v.rotl(a[t], 30)
        yield
    yield v.add(a[79], h0)


def _sum256(v: Vector, x: Value, i: int, j: int, k: int) -> Value:
    return v.xor3(v.rotl(x, 32 - i), v.rotl(x, 32 - j), v.rotl(x, 32 - k))


def sha256_tail(v: Vector, field: Word, kw: Word) -> Rounds:
    """First digest word from the folded fields; kw as in `sha1_tail`; a[t], e[t] after round t."""
    e13, a13, x14, x15, x16, e12, e11, a12, a11, a10, h0 = (field(i) for i in range(SHA256_FIELDS))
    nonce = kw(13)
    e = {11: e11, 12: e12, 13: v.add(e13, nonce)}
    a = {10: a10, 11: a11, 12: a12, 13: v.add(a13, nonce)}
    folded = {14: x14, 15: x15, 16: x16}  # what a round adds to e and a, e[t - 4] included
    for t in range(14, 64):
        added = folded[t] if t in folded else v.add(e[t - 4], kw(t))
        t1 = v.add(added, v.choose(e[t - 1], e[t - 2], e[t - 3]), _sum256(v, e[t - 1], 6, 11, 25))
        e[t] = v.add(a[t - 4], t1)
        t2 = v.add(_sum256(v, a[t - 1], 2, 13, 22), v.majority(a[t - 1], a[t - 2], a[t - 3]))
        a[t] = v.add(t1, t2)
        yield
    yield v.add(a[63], h0)


def tail(rounds: Callable[[Vector, Word, Word], Rounds], fields: int, shape: Shape) -> Any:
    """Numba intrinsic (lanes, at, schedule, nonce, mask) -> uint64 hits.

    lanes: uint32 (groups, fields, width) from element `at` on; schedule: uint32 (rounds, 16), of
    which column `nonce` is used; mask: uint32.
    """

    @intrinsic
    def run(_: Any, lanes: Any, at: Any, schedule: Any, nonce: Any, mask: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            v = Vector(builder, shape)
            index = ir.IntType(64)

            def element(array: int, at: Any) -> Value:
                kind = context.make_array(signature.args[array])
                return builder.gep(kind(context, builder, args[array]).data, [at])

            fields_at, words_at = element(0, args[1]), element(2, args[3])

            def field(group: int) -> Word:
                return lambda i: v.load(
                    fields_at, ir.Constant(index, (group * fields + i) * shape.width)
                )

            def kw(t: int) -> Value:
                word = builder.load(builder.gep(words_at, [ir.Constant(index, t * 16)]))
                return v.broadcast(word)

            # zip runs the groups in turns, one round each
            *_, words = zip(*(rounds(v, field(g), kw) for g in range(shape.groups)), strict=True)
            hits = ir.Constant(index, 0)
            for i, word in enumerate(words):
                zeros = v.zeros(word, v.broadcast(args[4]))
                hits = builder.or_(hits, builder.shl(zeros, ir.Constant(index, i * shape.width)))
            return hits

        return types.uint64(lanes, types.intp, schedule, types.intp, types.uint32), emit

    return run
