"""Compiling numba kernels once per machine: where their object code is kept.

The cache lies beside the package when that folder can be written (so one installer warms it for
everybody), otherwise in the user's cache folder, seeded with what the installer left.  Its name
holds a hash of the kernel sources, because numba only looks at the file a kernel is called from.
NUMBA_CACHE_DIR, when set, is obeyed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final, TypeVar, cast

import numba
from numba.core import config
from numba.core.registry import cpu_target

Kernel = TypeVar("Kernel", bound=Callable[..., object])

_HERE: Final = Path(__file__).parent
_SOURCES: Final = ("rounds.py", "kernels.py", "scans.py")


def kernel_name() -> str:
    """The kernel this host runs best: "avx512" or "portable" (its vectors, or scalar code)."""
    return "avx512" if "+avx512f" in _features().split(",") else "portable"


def host_processor() -> str:
    """LLVM's name of the processor kernels are compiled for."""
    return str(_codegen()[1])


@cache
def cache_folder() -> Path | None:
    """Folder of compiled kernels, made when missing; None when nowhere can be written."""
    chosen = vars(config)["CACHE_DIR"]
    if chosen:
        return Path(chosen)
    sources = b"".join((_HERE / name).read_bytes() for name in _SOURCES)
    name = f"kernels-{hashlib.sha256(sources).hexdigest()[:12]}"
    beside = _HERE / "__pycache__" / name
    places = [beside]
    with suppress(RuntimeError):  # a user without a home
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        places.append(home / "powgate" / name)
    for folder in places:
        if _writable(folder):
            if folder != beside and beside.is_dir():
                _seed(folder, beside)
            return folder
    return None


def compiled(function: Kernel) -> Kernel:
    """The function as a numba kernel without the GIL, kept on disk where possible."""
    folder = cache_folder()
    settings = vars(config)  # filled at import, hence unknown to type checkers
    before = settings["CACHE_DIR"]
    settings["CACHE_DIR"] = "" if folder is None else str(folder)
    try:
        return cast(Kernel, numba.njit(nogil=True, cache=folder is not None)(function))
    finally:
        settings["CACHE_DIR"] = before


def inlined(function: Kernel) -> Kernel:
    """A numba function that only other kernels call, and that is stored within them."""
    return cast(Kernel, numba.njit(nogil=True)(function))


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
    for source in beside.rglob("*.nb?"):
        target = folder / source.relative_to(beside)
        try:
            if not target.exists():
                target.parent.mkdir(exist_ok=True)
                shutil.copy2(source, target)
        except OSError:
            return
