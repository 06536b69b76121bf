"""The scans: every nonce of an epoch tried on every lane, without the GIL.

A stamp's last block ends in a three-character nonce.  What tells lanes apart are characters of the
counter that end the block before.  `pow.native.layout` turns (epoch, lane, nonce) back into a
counter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from pow.native.compiled import compiled, inlined
from pow.native.kernels import HASHES, Words
from pow.native.rounds import Shape, tail

_u32 = np.uint32

SHAPES: Final = {
    "avx512": Shape(width=16, groups=2, ternary=True),
    "portable": Shape(width=8, groups=2, ternary=False),
}


@inlined
def _append(hits: Words, found: int, bits: Any, lane: int, nonce: int) -> int:
    """Append (lane, nonce) of every set bit; how many hits there are now."""
    while bits != np.uint64(0):
        if bits & np.uint64(1):
            hits[found, 0] = _u32(lane)
            hits[found, 1] = _u32(nonce)
            found += 1
        bits = bits >> np.uint64(1)
        lane += 1
    return found


def _scan(name: str, kernel: str) -> Callable[..., int]:
    """The scan of one hash with one kernel."""
    shape, schedule, fields = SHAPES[kernel], HASHES[name].schedule, HASHES[name].fields
    step = shape.lanes
    run = tail(HASHES[name].tail, fields, shape)

    def scan(
        lanes: Words, words: Words, w: Words, span: Words, mask: Any, hits: Words, stop: Words
    ) -> int:
        """The number of hits, written as (lane, nonce) rows of `hits`.

        span = (first step, end, hits wanted), where a step is one vector of lanes at one nonce;
        span[0] becomes the first step not done.  `hits` must have room for what is wanted and a
        step more.  A non-zero stop[0], seen once per nonce, ends the scan.
        """
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
                    found = _append(hits, found, bits, part * step, nonce)
                part += 1
                at += 1
        span[0] = at
        return found

    return compiled(scan, f"{name}_{kernel}")


SCANS: Final = {(name, kernel): _scan(name, kernel) for name in HASHES for kernel in SHAPES}
