"""The compiled scans against hashlib: every lane, every nonce, every layout, every kernel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pow.native import compiled, scans
from pow.native.compiled import kernel_name
from pow.hashcash import MAX_COUNTER, digest, value
from pow.native.layout import Layout, layout_for
from pow.native.search import Search
from pow.native.rounds import SHA1_START, SHA256_K, SHA256_START
from pow.native.scans import HASHES
from pow.solver import Exhausted, search

KERNELS = ("avx512", "portable", "scalar")


def needs(kernel: str) -> None:
    if kernel == "avx512" and kernel_name() != "avx512":
        pytest.skip("this host has no AVX-512")


def test_constants_are_fips_180_4() -> None:
    assert [f"{SHA256_K[i]:08x}" for i in (0, 1, 63)] == ["428a2f98", "71374491", "c67178f2"]
    assert f"{SHA256_START[0]:08x}{SHA256_START[7]:08x}" == "6a09e6675be0cd19"
    assert f"{SHA1_START[4]:08x}" == "c3d2e1f0"


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_absorbing_blocks(algorithm: str) -> None:
    kind = HASHES[algorithm]
    state, w = kind.start.copy(), np.zeros(kind.rounds, dtype=np.uint32)
    layout = layout_for(b"p" * 190)
    blocks = layout.blocks(5)
    blocks[-1, layout.nonce_word] = int.from_bytes(b"+++\x80", "big")  # nonce 0, left empty
    for block in blocks:
        w[:16] = block
        kind.absorb(state, w)
    message = b"p" * 190 + layout_for(b"p" * 190).counter(5, 0, 0, 1).encode()
    assert state.astype(">u4").tobytes() == digest(message, algorithm)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
@pytest.mark.parametrize("length", [59, 60, 63, 128 + 55, 10, 50, 53, 64])
def test_a_scan_finds_what_hashlib_finds(length: int, algorithm: str, kernel: str) -> None:
    needs(kernel)
    prefix, bits, epoch = "x" * length, 6, 3
    plan = Search(prefix, bits, 1, algorithm, kernel, lambda _: None)
    layout, shape = plan.layout, plan.scan.shape
    words = layout.blocks(epoch)[-1]
    steps = plan.lanes // shape.lanes if layout.lane_bytes else 1
    first, last = 14 * steps, 19 * steps  # nonces 14..18: across the border of two schedules
    hits = np.zeros((plan.lanes * 8, 2), dtype=np.uint32)
    span = np.array([first, last, len(hits)], dtype=np.uint32)
    stop = np.zeros(1, dtype=np.uint32)
    w = np.zeros((plan.hash.rounds, 16), dtype=np.uint32)
    if layout.lane_bytes:
        lanes = np.empty((plan.lanes // shape.width, plan.hash.fields, shape.width), np.uint32)
        plan.hash.fold(plan.chain, words, w[:, 0].copy(), lanes)
        found = plan.scan.chained(lanes, words, w, span, plan.mask, hits, stop)
    else:
        spread = layout.worded(words, epoch, plan.lanes)
        arguments = (plan.state, spread, layout.nonce_word, span, plan.mask, hits, stop)
        found = plan.scan.worded(*arguments)
    assert span[0] == last
    expected = {
        (lane, nonce)
        for nonce in range(14, 19)
        for lane in range(plan.lanes)
        if value(prefix + layout.counter(epoch, lane, nonce, plan.lanes), algorithm) >= bits
    }
    assert {tuple(hit) for hit in hits[:found].tolist()} == expected
    assert len(expected) == found


@pytest.mark.parametrize("length", range(64))
def test_every_prefix_has_a_layout(length: int) -> None:
    prefix = b"p" * (128 + length)
    layout = layout_for(prefix)
    assert 7 <= layout.length <= MAX_COUNTER
    assert (layout.last + 4 * layout.nonce_word + 3) == len(prefix) + layout.length
    assert layout.last % 64 == 0
    assert bool(layout.lane_bytes) == (length >= 55)
    seen = {layout.counter(e, lane, n, 32) for e in (0, 1) for lane in (0, 31) for n in (0, 99)}
    assert len(seen) == 8
    assert all(len(counter) == layout.length for counter in seen)


@pytest.mark.parametrize("length", [60, 10])
def test_counters_sort_as_they_are_searched(length: int) -> None:
    layout = layout_for(b"p" * length)
    by_lane = [layout.counter(7, lane, 5, 512) for lane in range(512)]
    by_nonce = [layout.counter(7, 9, nonce, 512) for nonce in range(0, 1 << 18, 999)]
    by_epoch = [layout.counter(epoch, 9, 5, 512) for epoch in range(300)]
    for counters in (by_lane, by_nonce, by_epoch):
        assert counters == sorted(set(counters))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
@pytest.mark.parametrize("threads", [1, 2])
def test_long_searches_repeat_and_skip_nothing(algorithm: str, kernel: str, threads: int) -> None:
    needs(kernel)
    bits = 12 if kernel == "scalar" else 15
    solution = search("x" * 60, bits, 300, algorithm=algorithm, kernel=kernel, threads=threads)
    assert len(set(solution.counters)) == 300
    assert all(value("x" * 60 + c, algorithm) >= bits for c in solution.counters)
    assert abs(solution.hashes / (300 << bits) - 1) < 5 / 300**0.5


def test_bits_beyond_the_first_word_are_left_to_hashlib() -> None:
    plan = Search("x" * 60, 40, 1, "sha1", "auto", lambda _: None)
    assert plan.mask == 0xFFFFFFFF


def test_a_kernel_that_lies_is_found_out() -> None:
    plan = Search("x" * 60, 20, 1, "sha1", "auto", lambda _: None)
    assert digest(("x" * 60 + plan.layout.counter(0, 0, 0, 64)).encode())[0] != 0
    with pytest.raises(RuntimeError, match="is broken"):
        plan._report(0, 1, np.zeros((1, 2), dtype=np.uint32))


@pytest.mark.parametrize("threads", [1, 2])
def test_the_end_of_all_counters_is_noticed(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Layout, "epochs", lambda self, lanes: 2)
    plan = Search("x" * 10, 60, 1, "sha1", "auto", lambda _: None)
    with pytest.raises(Exhausted, match="all counters"):
        plan.run(threads)
    assert plan.hashes == 2 * plan.lanes << 18


def test_avx512_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pow.native.kernel_name", lambda: "portable")
    with pytest.raises(ValueError, match="no AVX-512"):
        search("p", 12, 1, kernel="avx512")
    assert Search("p", 12, 1, "sha1", "auto", lambda _: None).kernel == "portable"


def test_stored_scans_have_names_of_their_own() -> None:
    made = [f for name, f in vars(scans).items() if name.startswith(("_sha1_", "_sha256_"))]
    assert len({f.py_func.__qualname__ for f in made}) == len(made) == 12


def test_features_decide_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_features", lambda: "+avx2,-avx512f,+bmi2")
    assert kernel_name() == "portable"
    monkeypatch.setattr(compiled, "_features", lambda: "+avx2,+avx512f")
    assert kernel_name() == "avx512"


class TestCacheFolder:
    """Where object code goes; numba's own setting wins."""

    @pytest.fixture(autouse=True)
    def _fresh(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        package = tmp_path / "pow"
        package.mkdir()
        for name in compiled._SOURCES:
            shutil.copy(Path(compiled.__file__).parent / name, package / name)
        monkeypatch.setattr(compiled, "_HERE", package)
        monkeypatch.setitem(vars(compiled.config), "CACHE_DIR", "")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
        self.folder = compiled.cache_folder.__wrapped__

    def test_beside_the_package(self, tmp_path: Path) -> None:
        folder = self.folder()
        assert folder.parent == tmp_path / "pow/__pycache__"
        (tmp_path / "pow/kernels.py").write_text("changed")
        assert self.folder() != folder

    def test_a_read_only_install_falls_back_to_the_user_and_takes_along_what_is_there(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        warmed = self.folder()
        (warmed / "kernel.nbi").write_text("object code")
        writable = compiled._writable
        monkeypatch.setattr(
            compiled, "_writable", lambda f: "__pycache__" not in f.parts and writable(f)
        )
        folder = self.folder()
        assert folder.is_relative_to(tmp_path / "home/powgate")
        assert (folder / "kernel.nbi").read_text() == "object code"

    def test_nowhere_to_write(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(compiled, "_writable", lambda _: False)
        assert self.folder() is None

    def test_what_an_installer_left_is_read_where_nothing_can_be_written(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        warmed = self.folder()
        (warmed / "kernel.nbi").write_text("object code")
        monkeypatch.setattr(compiled, "_writable", lambda _: False)
        assert self.folder() == warmed

    def test_numbas_own_setting_wins(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(vars(compiled.config), "CACHE_DIR", str(tmp_path / "elsewhere"))
        assert self.folder() == tmp_path / "elsewhere"
        monkeypatch.setitem(vars(compiled.config), "CACHE_DIR", "/proc/nowhere")
        assert self.folder() is None

    def test_a_folder_that_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        assert not compiled._writable(tmp_path / "file" / "sub")


def test_kernels_come_from_the_cache_in_another_working_folder(tmp_path: Path) -> None:
    search("x" * 60, 12, 1)  # compiled and stored by now
    code = (
        "from pow.solver import Exhausted, search; search('x' * 60, 12, 1)\n"
        "from pow.native.scans import HASHES\n"
        "from pow.native.compiled import kernel_name\n"
        "s = HASHES['sha1'].scans[kernel_name()].chained.stats\n"
        "print(sum(s.cache_hits.values()), sum(s.cache_misses.values()))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(compiled.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["1", "0"]
