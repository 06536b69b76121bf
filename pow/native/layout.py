"""Where the counter of a stamp puts lanes and nonces.

Message = prefix + counter, where the prefix ends at byte 55..63 of a block, as those of a Keyring
and of `mint` do, and the counter is as long as it takes:

    block before last   ... prefix | 0 filler | lane (2 characters, 1 from byte 63 on)
    last block          0 filler (44) | epoch (8) | nonce (3) | padding

An epoch is what one thread scans at a time; epochs never overlap, so nothing is tried twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from pow.native import BLOCK
from pow.native.kernels import ALPHABET, Words
from pow.native.rounds import FOLDED

EPOCHS: Final = 64**8
_CHARACTERS: Final = bytes(ALPHABET.astype(np.uint8))


@dataclass(frozen=True, slots=True)
class Layout:
    """The counter field that goes with a prefix."""

    prefix: bytes

    @property
    def before(self) -> int:
        """Characters of the counter before the last block, 1 to 9."""
        return BLOCK - len(self.prefix) % BLOCK

    @property
    def lane_bytes(self) -> int:
        """Characters before the last block that tell lanes apart, 1 or 2."""
        return min(2, self.before)

    def counter(self, epoch: int, lane: int, nonce: int) -> str:
        """The counter of one try."""
        first = _digits(lane, self.lane_bytes).rjust(self.before, b"0")
        return (first + b"0" * 44 + _digits(epoch, 8) + _digits(nonce, 3)).decode("ascii")

    def blocks(self, epoch: int) -> Words:
        """The padded message of lane 0, as (blocks, 16) big-endian words; the nonce word is 0."""
        message = self.prefix + self.counter(epoch, 0, 0).encode("ascii")
        padded = message + b"\x80" + (8 * len(message)).to_bytes(8, "big")
        words = np.frombuffer(padded, dtype=">u4").astype(np.uint32).reshape(-1, 16)
        words[-1, FOLDED] = 0
        return words


def _digits(number: int, count: int) -> bytes:
    return bytes(_CHARACTERS[number >> 6 * i & 63] for i in reversed(range(count)))
