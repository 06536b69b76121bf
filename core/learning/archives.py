"""Reads untrusted NumPy archives (.npz): sizes are checked before any array is allocated.

An array is allocated by what its header says, so the header is compared with the bytes that are
there, and with the memory of this machine, first.
"""

from __future__ import annotations

import math
import os
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

SUFFIX = ".npy"
NAMED = 12
"""Arrays that a message names, at most."""


class ArchiveError(ValueError):
    """An archive that cannot be read; one line that does not name the file."""


@dataclass(frozen=True, slots=True)
class Header:
    """What an array in an archive is, as it says itself."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    bytes: int

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}"


def headers(path: Path) -> dict[str, Header]:
    """What arrays an archive holds. Raises OSError, ArchiveError."""
    with _understood("an archive of arrays"), open(path, "rb") as file:
        if file.read(len(npy.MAGIC_PREFIX)) == npy.MAGIC_PREFIX:
            raise ArchiveError("is a single array, expected an archive (.npz)")
        file.seek(0)
        with zipfile.ZipFile(file) as archive:
            found = {}
            for entry in archive.infolist():
                name = entry.filename.removesuffix(SUFFIX)
                if name != entry.filename:
                    with archive.open(entry) as member:
                        found[name] = _header(name, member, entry.file_size)
            return found


def read(path: Path, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """The arrays of these names. Raises OSError, ArchiveError; memory is taken for none of them
    where they are too large together."""
    wanted, found, arrays = list(names), headers(path), {}
    fits(sum(found[name].bytes for name in wanted))
    with _understood("an archive of arrays"), zipfile.ZipFile(path) as archive:
        for name in wanted:
            with archive.open(name + SUFFIX) as member:
                arrays[name] = npy.read_array(member, allow_pickle=False)
                member.read(1)  # the end, where the checksum is compared
    return arrays


def read_single(path: Path) -> NDArray[Any]:
    """The array of a file that holds one by itself (.npy). Raises OSError, ArchiveError."""
    with _understood("an array"), open(path, "rb") as file:
        fits(_header("the array", file, os.fstat(file.fileno()).st_size).bytes)
        file.seek(0)
        array: NDArray[Any] = npy.read_array(file, allow_pickle=False)
        return array


def listed(found: dict[str, Header]) -> str:
    """What an archive holds, for a message."""
    named = [f"{name} {found[name]}" for name in sorted(found)[:NAMED]]
    more = [f"{len(found) - NAMED} more"] if len(found) > NAMED else []
    return ", ".join([*named, *more]) or "nothing"


def fits(size: int) -> None:
    """Raises ArchiveError for more bytes than this machine could work with: half its memory."""
    most = memory() // 2
    if size > most:
        raise ArchiveError(
            f"declares {size / 2**30:.3g} GiB, expected at most {most / 2**30:.3g} GiB, "
            "half of this machine's memory"
        )


def memory() -> int:
    """Bytes of memory that this machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


# zipfile raises RuntimeError for what is encrypted, or compressed in a way it does not know.
_DAMAGE = (
    ArithmeticError,
    EOFError,
    KeyError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    tokenize.TokenError,  # of a header that is no Python
    zipfile.BadZipFile,
    zlib.error,
)


@contextmanager
def _understood(what: str) -> Iterator[None]:
    """Turns what damaged files raise into an ArchiveError."""
    try:
        yield
    except ArchiveError:
        raise
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ArchiveError(f"cannot be read as {what}: {reason}") from error


def _header(name: str, member: IO[bytes], size: int) -> Header:
    """What an array in a file of `size` bytes says of itself, where it holds no less and no more.

    Raises ValueError.
    """
    version = npy.read_magic(member)
    if version == (1, 0):
        shape, _, dtype = npy.read_array_header_1_0(member)
    elif version == (2, 0):
        shape, _, dtype = npy.read_array_header_2_0(member)
    else:
        raise ValueError(f"arrays of format {version}, expected 1.0 or 2.0")
    declared, held = math.prod(shape) * dtype.itemsize, size - member.tell()
    if min(shape, default=0) < 0 or (not dtype.hasobject and declared != held):
        raise ValueError(f"{name} declares {dtype} {shape}, {declared} bytes, but holds {held}")
    return Header(dtype, shape, declared)
