"""Runs a scenario with real processes and leaves one folder behind; see `experiments.records`.

Each policy of its server is an arm: a gate, its clients beside it, and their orderly end. What an
arm starts is a parameter, so that faults can be rehearsed without a model.
"""

from __future__ import annotations

import datetime
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from core import private
from core.command import UNREAD
from core.documents import read_json
from core.learning.artifacts import ArtifactError, write_atomically
from core.learning.datasets import DatasetError
from core.records import RecordWriter, provenance
from experiments import commands, evaluation, pins
from experiments.commands import Commands, Start
from experiments.groups import Attacker
from experiments.process import POLL, Child, RunError, died, healthy, ready, stop
from experiments.records import FolderError
from experiments.scenario import Scenario, question

CLIENT_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
LOAD_EVERY = 1.0  # seconds
PENDING = frozenset({"waiting", "running"})  # states of a client that has not ended
STATES = {0: "done", 3: "ended early"}  # of a client, by its exit code


def run(
    scenario: Scenario,
    out: Path,
    home: Path,
    *,
    given: Mapping[str, Any] | None = None,
    asks: str | None = None,
    command: str = "",
    console: Console | None = None,
    calibration: Mapping[str, Any] | None = None,
    write: Callable[[Path], object] = lambda folder: None,
) -> Path:
    """Prepares the victim, runs every arm, evaluates the surrogates; `write` makes the page.

    What it uses is pinned by content (`experiments.pins`), the calibration copied into `out`; a
    file that changes under it ends it. `out` must not exist. If preparing fails nothing is left of
    it; if an arm fails or the run is interrupted, the records stay, with a report of what they
    hold. The prices are those of `calibration`, or of one made now. `asks` is what the first lines
    of its source say, where that cannot be read. Raises RunError.
    """
    console = console or Console()
    out, home = out.absolute(), home.absolute()
    new_folder(out)
    price = commands.calibration(out)
    try:
        _step("prepare", commands.prepare(scenario, home), out, console)
        if calibration is not None:
            write_json(price, calibration)
        elif commands.priced(scenario):
            _step("calibrate", commands.calibrate(scenario, home, out), out, console)
        for client in scenario.clients:
            if isinstance(client, Attacker) and commands.knows_costs(client):
                command_line = commands.costs(scenario, client, out, home)
                _step(f"costs-{client.name}", command_line, out, console)
        made_by = provenance(scenario.seed)
        pinned = pins.take(scenario, out, home)
        about = {
            "given": given if given is not None else scenario.resolved(),
            "resolved": scenario.resolved(),
            "question": question(scenario.source) if asks is None else asks,
            "command": command,
            "calibration": read_json(price) if price.exists() else {},
            "pinned": pinned,
            "provenance": made_by,
        }
        write_json(out / "scenario.json", about)
    except BaseException:
        shutil.rmtree(out)
        raise

    def score() -> None:
        evaluation.complete(
            out, commands.victim(scenario, home), home, data=commands.data(scenario)
        )

    def served(target: str, seconds: float) -> None:
        """The server has read its files: it read those of this run if they are those still."""
        healthy(target, seconds)
        pins.check(pinned)

    try:
        for policy in scenario.server.policies:
            folder = out / policy
            console.print(f"policy {policy}", highlight=False, markup=False)
            scorer = Child(
                "evaluation",
                commands.evaluate(scenario, policy, out, home),
                out / "logs" / f"evaluation-{policy}.txt",
                niceness=19,
                environment=CLIENT_ENVIRONMENT,
            )
            try:
                run_arm(
                    folder,
                    commands.arm(scenario, policy, folder, home),
                    header={"arm": policy, "scenario": scenario.name, **made_by},
                    limit=scenario.limit,
                    check=served,
                )
            finally:
                stop([scorer], grace=1.0)
            pins.check(pinned)
            score()
    except (KeyboardInterrupt, RunError):
        try:
            if not pins.changed(pinned):
                score()
            write(out)
        except (ArtifactError, FolderError) as error:
            text = f"no report of what was run so far: {error}"
            console.print(text, highlight=False, markup=False)
        raise
    write(out)
    return out


def attempt(scenario: Scenario, out: Path, home: Path, **options: Any) -> str:
    """A run, like `run`; why it failed, "" if it did not."""
    try:
        run(scenario, out, home, **options)
    except (RunError, FolderError, ArtifactError, DatasetError) as error:
        return str(error)
    return ""


