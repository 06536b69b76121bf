"""Sweeps on a Ray of this machine: real workers, real runs, a process for each command."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from experiments import cluster, commands, sweep
from experiments.arm import RunError
from experiments.scenario import read

pytest.importorskip("ray")

SMALL = """
name = "small"
seed = 1
[victim]
dataset = "digits"
network = "lenet-thin"
[server]
policies = ["rate"]
t_max = 0.05
[[clients]]
name = "ann"
kind = "honest"
images = 16
"""
SWEEP = SMALL + '[sweep]\nvictim.dataset = ["digits", "npz:/no/such.npz"]\n'

# Whoever has the token may run what he likes on these workers, and Ray listens to all.
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": os.urandom(32).hex()}
HEAD = """
import ray, sys
ray = ray.init("local", num_cpus=1, include_dashboard=False, _temp_dir=sys.argv[1],
               object_store_memory=80 << 20, log_to_driver=False, logging_level="error")
print(ray.address_info["gcs_address"], flush=True)
sys.stdin.read()
"""
MAIN = "from experiments.__main__ import main; main()"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A Ray of one worker that is there before the sweep and after it."""
    place = tempfile.mkdtemp(prefix="pg-", dir="/tmp")  # the path of a socket is short
    head = subprocess.Popen(
        [sys.executable, "-c", HEAD, place],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **TOKEN, "RAY_USAGE_STATS_ENABLED": "0"},
    )
    try:
        assert head.stdout is not None
        yield head.stdout.readline().strip()
    finally:
        head.communicate()
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def start(
    text: str, out: Path, home: Path, address: str, *, before: str = "", **environment: str
) -> subprocess.Popen[str]:
    """`python -m experiments run`, after some other Python; in a session as of a terminal."""
    file = out.parent / "small.toml"
    file.write_text(text)
    flags = ["--cluster", address, "--home", str(home), "--out", str(out)]
    return subprocess.Popen(
        [sys.executable, "-c", before + MAIN, "run", str(file), *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, **TOKEN, "COLUMNS": "300", **environment},
    )


def ended(run: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = run.communicate(timeout=100)
    assert "Traceback" not in said, said
    return run.returncode, said


def begun(run: subprocess.Popen[str]) -> None:
    """Waits until something of the cell runs on a worker."""
    while not processes("server", "powgate-cell-"):
        assert run.poll() is None, ended(run)
        time.sleep(0.05)


def processes(*words: str) -> list[int]:
    """Those whose command line has all these words."""
    return [pid for pid, line in _proc("cmdline") if all(word in line for word in words)]


def session(leader: int) -> list[int]:
    """Those of one session."""
    return [pid for pid, line in _proc("stat") if line.rpartition(")")[2].split()[3] == str(leader)]


def _proc(what: str) -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                yield int(entry.name), (entry / what).read_bytes().decode(errors="replace")
            except OSError:
                continue  # it ended


def until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def test_a_sweep_on_a_worker(address: str, home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, said = ended(start(SWEEP, out, home, address))
    failed = "1 of 2 cells failed; 2-dataset=npz--no-such.npz"
    assert (code, f"error: {failed}" in said) == (1, True), said
    assert "there is no file /no/such.npz" in said
    cell, _ = sweep.cells(read(str(tmp_path / "small.toml")))
    folder = out / cell.name
    assert sweep.finished(folder, cell.scenario)
    about: Mapping[str, Any] = json.loads((folder / "scenario.json").read_text())
    assert about["given"] == cell.given
    assert about["command"].endswith(f"--home {home} --cluster {address}")
    assert {entry.name for entry in out.iterdir()} >= {cell.name, "sweep.json", "report.html"}
    made = {path.name for path in (home / "models" / commands.model_name(cell.scenario)).iterdir()}
    assert made == {"victim.safetensors", "surprisal-typicality.safetensors"}

    before = (folder / "summary.json").stat()
    code, said = ended(start(SWEEP, out, home, address))
    assert (code, f"cell {cell.name} is there" in said, failed in said) == (1, True, True), said
    assert (folder / "summary.json").stat() == before


def test_a_worker_with_another_powgate_is_refused(address: str, home: Path, tmp_path: Path) -> None:
    other = "from experiments import jobs; jobs.edition = lambda: '0.0.9 (sources 0123)'; "
    code, said = ended(start(SMALL, tmp_path / "out", home, address, before=other))
    assert code == 1
    assert "expected 0.0.9 (sources 0123) as here" in said
    assert not (tmp_path / "out").exists()


def test_a_lost_worker_is_a_failed_cell(address: str, home: Path, tmp_path: Path) -> None:
    run = start(SMALL, tmp_path / "out", home, address)
    begun(run)
    (worker,) = processes("ray::away")
    os.kill(worker, signal.SIGKILL)
    code, said = ended(run)
    assert (code, "small: the worker was lost: " in said) == (1, True), said
    until(lambda: not processes("powgate-cell-"), 10)
    assert not (tmp_path / "out").exists()


def test_a_wrong_token(address: str, tmp_path: Path) -> None:
    run = start(SMALL, tmp_path / "out", tmp_path, address, RAY_AUTH_TOKEN="0" * 64)
    code, said = ended(run)
    assert (code, f"error: the Ray at '{address}' wants its token" in said) == (1, True), said


def test_ctrl_c_leaves_nothing_running(tmp_path: Path) -> None:
    places = set(Path("/tmp").glob("powgate-ray-*"))
    run = start(SMALL, tmp_path / "out", tmp_path / "home", "local")
    begun(run)
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does
    assert ended(run)[0] == 130
    until(lambda: not session(run.pid) and not processes("powgate-cell-"), 10)
    assert set(Path("/tmp").glob("powgate-ray-*")) <= places
    assert not (tmp_path / "out").exists()


def test_where_no_ray_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "PATIENCE", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        deaf = f"127.0.0.1:{silent.getsockname()[1]}"
        with (
            pytest.raises(RunError, match=rf"^no Ray answers at '{deaf}' within 2 s$"),
            cluster.connected(deaf),
        ):
            pass
    monkeypatch.setattr(cluster, "PATIENCE", 60.0)
    with (
        pytest.raises(RunError, match=r"^no Ray answers at 'nonsense': .*nonsense"),
        cluster.connected("nonsense"),
    ):
        pass


def test_one_ray_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    with pytest.raises(RunError, match="connected to a Ray already"), cluster.connected("local"):
        pass
