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
from experiments.process import RunError
from experiments.records import finished
from experiments.scenario import read

pytest.importorskip("ray")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.process,
    pytest.mark.timeout(400),
]  # a slow machine has much to start

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
nice = 0
"""
SWEEP = SMALL + '[sweep]\nvictim.dataset = ["digits", "npz:/no/such.npz"]\n'

TERMINAL = [
    sys.executable,
    "-c",
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL);"
    "os.execv(sys.argv[1], sys.argv[1:])",
]
"""As a terminal starts a command, whatever started these tests."""

# Anybody with the token may run anything on these workers, and Ray listens to all.
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": os.urandom(32).hex()}
HEAD = """
import ray, sys
ray = ray.init("local", num_cpus=1, include_dashboard=False, _temp_dir=sys.argv[1],
               _system_config={"worker_niceness": 0}, object_store_memory=80 << 20,
               log_to_driver=False, logging_level="error")
print(ray.address_info["gcs_address"], flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A Ray of one worker that is there before the sweep and after it."""
    place = tempfile.mkdtemp(prefix="pg-", dir="/tmp")  # the path of a socket is short
    head = subprocess.Popen(
        [sys.executable, "-c", HEAD, place],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **TOKEN, "RAY_USAGE_STATS_ENABLED": "0", "TMPDIR": place},
    )
    try:
        assert head.stdout is not None
        yield head.stdout.readline().strip()
    finally:
        head.communicate()
        shutil.rmtree(place, ignore_errors=True)


def start(text: str, out: Path, home: Path, address: str) -> subprocess.Popen[str]:
    """`python -m experiments run` in a session of its own, as in a terminal."""
    file = out.parent / "small.toml"
    file.write_text(text)
    flags = ["--cluster", address, "--home", str(home), "--out", str(out)]
    return subprocess.Popen(
        [*TERMINAL, sys.executable, "-m", "experiments", "run", str(file), *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, **TOKEN, "COLUMNS": "300", "TMPDIR": str(out.parent)},
    )


def ended(run: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = run.communicate(timeout=250)
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


def test_a_sweep_on_a_worker(address: str, tmp_path: Path) -> None:
    out, home = tmp_path / "out", tmp_path / "home"
    run = start(SWEEP, out, home, address)
    begun(run)
    (worker,) = processes("ray::run_on_worker")
    os.kill(worker, signal.SIGKILL)
    code, said = ended(run)
    good, bad = sweep.cells(read(str(tmp_path / "small.toml")))
    assert code == 1
    assert f"error: 2 of 2 cells failed; {good.name}: the worker was lost: " in said
    assert "there is no file /no/such.npz" in said
    assert not (out / good.name).exists()
    until(lambda: not processes("powgate-cell-"), 10)

    code, said = ended(start(SWEEP, out, home, address))
    assert (code, f"error: 1 of 2 cells failed; {bad.name}: " in said) == (1, True), said
    folder = out / good.name
    assert finished(folder, good.scenario.server.policies)
    about: Mapping[str, Any] = json.loads((folder / "scenario.json").read_text())
    assert about["given"] == good.given
    assert about["command"].endswith(f"--home {home} --cluster {address}")
    made = {path.name for path in (home / "models" / commands.model_name(good.scenario)).iterdir()}
    assert made == {"victim.safetensors", "surprisal-typicality.safetensors"}


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
        none = rf"^no Ray answers at '{deaf}' within 2 s$"
        with pytest.raises(RunError, match=none), cluster.connected(deaf):
            pass
    said = "gcs_client.cc: Unauthenticated: RPC error: InvalidAuthToken: ...\nConnectionError"
    ended = subprocess.CompletedProcess([], 1, stderr=said)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: ended)
    token = r"^the Ray at 'h:1' wants its token: set RAY_AUTH_MODE"
    with pytest.raises(RunError, match=token), cluster.connected("h:1"):
        pass
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    with pytest.raises(RunError, match="connected to a Ray already"), cluster.connected("local"):
        pass