def default_folder(name: str) -> Path:
    """Where a run goes, another folder for each run."""
    now = datetime.datetime.now()
    return Path("runs") / f"{name}-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def new_folder(out: Path) -> None:
    """Makes the folder of a run or of a sweep. Raises RunError."""
    try:
        private.folder(out, new=True)
    except FileExistsError as error:
        raise RunError(f"{out} exists already: a run needs a folder of its own") from error
    except OSError as error:
        raise RunError(f"cannot create {out}: {error.strerror}") from error


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Writes what a run or a sweep says of itself. Raises ArtifactError."""
    write_atomically(file, f"{json.dumps(content, indent=2)}\n".encode(), private=True)


def _step(name: str, command: list[str], out: Path, console: Console) -> None:
    """Runs a command that shows its own progress on stdout; its complaints go to the log."""
    console.print(f"[dim]python {' '.join(command[1:])}[/dim]", soft_wrap=True, highlight=False)
    child = Child(name, command, out / "logs" / f"{name}.txt", speaks=True)
    try:
        code = child.wait()
    finally:
        stop([child], grace=5.0)
    if code == UNREAD:
        raise BrokenPipeError(f"nobody reads what {name} prints")
    if code:
        words = child.tail(1) or "it said nothing"
        raise RunError(f"{name} failed (exit code {code}): {words}")


def run_arm(
    folder: Path,
    wanted: Commands,
    *,
    header: Mapping[str, Any],
    view: Callable[[Mapping[str, str]], None] = lambda states: None,
    limit: float,
    patience: float = 60.0,
    grace: float = 10.0,
    check: Callable[[str, float], None] = healthy,
) -> None:
    """Runs an arm to its end in `folder`; its processes have ended when this returns or raises.

    A client that crashes is written down with its last words and stops nobody else. Clients still
    running after `limit` seconds are stopped, those in the background once all others have ended.
    `view` is given the state of each client a few times a second. Raises RunError if the server
    does not come up within `patience` seconds or dies before its clients are done.
    """
    private.folder(folder / "clients", new=True)
    server = Child("server", wanted.server, folder / "logs" / "server.txt", core=wanted.server_core)
    clients: dict[str, Child] = {}
    try:
        target = ready(server, folder.name, patience, check)
        with (
            RecordWriter(folder / "runner.jsonl", header) as record,
            RecordWriter(folder / "load.jsonl", header) as load,
        ):
            start, sampled = time.monotonic(), float("-inf")
            states = dict.fromkeys(wanted.clients, "waiting")
            while True:
                now = time.monotonic() - start
                over = _over(wanted.clients, states, now, limit)
                for name, client in wanted.clients.items():
                    if states[name] == "waiting" and over:
                        states[name] = "stopped"
                    elif states[name] == "waiting" and now >= client.after:
                        clients[name] = _started(name, client, target, folder)
                        states[name] = "running"
                        record.write("start", client=name, at=time.monotonic() - start)
                if over:
                    stop(clients.values(), grace)
                for name, child in clients.items():
                    code = child.code()
                    if code is not None and states[name] == "running":
                        states[name] = STATES.get(code, "crashed")
                        why = ""
                        if states[name] == "crashed":
                            why = ": ".join(filter(None, (child.how(), child.tail())))
                        if child.stopped:
                            states[name], why = "stopped", over
                        record.write(
                            "exit",
                            client=name,
                            at=time.monotonic() - start,
                            code=code,
                            stopped=child.stopped,
                            cpu=round(child.cpu, 3),
                            tail=why,
                        )
                if now - sampled >= LOAD_EVERY:
                    sampled = now
                    load.write("load", at=now, one_minute=os.getloadavg()[0])
                view(states)
                if not PENDING & set(states.values()):
                    break
                if server.code() is not None:
                    raise died(folder.name, "the server died while clients ran", server)
                time.sleep(POLL)
            stop([server], grace)
            record.write("server", code=server.code())
    finally:
        stop(clients.values(), grace)
        stop([server], grace)


def _over(clients: Mapping[str, Start], states: Mapping[str, str], now: float, limit: float) -> str:
    """Why nobody is waited for any longer; "" while somebody is."""
    if now > limit:
        return f"still running after {limit:g} s"
    if any(states[name] in PENDING for name, client in clients.items() if not client.background):
        return ""
    return "in the background, and all others had ended"


def _started(name: str, client: Start, target: str, folder: Path) -> Child:
    return Child(
        name,
        client.command(target),
        folder / "logs" / f"{name}.txt",
        niceness=client.niceness,
        core=client.core,
        environment=CLIENT_ENVIRONMENT,
    )
