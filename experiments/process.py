"""Child processes that end with their parent; a gate among them, until it serves."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from core import private
from core.environment import DIRECT

LISTENING = re.compile(r"^listening on (\S+:\d+)\s*$", re.MULTILINE)
LAUNCHER = Path(__file__).with_name("launcher.py")
POLL = 0.05  # seconds between two looks at a process
WAIT = 0.01  # the same while it is waited for


class RunError(RuntimeError):
    """A run that cannot go on. The message says what ended it, with its last words."""


class Child:
    """A running command whose output goes to a log file; if it `speaks`, only its stderr does.

    The group of its own keeps a Ctrl-C in the terminal to the runner, who then stops its children
    in order. A session of its own would, too, but Linux shares the processor among sessions first
    (sched_autogroup), whatever the niceness of those in them: solvers at nice 19 would starve the
    server. Start children from the main thread: they end with the thread that started them.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        niceness: int = 0,
        core: int | None = None,
        environment: Mapping[str, str] | None = None,
        speaks: bool = False,
    ) -> None:
        self.name = name
        self.log = log
        self.stopped = False  # whether the runner had to stop it
        self.cpu = 0.0  # seconds of CPU that it used, known once it has ended
        private.folder(log.parent)
        place = [str(os.getpid()), str(niceness), "any" if core is None else str(core)]
        with open(log, "xb", opener=private.opener) as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(LAUNCHER), *place, *command],
                stdin=subprocess.DEVNULL,
                stdout=None if speaks else sink,
                stderr=sink,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
                process_group=0,
                umask=private.UMASK,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        if self._process.returncode is None:
            pid, status, used = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self._process.returncode = os.waitstatus_to_exitcode(status)
                self.cpu = used.ru_utime + used.ru_stime
        return self._process.returncode

    def text(self) -> str:
        """What it said so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def tail(self, lines: int = 6) -> str:
        """The last non-empty lines it said."""
        return "\n".join([line for line in self.text().splitlines() if line.strip()][-lines:])

    def how(self) -> str:
        """How it ended; "" while it runs."""
        code = self.code()
        return "" if code is None else f"signal {-code}" if code < 0 else f"exit code {code}"

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to it and whatever it started; harmless once it has ended."""
        if self.code() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def wait(self, seconds: float | None = None) -> int | None:
        """Waits for its end; its exit code, None if it is still running after `seconds`."""
        deadline = float("inf") if seconds is None else time.monotonic() + seconds
        while self.code() is None and time.monotonic() < deadline:
            time.sleep(WAIT)
        return self.code()


def stop(children: Iterable[Child], grace: float) -> None:
    """SIGTERM to all that still run, SIGKILL to those that still do after `grace` seconds."""
    running = [child for child in children if child.code() is None]
    for child in running:
        child.stopped = True
        child.signal(signal.SIGTERM)
    deadline = time.monotonic() + grace
    for child in running:
        if child.wait(max(0.0, deadline - time.monotonic())) is None:
            child.signal(signal.SIGKILL)
            child.wait()


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


def ready(server: Child, arm: str, patience: float, check: Callable[[str, float], None]) -> str:
    """The address at which a server says that it serves. Raises RunError."""
    deadline = time.monotonic() + patience
    while not (found := LISTENING.search(server.text())):
        if server.code() is not None:
            raise died(arm, "the server did not start", server)
        if time.monotonic() > deadline:
            raise died(arm, f"the server was not ready after {patience:g} s", server)
        time.sleep(POLL)
    try:
        check(found[1], max(1.0, deadline - time.monotonic()))
    except RunError as error:
        raise died(arm, str(error), server) from error
    return found[1]


def died(arm: str, what: str, server: Child) -> RunError:
    """The end of an arm by its server, whose last words it tells."""
    how = f" ({ended})" if (ended := server.how()) else ""
    words = server.tail().replace("\n", " | ")
    return RunError(f"arm {arm}: {what}{how}; it said: {words or 'nothing'} [{server.log}]")
