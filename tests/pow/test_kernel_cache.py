"""Stored kernels: a damaged file is replaced, and where nothing can be stored, that is said."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import pytest
from numba.core.codegen import CPUCodegen

from pow.native import compiled
from pow.native.kernel_cache import KernelCache


def triple(number):
    return 3 * number


def start(folder, stamp="of these sources"):
    """Calls the kernel as a new process would; how often it was found, and was not."""
    kernel: Any = numba.njit(nogil=True)(triple)
    kernel._cache = KernelCache(triple, folder, stamp, "")
    assert kernel(2) == 6
    return sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values())


def flipped(data):
    return data[:-40] + bytes([data[-40] ^ 1]) + data[-39:]


def other(data):
    """What nobody can unpickle, behind its digest."""
    return hashlib.sha256(data[40:]).digest() + data[40:]


@pytest.mark.parametrize(
    "damage",
    [lambda data: b"", lambda data: data[:50], lambda data: bytes(len(data)), flipped, other],
)
def test_a_damaged_file_is_replaced(tmp_path, damage):
    tmp_path = tmp_path / "made"
    assert start(tmp_path) == (0, 1)
    assert start(tmp_path) == (1, 0)
    (file,) = tmp_path.iterdir()  # and no drafts
    file.write_bytes(damage(file.read_bytes()))
    assert start(tmp_path) == (0, 1)
    assert start(tmp_path) == (1, 0)


def test_code_of_another_processor_version_or_source_is_not_taken(tmp_path, monkeypatch):
    assert start(tmp_path) == (0, 1)
    assert start(tmp_path, "of other sources") == (0, 1)
    monkeypatch.setattr(numba, "__version__", "0.0")
    assert start(tmp_path) == (0, 1)
    monkeypatch.setattr(CPUCodegen, "magic_tuple", lambda _: ("another", "processor", ""))
    assert start(tmp_path) == (0, 1)
    assert start(tmp_path) == (1, 0)
    assert len(list(tmp_path.iterdir())) == 4
    for folder in (None, Path("/proc/nowhere")):
        assert start(folder) == (0, 1)  # which costs time only


def run(**environment):
    code = (
        "from pow.native.compiled import compiled\n"
        "from test_kernel_cache import triple\n"
        "kernel = compiled(triple)\n"
        "print(kernel(2), len(kernel.signatures)); kernel(2.5)"
    )
    path = os.pathsep.join((str(Path(compiled.__file__).parents[1]), str(Path(__file__).parent)))
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.process
def test_where_nothing_can_be_stored_one_line_says_so_once():
    done = run(NUMBA_CACHE_DIR="/proc/nowhere")
    assert done.stdout == "6 1\n"
    assert done.stderr == (
        "compiling the puzzle kernels, up to half a minute, at every start: they cannot be stored;"
        " make /proc/nowhere writable, or set NUMBA_CACHE_DIR to a folder that is\n"
    )


@pytest.mark.process
def test_kernels_are_compiled_whatever_numba_is_told(tmp_path):
    done = run(
        NUMBA_DISABLE_JIT="1",
        NUMBA_CACHE_DIR=str(tmp_path),
        NUMBA_CACHE_LOCATOR_CLASSES="no.such.Locator",
    )
    assert (done.stdout, done.stderr) == ("6 1\n", "")
    assert len(list(tmp_path.glob("*.nbc"))) == 2
