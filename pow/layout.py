"""Where the counter of a stamp puts lanes and nonces, for any prefix.

Message = prefix + counter, and the counter's length is chosen so that the last block ends in a
three-character nonce and the first padding byte (word 13 of the block, or 12 or 11).

    prefix ends at byte 55..63 of a block ("chained": what Keyring issues and mint makes)
        block before last   ... prefix | 0 filler | lane (2 characters, 1 from byte 63 on)
        last block          0 filler (44) | epoch (8) | nonce (3) | padding
    prefix ends elsewhere ("worded")
        last block          ... 0 filler | epoch and lane (4) | nonce (3) | padding

An epoch is what one thread scans at a time; epochs never overlap, so nothing is tried twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from pow.hashcash import MAX_COUNTER
from pow.kernels import ALPHABET, Words

BLOCK: Final = 64
NONCE: Final = 3  # characters
_CHARACTERS: Final = bytes(ALPHABET.astype(np.uint8))


@dataclass(frozen=True, slots=True)
class Layout:
    """The counter field that goes with a prefix."""

    prefix: bytes
    length: int  # characters of the counter
    nonce_word: int  # of the last block
    lane_bytes: int  # characters before the last block that tell lanes apart; 0 is worded

    @property
    def last(self) -> int:
        """Offset of the last block in the message."""
        return len(self.prefix) + self.length - 4 * self.nonce_word - NONCE

    @property
    def lanes(self) -> int:
        """The most lanes there can be in one epoch."""
        return 64**self.lane_bytes if self.lane_bytes else 1 << 24

    def epochs(self, lanes: int) -> int:
        """How many epochs of `lanes` lanes there are before counters repeat."""
        return 64**8 if self.lane_bytes else (1 << 24) // lanes

    def counter(self, epoch: int, lane: int, nonce: int, lanes: int) -> str:
        """The counter of one try; `lanes` is how many the epoch has."""
        text = bytearray(b"0" * self.length)
        text[-NONCE:] = _digits(nonce, NONCE)
        if self.lane_bytes:
            text[-NONCE - 8 : -NONCE] = _digits(epoch, 8)
            before = self.last - len(self.prefix)
            text[before - self.lane_bytes : before] = _digits(lane, self.lane_bytes)
        else:
            text[-NONCE - 4 : -NONCE] = _digits(epoch * lanes + lane, 4)
        return text.decode("ascii")

    def blocks(self, epoch: int) -> Words:
        """The padded message of lane 0, nonce 0, as (blocks, 16) big-endian words.

        The nonce word is left zero in a chained layout, where it only may enter as the nonce.
        """
        message = self.prefix + self.counter(epoch, 0, 0, 1).encode("ascii")
        padding = bytes(-(len(message) + 9) % BLOCK)
        padded = message + b"\x80" + padding + (8 * len(message)).to_bytes(8, "big")
        words = np.frombuffer(padded, dtype=">u4").astype(np.uint32).reshape(-1, 16)
        words[-1, self.nonce_word] = 0
        return words

    def worded(self, words: Words, epoch: int, lanes: int) -> Words:
        """Last block of every lane, (16, lanes), from the one of lane 0."""
        spread = np.repeat(words[:, None], lanes, axis=1)
        index = epoch * lanes + np.arange(lanes)
        row = np.zeros(lanes, dtype=np.uint32)
        for shift in (18, 12, 6, 0):
            row = (row << np.uint32(8)) | ALPHABET[(index >> shift) & 63]
        spread[self.nonce_word - 1] = row
        return spread


def layout_for(prefix: bytes) -> Layout:
    """The counter layout of a stamp prefix of any length."""
    end = len(prefix) % BLOCK
    if end >= 55:
        return Layout(prefix, BLOCK - end + 55, 13, min(2, BLOCK - end))
    for word in (13, 12, 11):
        length = 4 * word + NONCE - end
        if length < NONCE + 4:
            length += BLOCK
        if length <= MAX_COUNTER:
            return Layout(prefix, length, word, 0)
    raise AssertionError(f"no counter fits behind byte {end}")  # tests go through all 64


def _digits(number: int, count: int) -> bytes:
    return bytes(_CHARACTERS[number >> 6 * i & 63] for i in reversed(range(count)))
