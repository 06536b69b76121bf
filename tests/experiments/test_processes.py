"""The runner's arm with commands that fail in every way: nothing hangs, nothing is left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from core.records import read
from experiments.commands import Commands, Start
from experiments.process import RunError, healthy
from experiments.runner import run_arm

pytestmark = pytest.mark.process

GATE = (
    "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0));"
    "print('listening on 127.0.0.1:1', flush=True); signal.pause()"
)
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True);"
    "time.sleep(60)"
)


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


WANTED = {"niceness": 0}
"""They are waited for, whatever else this machine does."""


def run(
    folder: Path,
    clients: Mapping[str, str],
    *,
    gate: str = GATE,
    places: Mapping[str, Any] | None = None,
    watch: Callable[[Mapping[str, str]], object] = lambda states: None,
    **options: Any,
) -> Mapping[str, str]:
    """Runs an arm; gives the states that were seen last."""
    states: dict[str, str] = {}

    def view(found: Mapping[str, str]) -> None:
        states.update(found)
        watch(found)

    starts = {
        name: Start(command=lambda _, code=code: python(code), **(places or {}).get(name, WANTED))
        for name, code in clients.items()
    }
    options = {"limit": 20.0, "grace": 0.3, "check": lambda target, seconds: None, **options}
    commands = Commands(server=python(gate), clients=starts)
    run_arm(folder, commands, header={}, view=view, **options)
    return states


def exits(folder: Path) -> dict[str, dict[str, Any]]:
    return {row["client"]: row for row in read(folder / "runner.jsonl")[1] if row["kind"] == "exit"}


def left(folder: Path) -> list[str]:
    """Command lines of processes that still have a log of this folder open."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                files = [os.readlink(fd) for fd in (process / "fd").iterdir()]
            except OSError:
                continue
            if any(file.startswith(str(folder)) for file in files):
                found.append((process / "cmdline").read_text())
    return found


def test_clients_end_as_they_end(tmp_path: Path) -> None:
    states = run(
        tmp_path / "arm",
        {
            "good": "pass",
            "refused": "import sys; sys.exit(3)",
            "bad": "print('so far, so good'); raise ValueError('no such luck')",
            "shot": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        },
    )
    assert states == {"good": "done", "refused": "ended early", "bad": "crashed", "shot": "crashed"}
    ends = exits(tmp_path / "arm")
    assert ends["good"]["tail"] == ends["refused"]["tail"] == ""
    assert ends["bad"]["tail"].startswith("exit code 1: so far, so good\nTraceback")
    assert ends["bad"]["tail"].endswith("ValueError: no such luck")
    assert (ends["shot"]["code"], ends["shot"]["tail"]) == (-11, "signal 11")
    assert read(tmp_path / "arm" / "runner.jsonl")[1][-1] == {"kind": "server", "code": 0}
    load = read(tmp_path / "arm" / "load.jsonl")[1]
    assert load[0]["kind"] == "load"
    assert load[0]["one_minute"] >= 0
    assert left(tmp_path) == []


def test_clients_start_when_they_are_due_and_one_that_hangs_is_stopped(tmp_path: Path) -> None:
    seen: list[str] = []
    start = time.monotonic()
    states = run(
        tmp_path / "arm",
        {"late": "pass", "soon": "pass", "never": "pass", "deaf": STUBBORN},
        places={"late": {**WANTED, "after": 0.4}, "never": {"after": 60.0}},
        watch=lambda states: seen.append(states["late"]),
        limit=4.0,
    )
    assert time.monotonic() - start < 15
    assert states == {"late": "done", "soon": "done", "never": "stopped", "deaf": "stopped"}
    assert seen[0] == "waiting"
    rows = read(tmp_path / "arm" / "runner.jsonl")[1]
    begun = {row["client"]: row["at"] for row in rows if row["kind"] == "start"}
    assert begun.keys() == {"late", "soon", "deaf"}
    assert begun["soon"] < 0.4 <= begun["late"] < 4.0
    deaf = exits(tmp_path / "arm")["deaf"]
    assert (deaf["stopped"], deaf["code"]) == (True, -signal.SIGKILL)
    assert deaf["tail"] == "still running after 4 s"
    assert left(tmp_path) == []


