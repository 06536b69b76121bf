"""The cells of a sweep on the workers of a Ray cluster, one cell a worker at a time.

Ray pickles what goes between a driver and its workers; a job goes there as a string and comes back
as a string and bytes (`experiments.jobs`), and the function itself goes by its name.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from experiments.arm import RunError
from experiments.jobs import away

LOCAL = "local"
PATIENCE = 60.0
"""Seconds until an address is given up."""

LOOK = 1.0  # seconds between two looks at which workers there are
FAREWELL = 10.0  # seconds that cancelled cells have to end
QUIET: Mapping[str, Any] = {"log_to_driver": False, "logging_level": "error"}
STORE = 256 << 20  # bytes of shared memory for what cells return; Ray puts the rest on the disk
PROBE = "import ray, sys; ray.init(sys.argv[1], log_to_driver=False, logging_level='error')"


class Workers:
    """The machines of a Ray that this process is connected to."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        # A process of its own for every cell, as here; what is lost is for the next command.
        self._away = ray.remote(max_calls=1, max_retries=0)(away)
        self._running: dict[Any, tuple[str, str]] = {}  # reference -> (name, node)

    def run(self, jobs: Mapping[str, str]) -> Iterator[tuple[str, str, bytes]]:
        """Runs jobs (name -> text) and gives (name, why it failed or "", parcel) as they end.

        A cell has all processors of its worker: what it measures is seconds. Raises RunError if
        there is no worker to run on.
        """
        waiting = list(jobs)
        while waiting or self._running:
            nodes = self._nodes()
            busy = {node for _, node in self._running.values()}
            for node in nodes:
                if waiting and node not in busy:
                    self._send(waiting.pop(0), jobs, node, nodes[node])
            if not self._running:
                raise RunError(f"the cluster has no worker left for {len(waiting)} cells")
            done, _ = self._ray.wait(list(self._running), num_returns=1, timeout=LOOK)
            for reference in done:
                name, _ = self._running.pop(reference)
                yield name, *self._result(reference)

    def count(self) -> int:
        """How many cells run at once."""
        return len(self._nodes())

    def stop(self) -> None:
        """Ends what still runs. What it started ends with it: see `experiments.leash`."""
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        if self._running:
            left = list(self._running)
            self._ray.wait(left, num_returns=len(left), timeout=FAREWELL)
        self._running.clear()

    def _nodes(self) -> dict[str, float]:
        """Processors of each machine that is there."""
        nodes = [node for node in self._ray.nodes() if node["Alive"]]
        return {
            node["NodeID"]: node["Resources"]["CPU"]
            for node in nodes
            if node["Resources"].get("CPU", 0) >= 1
        }

    def _send(self, name: str, jobs: Mapping[str, str], node: str, processors: float) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
        task = self._away.options(num_cpus=processors, scheduling_strategy=there)
        self._running[task.remote(jobs[name])] = name, node

    def _result(self, reference: Any) -> tuple[str, bytes]:
        from ray.exceptions import RayError, RayTaskError

        try:
            reason, packed = self._ray.get(reference)
        except RayTaskError as error:  # nothing that a cell expects: the last line says what
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            return f"the worker failed: {lines[-1]}", b""
        except RayError as error:
            return f"the worker was lost: {str(error).strip().splitlines()[0]}", b""
        return reason, packed


@contextmanager
def connected(address: str) -> Iterator[Workers]:
    """The workers of the Ray at an address; LOCAL starts one here and shuts it down after.

    Raises RunError where there is no Ray.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would tell its makers
    try:
        import ray
    except ImportError as error:
        raise RunError("a cluster needs Ray: pip install 'powgate[cluster]'") from error
    if ray.is_initialized():
        raise RunError("this process is connected to a Ray already: call ray.shutdown() first")
    terminate = signal.getsignal(signal.SIGTERM)
    # Its path goes into that of a socket, which has 107 characters.
    place = tempfile.mkdtemp(prefix="powgate-ray-", dir="/tmp") if address == LOCAL else None
    try:
        _start(ray, place) if place is not None else _join(ray, address)
        signal.signal(signal.SIGTERM, terminate)  # Ray has its own idea of it
        workers = Workers(ray)
        try:
            yield workers
        finally:
            workers.stop()
    finally:
        ray.shutdown()
        if place is not None:
            shutil.rmtree(place, ignore_errors=True)


def _start(ray: Any, place: str) -> None:
    """Starts a Ray of one worker, this machine."""
    try:
        ray.init(
            LOCAL,
            include_dashboard=False,
            object_store_memory=STORE,
            _temp_dir=place,
            _system_config={"worker_niceness": 0},  # a server is not to be nice: see `leash`
            **QUIET,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise RunError(f"Ray does not start here: {_line(str(error))}") from error


def _join(ray: Any, address: str) -> None:
    """Connects to a Ray that is there.

    Another process tries first: where no Ray answers, Ray waits for minutes and then ends it.
    """
    try:
        tried = subprocess.run(
            [sys.executable, "-c", PROBE, address],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired as error:
        raise RunError(f"no Ray answers at {address!r} within {PATIENCE:g} s") from error
    if "InvalidAuthToken" in tried.stderr:
        raise RunError(
            f"the Ray at {address!r} wants its token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN"
            " unless it is in ~/.ray/auth_token"
        )
    if tried.returncode:
        raise RunError(f"no Ray answers at {address!r}: {_line(tried.stderr)}")
    try:
        ray.init(address, **QUIET)
    except (OSError, RuntimeError, ValueError) as error:
        raise RunError(f"no Ray answers at {address!r}: {_line(str(error))}") from error


def _line(text: str) -> str:
    """The last line that says something."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no word")
