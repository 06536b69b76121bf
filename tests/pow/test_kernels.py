"""The compiled scans against hashlib: every lane, every nonce, every layout, every kernel."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pow.hashcash import MAX_COUNTER, digest, value
from pow.native import Exhausted, compiled, kernels, scans, supports
from pow.native import search as native
from pow.native.compiled import kernel_name
from pow.native.kernels import HASHES
from pow.native.layout import Layout
from pow.native.scans import SCANS, SHAPES
from pow.native.search import KERNELS, Search
from pow.solver import search


@pytest.fixture(params=KERNELS)
def kernel(request):
    if request.param == "avx512" and kernel_name() != "avx512":
        pytest.skip("this host has no AVX-512")
    return request.param


def searching(prefix, bits, algorithm="sha1", kernel="auto"):
    return Search(prefix, bits, 1, algorithm, kernel)


@pytest.mark.parametrize("algorithm", HASHES)
@pytest.mark.parametrize("length", [59, 60, 63, 128 + 55])
def test_a_scan_finds_what_hashlib_finds(length, algorithm, kernel):
    prefix, bits, epoch = "x" * length, 6, 3
    plan, shape = searching(prefix, bits, algorithm, kernel), SHAPES[kernel]
    words, count = plan.layout.blocks(epoch)[-1], len(plan.chain)
    steps = count // shape.lanes
    first, last = 14 * steps, 19 * steps  # nonces 14..18: across the border of two schedules
    hits = np.zeros((count * 8, 2), dtype=np.uint32)
    span = np.array([first, last, len(hits)], dtype=np.uint32)
    stop = np.zeros(1, dtype=np.uint32)
    w = np.zeros((plan.hash.rounds, 16), dtype=np.uint32)
    lanes = np.empty((count // shape.width, plan.hash.fields, shape.width), np.uint32)
    plan.hash.fold(plan.chain, words, w[:, 0].copy(), lanes)
    found = SCANS[algorithm, kernel](lanes, words, w, span, plan.mask, hits, stop)
    assert span[0] == last
    expected = {
        (lane, nonce)
        for nonce in range(14, 19)
        for lane in range(count)
        if value(prefix + plan.layout.counter(epoch, lane, nonce), algorithm) >= bits
    }
    assert {tuple(hit) for hit in hits[:found].tolist()} == expected
    assert len(expected) == found


@pytest.mark.parametrize("length", [55, 58, 62, 63])
def test_layouts(length):
    layout = Layout(b"p" * (128 + length))
    counters = [
        [layout.counter(7, lane, 5) for lane in range(64**layout.lane_bytes)],
        [layout.counter(7, 9, nonce) for nonce in range(0, 1 << 18, 999)],
        [layout.counter(epoch, 9, 5) for epoch in range(300)],
    ]
    for several in counters:  # they sort as they are searched
        assert several == sorted(set(several))
        assert {len(counter) for counter in several} == {64 - length + 55}
    assert 64 - length + 55 <= MAX_COUNTER
    assert layout.blocks(0).shape == (4, 16)


@pytest.mark.parametrize(("algorithm", "threads"), [("sha1", 1), ("sha256", 2)])
def test_long_searches_repeat_and_skip_nothing(algorithm, kernel, threads):
    bits = 14
    solution = search("x" * 60, bits, 300, algorithm=algorithm, kernel=kernel, threads=threads)
    assert len(set(solution.counters)) == 300
    assert all(value("x" * 60 + c, algorithm) >= bits for c in solution.counters)
    assert abs(solution.hashes / (300 << bits) - 1) < 5 / 300**0.5


def test_a_kernel_that_lies_is_found_out():
    assert searching("x" * 60, 40).mask == 0xFFFFFFFF  # bits beyond it are left to hashlib
    plan = searching("x" * 60, 20)
    assert digest(("x" * 60 + plan.layout.counter(0, 0, 0)).encode())[0] != 0
    with pytest.raises(RuntimeError, match="is broken"):
        plan._report(0, 1, np.zeros((1, 2), dtype=np.uint32))


def test_the_end_of_all_counters_is_noticed(monkeypatch):
    monkeypatch.setattr(native, "EPOCHS", 2)
    plan = searching("x" * 63, 60)
    with pytest.raises(Exhausted, match="all counters"):
        plan.run(2)
    assert plan.hashes == 2 * len(plan.chain) << 18


def test_prefixes_the_kernels_do_not_take():
    taken = [length for length in range(128) if supports("x" * length)]
    assert taken == [*range(55, 64), *range(119, 128)]
    with pytest.raises(ValueError, match="no prefix of 54 characters"):
        search("x" * 54, 12, 1, kernel="portable")


def test_avx512_is_refused_where_there_is_none(monkeypatch):
    monkeypatch.setattr(native, "kernel_name", lambda: "portable")
    with pytest.raises(ValueError, match="no AVX-512"):
        searching("x" * 60, 12, kernel="avx512")
    assert searching("x" * 60, 12).kernel == "portable"


def test_stored_kernels_have_names_of_their_own():
    made = {
        f
        for f in [*vars(kernels).values(), *vars(scans).values(), *SCANS.values()]
        if hasattr(f, "py_func")
    }
    for kind in HASHES.values():
        made |= {kind.absorb, kind.chain, kind.fold, kind.schedule}
    assert len({f.py_func.__qualname__ for f in made}) == len(made) > 12


def test_features_decide_the_kernel(monkeypatch):
    monkeypatch.setattr(compiled, "_features", lambda: "+avx2,-avx512f,+bmi2")
    assert kernel_name() == "portable"
    monkeypatch.setattr(compiled, "_features", lambda: "+avx2,+avx512f")
    assert kernel_name() == "avx512"


@pytest.fixture
def cache_folder(monkeypatch, tmp_path):
    """Where object code of a package in tmp_path goes."""
    package = tmp_path / "pow"
    package.mkdir()
    for name in compiled._SOURCES:
        shutil.copy(Path(compiled.__file__).parent / name, package / name)
    monkeypatch.setattr(compiled, "_HERE", package)
    monkeypatch.setitem(vars(compiled.config), "CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return compiled.cache_folder.__wrapped__


def test_object_code_is_beside_the_package_unless_numba_is_told_otherwise(
    cache_folder, tmp_path, monkeypatch
):
    folder = cache_folder()
    assert folder is not None
    assert folder.parent == tmp_path / "pow/__pycache__"
    (tmp_path / "pow/kernels.py").write_text("changed")
    assert cache_folder() != folder
    monkeypatch.setitem(vars(compiled.config), "CACHE_DIR", str(tmp_path / "elsewhere"))
    assert cache_folder() == tmp_path / "elsewhere"
    monkeypatch.setitem(vars(compiled.config), "CACHE_DIR", "/proc/nowhere")
    assert cache_folder() is None


def test_a_read_only_install_falls_back_to_the_user_and_takes_along_what_is_there(
    cache_folder, tmp_path, monkeypatch
):
    warmed, writable = cache_folder(), compiled._writable
    assert warmed is not None
    monkeypatch.setattr(compiled, "_writable", lambda _: False)
    assert cache_folder() is None
    (warmed / "kernel.nbc").write_text("object code")
    assert cache_folder() == warmed  # what an installer left is read where none can be written
    assert not writable(warmed / "kernel.nbc" / "sub")  # a folder that is a file
    monkeypatch.setattr(
        compiled, "_writable", lambda f: "__pycache__" not in f.parts and writable(f)
    )
    folder = cache_folder()
    assert folder is not None
    assert folder.is_relative_to(tmp_path / "home/powgate")
    assert (folder / "kernel.nbc").read_text() == "object code"


@pytest.mark.process
def test_kernels_come_from_the_cache_in_another_process_and_folder(tmp_path):
    search("x" * 124, 12, 1, algorithm="sha256")  # compiled and stored by now
    code = (
        "from pow.solver import search; search('x' * 124, 12, 1, algorithm='sha256')\n"
        "from pow.native.compiled import kernel_name\n"
        "from pow.native.kernels import HASHES\n"
        "from pow.native.scans import SCANS\n"
        "kind = HASHES['sha256']\n"
        "for f in (kind.absorb, kind.chain, kind.fold, SCANS['sha256', kernel_name()]):\n"
        "    print(sum(f.stats.cache_hits.values()), sum(f.stats.cache_misses.values()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(compiled.__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["1", "0"] * 4
