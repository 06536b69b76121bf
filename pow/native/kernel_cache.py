"""The object code of kernels on disk: a file for each kernel, signature and processor.

numba's own cache trusts what it finds: a file that a full disk or a crash left short ends every
process that reads it. Here each file begins with a digest of the rest, and what cannot be read is
compiled and stored again. Files are replaced whole, so that processes may do this at the same time.
Folders that cannot be written are read, so that an installer warms them for all.
"""

# mypy: disable-error-code="no-untyped-call, no-any-return"

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import secrets
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

import numba
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

_LOG: Final = logging.getLogger(__name__)
_DIGEST: Final = 32  # bytes of SHA-256


class KernelCache(NullCache):
    """The stored code of one kernel in a folder; without a folder it is compiled every time.

    `stamp` says of which sources it is; `advice`, where to keep it, is said once if that is
    nowhere.
    """

    def __init__(
        self, kernel: Callable[..., object], folder: Path | None, stamp: str, advice: str
    ) -> None:
        self._name = f"{kernel.__module__.rpartition('.')[2]}.{kernel.__qualname__}"
        self._folder, self._stamp, self._advice = folder, stamp, advice

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What is stored, or None: then numba compiles. Never raises for what is on the disk."""
        target_context.refresh()
        if self._folder is not None:
            with suppress(OSError):
                data = self._file(self._folder, sig, target_context).read_bytes()
                if hashlib.sha256(data[_DIGEST:]).digest() == data[:_DIGEST]:
                    return _rebuilt(target_context, data[_DIGEST:])
        if self._advice:
            _say_once(self._advice)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Stores it where that is possible; a failure only costs time."""
        if self._folder is None:
            return
        content = dumps(data._reduce())
        file = self._file(self._folder, sig, data.target_context)
        draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(hashlib.sha256(content).digest() + content)
            os.replace(draft, file)
        except OSError as error:  # a full disk; where the folder is read-only that is said
            if not self._advice:
                _say_once(f"compiled kernels cannot be stored: {error}")
            with suppress(OSError):
                draft.unlink(missing_ok=True)

    def _file(self, folder: Path, sig: Any, target_context: Any) -> Path:
        host = target_context.codegen().magic_tuple()
        key = (self._stamp, str(sig), host, numba.__version__, sys.implementation.cache_tag)
        return folder / f"{self._name}-{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.nbc"


def _rebuilt(target_context: Any, data: bytes) -> Any:
    try:
        # this user's own cache, as numba's
        return CompileResult._rebuild(target_context, *pickle.loads(data))  # noqa: S301
    except Exception as error:  # unpickling and linking raise anything
        _LOG.info("a stored kernel is compiled again: %s", error)
        return None


@cache
def _say_once(text: str) -> None:
    _LOG.warning("%s", text)
