"""The object code of kernels on disk: numba's cache, but a damaged file is replaced, not believed.

numba trusts what it finds: a file that a full disk or a crash left short ends every process that
reads it, and nobody removes it. Here each file begins with a digest of the rest, and what cannot
be read is removed and compiled again. Files are replaced whole, so that processes may do this at
the same time. Folders that cannot be written are read, so that an installer warms them for all.
"""

# mypy: disable-error-code="no-untyped-call, no-any-return"

from __future__ import annotations

import hashlib
import inspect
import logging
import pickle
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    IndexDataCacheFile,
    _CacheLocator,
)

_LOG: Final = logging.getLogger(__name__)
_DIGEST: Final = 32  # bytes of SHA-256


class KernelCache(FunctionCache):
    """The stored code of one kernel in a folder; without a folder it is compiled every time.

    `stamp` says of which sources it is; `advice`, where to keep it, is said once if that is
    nowhere.
    """

    def __init__(
        self, kernel: Callable[..., object], folder: Path | None, stamp: str, advice: str
    ) -> None:
        self._name, self._py_func = repr(kernel), kernel
        self._impl = _Impl(kernel, _Locator(kernel, folder or Path(), stamp))
        self._cache_path = self._impl.locator.get_cache_path()
        self._cache_file = _CheckedFile(self._cache_path, self._impl.filename_base, stamp)
        self._folder, self._advice = folder, advice
        self.enable()

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What is stored, or None: then numba compiles. Never raises for what is on the disk."""
        if self._folder is not None:
            try:
                found = super().load_overload(sig, target_context)
            except Exception as error:  # unpickling and linking damaged files raise anything
                _LOG.info("a stored kernel is compiled again: %s", error)
                self._discard()
            else:
                if found is not None:
                    return found
        if self._advice:
            _say_once(self._advice)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Stores it where that is possible; a failure only costs time."""
        if self._folder is None:
            return
        for _ in range(2):
            try:
                return super().save_overload(sig, data)
            except OSError as error:  # a full disk; where the folder is read-only that is said
                if not self._advice:
                    _say_once(f"compiled kernels cannot be stored: {error}")
                return
            except Exception:  # the index is damaged
                self._discard()

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        """The stamp stands for the code: a kernel made by a function holds what has no content."""
        return sig, codegen.magic_tuple()

    def _discard(self) -> None:
        for file in Path(self._cache_path).glob(f"{self._impl.filename_base}.*"):
            with suppress(OSError):
                file.unlink()


@cache
def _say_once(text: str) -> None:
    _LOG.warning("%s", text)


class _Locator(_CacheLocator):
    """A folder that is given, and a stamp that is."""

    def __init__(self, kernel: Callable[..., object], folder: Path, stamp: str) -> None:
        self._py_file = inspect.getfile(kernel)
        self._line = kernel.__code__.co_firstlineno
        self._folder, self._stamp = folder, stamp

    def get_cache_path(self) -> str:
        return str(self._folder)

    def get_source_stamp(self) -> str:
        return self._stamp

    def get_disambiguator(self) -> str:
        return str(self._line)


class _Impl(CompileResultCacheImpl):
    """numba's own, but it is told where, whatever the environment says."""

    def __init__(self, kernel: Callable[..., object], locator: _Locator) -> None:
        self._lineno = kernel.__code__.co_firstlineno
        self._locator = locator
        name = f"{kernel.__module__.rpartition('.')[2]}.{kernel.__qualname__}"
        self._filename_base = self.get_filename_base(name, sys.abiflags)


class _CheckedFile(IndexDataCacheFile):
    """numba's own index; object code behind its digest, for damaged code would be run."""

    def _load_data(self, name: str) -> Any:
        data = Path(self._data_path(name)).read_bytes()
        if hashlib.sha256(data[_DIGEST:]).digest() != data[:_DIGEST]:
            raise ValueError(f"{name} is damaged")
        return pickle.loads(data[_DIGEST:])  # noqa: S301 - this user's own cache, as numba's

    def _save_data(self, name: str, data: Any) -> None:
        content = self._dump(data)
        with self._open_for_write(self._data_path(name)) as file:
            file.write(hashlib.sha256(content).digest() + content)
