"""Compiling numba kernels once per machine: where their object code is kept.

The cache lies beside the package when that folder can be written (so one installer warms it for
everybody), otherwise in the user's cache folder, seeded with what the installer left, and where
neither can be written, what the installer left is read. The folder's name holds a hash of the
sources. NUMBA_CACHE_DIR, when set, is obeyed; NUMBA_DISABLE_JIT is not: in plain Python a puzzle
would take hundreds of times as long.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numba
from numba.core import config
from numba.core.registry import cpu_target

from pow.native.kernel_cache import KernelCache

Kernel = TypeVar("Kernel", bound=Callable[..., object])

_HERE: Final = Path(__file__).parent
_SOURCES: Final = ("rounds.py", "kernels.py", "scans.py")
_FORM: Final = b"3"  # of stored kernels: see `pow.native.kernel_cache`


def kernel_name() -> str:
    """The kernel this host runs best: "avx512" or "portable" (its vectors, or scalar code)."""
    return "avx512" if "+avx512f" in _features().split(",") else "portable"


def host_processor() -> str:
    """LLVM's name of the processor kernels are compiled for."""
    return str(_codegen()[1])


@cache
def cache_folder() -> Path | None:
    """Folder of compiled kernels, made when missing.

    None where no folder can be written and none holds kernels to be read.
    """
    places = _places()
    for folder in places:
        if _writable(folder):
            if folder != places[0]:
                _seed(folder, places[0])
            return folder
    return next((folder for folder in places if any(_stored(folder))), None)


def compiled(function: Kernel, name: str = "") -> Kernel:
    """The function as a numba kernel without the GIL, kept on disk where possible.

    `name` is for one that is made by another function, as in `inlined`.
    """
    kernel: Any = inlined(function, name)
    compile_now = kernel.compile

    def compile_for(signature: object) -> object:
        with _compiling():  # numba makes some of what a kernel calls only now
            return compile_now(signature)

    kernel.compile = compile_for
    folder = cache_folder()
    kernel._cache = KernelCache(
        function, folder, _stamp(), "" if folder is not None and _writable(folder) else _advice()
    )
    return cast(Kernel, kernel)


def inlined(function: Kernel, name: str = "") -> Kernel:
    """A numba function that only other kernels call, and that is stored within them.

    Stored kernels carry the object code of what they call under a symbol made of its name and a
    number that starts anew in each process: two functions of one name, stored by different
    processes, would be taken for the same when both are loaded. So each has a name of its own.
    """
    if name:
        function.__name__ = function.__qualname__ = name
    with _compiling():
        return cast(Kernel, numba.njit(nogil=True)(function))


@contextmanager
def _compiling() -> Iterator[None]:
    """Lets numba compile, whatever NUMBA_DISABLE_JIT says."""
    settings = vars(config)  # filled at import, hence unknown to type checkers
    before = settings["DISABLE_JIT"]
    settings["DISABLE_JIT"] = 0
    try:
        yield
    finally:
        settings["DISABLE_JIT"] = before


def _stamp() -> str:
    """Says which sources a kernel is of, and in which form it is stored."""
    sources = b"".join((_HERE / name).read_bytes() for name in _SOURCES)
    return hashlib.sha256(_FORM + sources).hexdigest()[:12]


def _places() -> list[Path]:
    """Where kernels may be kept, the best place first."""
    if chosen := vars(config)["CACHE_DIR"]:
        return [Path(chosen)]
    name = f"kernels-{_stamp()}"
    places = [_HERE / "__pycache__" / name]
    with suppress(RuntimeError):  # a user without a home
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        places.append(home / "powgate" / name)
    return places


def _advice() -> str:
    """What to do where kernels are compiled anew by every process; one line."""
    where = " or ".join(str(folder) for folder in _places())
    return (
        "compiling the puzzle kernels, up to half a minute, at every start: they cannot be stored;"
        f" make {where} writable, or set NUMBA_CACHE_DIR to a folder that is"
    )


@cache
def _codegen() -> tuple[object, ...]:
    return cast("tuple[object, ...]", cpu_target.target_context.codegen().magic_tuple())


def _features() -> str:
    return str(_codegen()[2])


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def _seed(folder: Path, beside: Path) -> None:
    """Copy what is cached beside the package and not yet here; a failure only costs time."""
    with suppress(OSError):
        for source in _stored(beside):
            if not (folder / source.name).exists():
                shutil.copy2(source, folder)


def _stored(folder: Path) -> Iterator[Path]:
    """Files of kernels in a folder."""
    with suppress(OSError):
        yield from folder.glob("*.nbc")
