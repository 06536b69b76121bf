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
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from core.records import read
from experiments import commands, runner
from experiments.scenario import Scenario, load
from server import calibration, model

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]

command = [sys.executable, "-m", "experiments", "run", "smoke"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared, so that the victim is trained once."""
    return tmp_path_factory.mktemp("home")


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


def test_smoke(home: Path, tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfont.size: 40\n")
    out = tmp_path / "out"
    flags = ["--out", str(out), "--home", str(home)]
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
    private = [out, *out.rglob("*"), *(home / "models").rglob("*")]
    modes = {str(p): oct(stat.S_IMODE(p.stat().st_mode)) for p in private}
    assert modes == {str(p): "0o700" if p.is_dir() else "0o600" for p in private}


HANDLING = "import os, signal, sys; signal.signal(signal.SIGINT, signal.{}); "
BECOMING = "os.execv(sys.argv[1], sys.argv[1:])"
TERMINAL, BACKGROUND = (
    [sys.executable, "-c", HANDLING.format(how) + BECOMING] for how in ("SIG_DFL", "SIG_IGN")
)
"""As a shell starts a command, and a job with `&`, whatever started these tests."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shell", "number"),
    [(TERMINAL, signal.SIGINT), (BACKGROUND, signal.SIGTERM)],
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


def mentions(pid: str, path: Path) -> bool:
    """Whether the command line of a process names a path."""
    try:
        return str(path).encode() in Path("/proc", pid, "cmdline").read_bytes()
    except OSError:
        return False


class Beside(Console):
    """Stands for the terminal: when an arm begins, somebody calibrates with other prices."""

    def __init__(self, home: Path, scenario: Scenario) -> None:
        super().__init__(quiet=True)
        self.calibration = calibration.path(
            home, commands.model_name(scenario), scenario.server.measure
        )

    def print(self, *words: Any, **_: Any) -> None:
        if words == ("policy rate",):
            content = json.loads(self.calibration.read_text())
            content |= {name: content[name] * 128 for name in ("t_min", "t_max")}
            self.calibration.write_text(json.dumps(content))


@pytest.mark.slow
def test_calibrating_beside_a_run_changes_no_price_in_it(home: Path, tmp_path: Path) -> None:
    scenario, _ = load("smoke")
    scenario = replace(
        scenario,
        server=replace(scenario.server, policies=("rate",)),
        clients=scenario.clients[:1],
    )
    out = tmp_path / "out"
    console = Beside(home, scenario)
    runner.run(scenario, out, home, console=console)
    about = json.loads((out / "scenario.json").read_text())
    fingerprint = about["calibration"]["fingerprint"]
    own = calibration.load(commands.calibration(out), fingerprint)
    other = calibration.load(console.calibration, fingerprint)
    assert other.t_min == 128 * own.t_min
    rows = [json.loads(x) for x in (out / "rate" / "server.jsonl").read_text().splitlines()]
    prices = [row["work"] for row in rows if row["kind"] == "predict" and row["images"] == 16]
    least = [each.policy("rate").t_min * each.hash_rate() * 16 / 64 for each in (own, other)]
    assert least[0] * 0.9 < min(prices) < least[1] / 8
    name = commands.model_name(scenario)
    digest = about["pinned"]["the victim"]
    assert digest["file"] == str(model.victim_file(home, name))
