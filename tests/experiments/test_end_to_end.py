"""The whole path with real processes: victim, gate, honest client, attacker, page."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.records import read

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]

command = [sys.executable, "-m", "experiments", "run", "smoke"]


HOSTILE = {
    "http_proxy": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
    "grpc_proxy": "http://127.0.0.1:9",
    "no_proxy": "",
    "no_grpc_proxy": "",
    "MPLBACKEND": "no-such-backend",
    "PYTHONIOENCODING": "ascii",
    "NUMBA_DISABLE_JIT": "1",
    "COLUMNS": "40",
}
"""An environment that must not change a run."""


def test_smoke(digits_home: Path, tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfont.size: 40\n")
    out = tmp_path / "out"
    flags = ["--out", str(out), "--home", str(digits_home)]
    done = subprocess.run(
        [*command, *flags, "--web"],
        env={**os.environ, **HOSTILE, "MATPLOTLIBRC": str(tmp_path)},
        capture_output=True,
        text=True,
        umask=0,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"http://127\.0\.0\.1:\d+/", done.stdout)
    assert f"page: {out}" in done.stdout
    assert (out / "logs" / "evaluation-rate.txt").read_text() == ""

    summary = json.loads((out / "summary.json").read_text())
    assert [arm["policy"] for arm in summary["arms"]] == ["none", "rate"]
    assert summary["victim"]["accuracy"] > 0.8
    for arm in summary["arms"]:
        assert arm["server_code"] == 0
        for client, images in zip(arm["clients"], (64, 128), strict=True):
            assert (client["status"], client["images"]) == ("done", images), client
            assert client["cost_per_image"] > 0
        attacker = arm["clients"][1]
        assert len(attacker["checkpoints"]) == 2
        assert 0 <= attacker["accuracy"] <= 1
        assert 0 <= attacker["fidelity"] <= 1
    free, priced = (arm["clients"] for arm in summary["arms"])
    assert all(client["work"] == client["hashes"] == 0 for client in free)
    assert all(client["work"] > 0 for client in priced)
    # The price hides nothing from a payer.
    assert free[1]["accuracy"] == pytest.approx(priced[1]["accuracy"], abs=0.01)
    assert (out / "report.html").read_text(encoding="utf-8").count("<svg ") == 4
    assert "font-size: 40" not in (out / "figures" / "work.svg").read_text(encoding="utf-8")
    # Nothing of it can be read by others, although the umask would have let them.
    private = [out, *out.rglob("*"), *(digits_home / "models" / "digits-lenet-thin-s1").rglob("*")]
    modes = {str(p): oct(stat.S_IMODE(p.stat().st_mode)) for p in private}
    assert modes == {str(p): "0o700" if p.is_dir() else "0o600" for p in private}


BACKGROUND = [
    sys.executable,
    "-c",
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN);"
    "os.execv(sys.argv[1], sys.argv[1:])",
]
"""As a shell starts a job with `&`, whatever started these tests."""


@pytest.mark.slow
def test_a_stop_leaves_records_and_no_process(digits_home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    flags = ["--out", str(out), "--home", str(digits_home)]
    with subprocess.Popen(
        [*BACKGROUND, *command, *flags], stderr=subprocess.PIPE, text=True
    ) as runner:
        started = out / "none" / "clients" / "honest.jsonl"
        while not (started.exists() and started.stat().st_size):  # its header is there
            assert runner.poll() is None, "the run ended before its clients began"
            time.sleep(0.02)
        runner.send_signal(signal.SIGINT)  # is ignored
        runner.send_signal(signal.SIGTERM)
        _, errors = runner.communicate(timeout=60)
    assert runner.returncode == 130
    assert errors == f"interrupted; the records so far are in {out}\n"
    assert not [pid for pid in os.listdir("/proc") if pid.isdecimal() and mentions(pid, out)]
    read(started)
    read(out / "none" / "server.jsonl")
    summary = json.loads((out / "summary.json").read_text())
    assert [arm["policy"] for arm in summary["arms"]] == ["none"]
    assert "done" not in {client["status"] for client in summary["arms"][0]["clients"]}
    assert (out / "report.html").exists()


def mentions(pid: str, path: Path) -> bool:
    """Whether the command line of a process names a path."""
    try:
        return str(path).encode() in Path("/proc", pid, "cmdline").read_bytes()
    except OSError:
        return False
