"""The whole path with real processes: victim, gate, an honest client and a thief, then the page."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import experiments
from core.records import read

command = [sys.executable, "-m", "experiments", "run", "smoke"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared, so that the victim is trained once."""
    return tmp_path_factory.mktemp("home")


@pytest.mark.timeout(300)
def test_smoke(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    flags = ["--out", str(out), "--home", str(home)]
    done = subprocess.run([*command, *flags, "--web"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    first, *said = done.stdout.splitlines()
    assert re.fullmatch(r"live: http://127\.0\.0\.1:\d+/", first)
    assert [line.split(":")[0] for line in said if line.startswith("smoke, policy")] == [
        "smoke, policy none",
        "smoke, policy rate",
    ]
    assert (out / "logs" / "evaluation.txt").read_text() == "scored none\nscored rate\n"

    summary = json.loads((out / "summary.json").read_text())
    assert [arm["policy"] for arm in summary["arms"]] == ["none", "rate"]
    assert summary["victim"]["accuracy"] > 0.8
    for arm in summary["arms"]:
        assert arm["server_code"] == 0
        for client, images in zip(arm["clients"], (64, 128), strict=True):
            assert (client["status"], client["images"]) == ("done", images), client
            assert client["cost_per_image"] > 0
        thief = arm["clients"][1]
        assert len(thief["checkpoints"]) == 2
        assert 0 <= thief["accuracy"] <= 1
        assert 0 <= thief["fidelity"] <= 1
    free, priced = (arm["clients"] for arm in summary["arms"])
    assert all(client["work"] == client["hashes"] == 0 for client in free)
    assert all(client["work"] > 0 for client in priced)
    # The price hides nothing from a payer.
    assert free[1]["accuracy"] == pytest.approx(priced[1]["accuracy"], abs=0.01)
    assert (out / "report.html").read_text().count("<svg ") == 4
    again = subprocess.run([*command, *flags], capture_output=True, text=True)
    assert again.returncode == 1
    assert again.stderr == f"error: {out} exists already: a run needs a folder of its own\n"


IGNORING = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN)"
IN_BACKGROUND = [sys.executable, "-c", f"{IGNORING}; os.execv(sys.argv[1], sys.argv[1:])"]
"""As a shell starts a job with `&`."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("shell", "number"),
    [([], signal.SIGINT), (IN_BACKGROUND, signal.SIGTERM)],
    ids=["interrupted", "in the background"],
)
def test_a_stop_leaves_records_and_no_process(
    home: Path, tmp_path: Path, shell: list[str], number: signal.Signals
) -> None:
    out = tmp_path / "out"
    flags = ["--out", str(out), "--home", str(home)]
    with subprocess.Popen([*shell, *command, *flags], stderr=subprocess.PIPE, text=True) as runner:
        started = out / "none" / "clients" / "honest.jsonl"
        while not (started.exists() and started.stat().st_size):  # its header is there
            assert runner.poll() is None, "the run ended before its clients began"
            time.sleep(0.02)
        if number is not signal.SIGINT:
            runner.send_signal(signal.SIGINT)  # is ignored
        runner.send_signal(number)
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


SYBIL = """
extends = "smoke"
name = "sybil"
[server]
policies = ["rate"]
virtual = true
[[clients]]
name = "honest"
processes = 2
images = 32
[[clients]]
name = "knockoff"
start = 0.5
[sweep]
clients.knockoff.accounts = [4]
"""


@pytest.mark.timeout(300)
def test_a_thief_under_several_names(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "sybil.toml"
    file.write_text(SYBIL)
    found = experiments.run(str(file), tmp_path / "out", home=home)
    clients = found.clients.set_index("name")
    assert list(clients.index) == ["honest-1", "honest-2", "knockoff"]
    assert set(clients["status"]) == {"done"}
    assert set(clients["clients.knockoff.accounts"]) == {4}
    thief = clients.loc["knockoff"]
    assert (thief["accounts"], thief["images"]) == (4, 128)  # one budget
    assert thief["work"] > 0
    asked = found.requests[found.requests["client"] == "knockoff"]
    dealt = asked.groupby("account")["images"].sum()
    assert dealt.to_dict() == {f"knockoff-{number}": 32 for number in (1, 2, 3, 4)}
    assert list(found.checkpoints["asked"]) == [64, 128]


def mentions(pid: str, path: Path) -> bool:
    """Whether the command line of a process names a path."""
    try:
        return str(path).encode() in Path("/proc", pid, "cmdline").read_bytes()
    except OSError:
        return False


@pytest.mark.timeout(300)
def test_a_run_ends_well_whatever_the_environment_says(home: Path, tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfont.size: 40\n")
    hostile = {
        "http_proxy": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
        "grpc_proxy": "http://127.0.0.1:9",
        "no_proxy": "",
        "no_grpc_proxy": "",
        "MATPLOTLIBRC": str(tmp_path),
        "MPLBACKEND": "no-such-backend",
        "PYTHONIOENCODING": "ascii",
        "NUMBA_DISABLE_JIT": "1",
        "COLUMNS": "40",
    }
    out = tmp_path / "out"
    done = subprocess.run(
        [*command, "--out", str(out), "--home", str(home)],
        env={**os.environ, **hostile},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (out / "report.html").read_text(encoding="utf-8").count("<svg ") == 4
    assert "font-size: 40" not in (out / "figures" / "work.svg").read_text(encoding="utf-8")
    assert f"page: {out}" in done.stdout
