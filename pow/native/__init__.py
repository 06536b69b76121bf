"""The compiled search for SHA-1 and SHA-256 stamps.

Its modules import numpy and numba, so they are imported when a search first needs them.
"""

from typing import Final

BLOCK: Final = 64  # bytes the hashes take at a time
EARLIEST: Final = 55  # byte of a block at which a prefix may end, and beyond


class Exhausted(Exception):
    """Every counter that goes with a prefix was tried: at least 2**42 of them."""


def supports(prefix: str) -> bool:
    """Whether a prefix ends where the kernels need it: at byte 55..63 of a block."""
    return len(prefix) % BLOCK >= EARLIEST