def test_those_in_the_background_are_stopped_when_the_others_are_done(tmp_path: Path) -> None:
    start = time.monotonic()
    clients = {"busy": "import time; time.sleep(60)", "quick": "pass", "late": "pass"}
    places: dict[str, Any] = {name: {**WANTED, "background": True} for name in clients}
    clients |= {"good": "import time; time.sleep(2)", "bad": "import sys; sys.exit(1)"}
    places["late"]["after"] = 60.0
    states = run(tmp_path / "arm", clients, places=places)
    assert 2 < time.monotonic() - start < 15
    expected = {"quick": "done", "late": "stopped", "good": "done", "bad": "crashed"}
    assert states == {"busy": "stopped", **expected}
    busy = exits(tmp_path / "arm")["busy"]
    assert (busy["stopped"], busy["code"]) == (True, -signal.SIGTERM)
    assert busy["tail"] == "in the background, and all others had ended"
    assert left(tmp_path) == []


def test_a_runner_that_ignores_signals_has_children_that_do_not(tmp_path: Path) -> None:
    """A shell starts a background job with SIGINT ignored."""
    tell = (
        "import signal as s;"
        "print(s.getsignal(s.SIGINT) is s.default_int_handler, s.getsignal(s.SIGTERM) is s.SIG_DFL)"
    )
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        run(tmp_path / "arm", {"ann": tell})
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert (tmp_path / "arm" / "logs" / "ann.txt").read_text() == "True True\n"


LOST = "print('listening on h:1', flush=True); import time; time.sleep(.3); raise SystemExit(9)"


DEAD = "import sys; print('first'); sys.exit('port 5 is taken')"
SILENT = "import time; print('thinking', flush=True); time.sleep(60)"
UNHEALTHY = {"check": lambda target, _: healthy(target, 0.3)}


@pytest.mark.parametrize(
    ("gate", "options", "message"),
    [
        (DEAD, {}, r"^arm rate: the server did not start \(exit code 1\); it said: first \| port"),
        (SILENT, {"patience": 0.5}, r"not ready after 0\.5 s; it said: thinking"),
        (GATE, UNHEALTHY, r"127\.0\.0\.1:1 did not answer its health check"),
        (LOST, {}, r"arm rate: the server died while clients ran \(exit code 9\)"),
    ],
    ids=["does not start", "is never ready", "is not healthy", "dies"],
)
def test_a_server_that_ends_the_arm(
    tmp_path: Path, gate: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(RunError, match=message) as caught:
        run(tmp_path / "rate", {"ann": "import time; time.sleep(60)"}, gate=gate, **options)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "rate" / "runner.jsonl").exists() == (gate == LOST)
    assert left(tmp_path) == []


linux = pytest.mark.skipif(sys.platform != "linux", reason="what only Linux does")


def test_an_interrupt_stops_everything(tmp_path: Path) -> None:
    def interrupt(states: Mapping[str, str]) -> None:
        if (tmp_path / "arm" / "logs" / "deaf.txt").read_text() == "on\n":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "arm", {"deaf": STUBBORN, "ann": STUBBORN}, watch=interrupt)
    assert left(tmp_path) == []


@linux
def test_clients_run_where_and_how_they_are_told(tmp_path: Path) -> None:
    tell = (
        "import os; idle = os.sched_getscheduler(0) == os.SCHED_IDLE;"
        "print(os.nice(0), idle, os.environ['OMP_NUM_THREADS'], os.getpgid(0) == os.getpid(),"
        "os.getsid(0), sorted(os.sched_getaffinity(0)))"
    )
    places = {"ann": {}, "bob": {"niceness": 3, "core": -1}}
    run(tmp_path / "arm", {"ann": tell, "bob": tell}, places=places)
    cores = sorted(os.sched_getaffinity(0))
    logs = tmp_path / "arm" / "logs"
    base = os.nice(0)
    # Not in a session of its own: its niceness would count for nothing against the server's.
    alone = f"1 True {os.getsid(0)}"
    assert (logs / "ann.txt").read_text() == f"{min(base + 19, 19)} True {alone} {cores}\n"
    assert (logs / "bob.txt").read_text() == f"{min(base + 3, 19)} False {alone} {cores[-1:]}\n"


@linux
def test_children_die_with_a_runner_that_is_killed(tmp_path: Path) -> None:
    code = f"""
import pathlib, sys, time
from experiments.process import Child
Child("deaf", [sys.executable, "-c", {STUBBORN!r}], pathlib.Path({str(tmp_path / "deaf.txt")!r}))
time.sleep(60)
"""
    runner = subprocess.Popen([sys.executable, "-c", code])
    log = tmp_path / "deaf.txt"
    try:
        _until(lambda: log.exists() and log.read_text() == "on\n")
    finally:
        runner.kill()
        runner.wait()
    _until(lambda: left(tmp_path) == [])


def _until(what: Any, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)
