"""One arm of a run: a server, its clients beside it, and their orderly end.

What is started is a parameter, so that faults can be rehearsed without a model.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from core import private
from core.environment import DIRECT
from core.records import RecordWriter
from experiments.processes import POLL, Child, stop

CLIENT_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
LISTENING = re.compile(r"^listening on (\S+:\d+)\s*$", re.MULTILINE)
LOAD_EVERY = 1.0  # seconds
PENDING = frozenset({"waiting", "running"})  # states of a client that has not ended


class RunError(RuntimeError):
    """A run that cannot go on. The message says what ended it, with the last words of it."""


class View(Protocol):
    """Watches an arm while it runs."""

    def update(self, states: Mapping[str, str]) -> None:
        """Called a few times a second with the state of each client: waiting, running, ..."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """How and when a client shares the machine; niceness so that solvers starve no server."""

    niceness: int = 19
    core: int | None = None  # None is any
    start: float = 0.0  # seconds after the arm began
    background: bool = False  # stopped when all others are done


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """What to start: the server, and each client once the server's address is known."""

    server: Sequence[str]
    clients: Mapping[str, Callable[[str], Sequence[str]]]  # target -> command
    places: Mapping[str, Place] = field(default_factory=dict)
    server_core: int | None = None


def healthy(target: str, seconds: float) -> None:
    """Waits until the gate at `target` says that it serves. Raises RunError if it does not."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(target, DIRECT) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=seconds, wait_for_ready=True
            )
        except grpc.RpcError as error:
            lines = str(error).splitlines()
            details = next((line.strip() for line in lines if "details" in line), lines[0])
            raise RunError(
                f"the server at {target} did not answer its health check: {details}"
            ) from error
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise RunError(f"the server at {target} is listening but does not serve")


def run_arm(
    folder: Path,
    commands: Commands,
    *,
    header: Mapping[str, Any],
    view: View | None = None,
    limit: float,
    patience: float = 60.0,
    grace: float = 10.0,
    check: Callable[[str, float], None] = healthy,
) -> None:
    """Runs an arm to its end in `folder`; its processes have ended when this returns or raises.

    A client that crashes is written down with its last words and stops nobody else. Clients still
    running after `limit` seconds are stopped, those in the background once all others have ended.
    Raises RunError if the server does not come up within `patience` seconds or dies before its
    clients are done.
    """
    private.folder(folder / "clients", new=True)
    logs = folder / "logs"
    server = Child("server", commands.server, logs / "server.txt", core=commands.server_core)
    clients: dict[str, Child] = {}
    try:
        target = _ready(server, folder.name, patience, check)
        with (
            RecordWriter(folder / "runner.jsonl", header) as record,
            RecordWriter(folder / "load.jsonl", header) as load,
        ):
            start = time.monotonic()

            def begin(name: str) -> None:
                place = commands.places.get(name, Place())
                clients[name] = Child(
                    name,
                    commands.clients[name](target),
                    logs / f"{name}.txt",
                    niceness=place.niceness,
                    core=place.core,
                    environment=CLIENT_ENVIRONMENT,
                )
                record.write("start", client=name, at=time.monotonic() - start)

            places = {name: commands.places.get(name, Place()) for name in commands.clients}
            _watch(
                folder.name, server, clients, places, begin, record, load, start, limit, grace, view
            )
            stop([server], grace)
            record.write("server", code=server.code())
    finally:
        stop(clients.values(), grace)
        stop([server], grace)


def _ready(server: Child, arm: str, patience: float, check: Callable[[str, float], None]) -> str:
    deadline = time.monotonic() + patience
    while not (found := LISTENING.search(server.text())):
        if server.code() is not None:
            raise RunError(_last_words(f"arm {arm}: the server did not start", server))
        if time.monotonic() > deadline:
            raise RunError(
                _last_words(f"arm {arm}: the server was not ready after {patience:g} s", server)
            )
        time.sleep(POLL)
    try:
        check(found[1], max(1.0, deadline - time.monotonic()))
    except RunError as error:
        raise RunError(_last_words(f"arm {arm}: {error}", server)) from error
    return found[1]


def _watch(
    arm: str,
    server: Child,
    clients: Mapping[str, Child],
    places: Mapping[str, Place],
    begin: Callable[[str], None],
    record: RecordWriter,
    load: RecordWriter,
    start: float,
    limit: float,
    grace: float,
    view: View | None,
) -> None:
    states = dict.fromkeys(places, "waiting")
    awaited = [name for name, place in places.items() if not place.background]
    sampled = float("-inf")
    while True:
        now = time.monotonic() - start
        over = ""  # why nobody is waited for any longer
        if now > limit:
            over = f"still running after {limit:g} s"
        elif all(states[name] not in PENDING for name in awaited):
            over = "in the background, and all others had ended"
        for name, state in states.items():
            if state == "waiting" and over:
                states[name] = "stopped"
            elif state == "waiting" and now >= places[name].start:
                begin(name)
                states[name] = "running"
        if over:
            stop(clients.values(), grace)
        for name, child in clients.items():
            code = child.code()
            if code is None or states[name] != "running":
                continue
            states[name] = "stopped" if child.stopped else _state(code)
            record.write(
                "exit",
                client=name,
                at=time.monotonic() - start,
                code=code,
                stopped=child.stopped,
                cpu=round(child.cpu, 3),
                tail=over if child.stopped else _why(child, code),
            )
        if now - sampled >= LOAD_EVERY:
            sampled = now
            load.write("load", at=now, one_minute=os.getloadavg()[0])
        if view is not None:
            view.update(states)
        if not PENDING & set(states.values()):
            return
        if server.code() is not None:
            raise RunError(_last_words(f"arm {arm}: the server died while clients ran", server))
        time.sleep(POLL)


def _state(code: int) -> str:
    return {0: "done", 3: "ended early"}.get(code, "crashed")


def _why(child: Child, code: int) -> str:
    if _state(code) != "crashed":
        return ""
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"{how}: {child.tail()}" if child.tail() else how


def _last_words(what: str, child: Child) -> str:
    code = child.code()
    how = "" if code is None else f" (signal {-code})" if code < 0 else f" (exit code {code})"
    words = child.tail().replace("\n", " | ")
    return f"{what}{how}; it said: {words or 'nothing'} [{child.log}]"
