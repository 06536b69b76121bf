"""The cells of a sweep on the workers of a Ray cluster, one cell a worker at a time.

Ray pickles what goes between a driver and its workers. A job goes there as a string and comes back
as a string and bytes, and the function itself goes by its name. A job is a JSON object: `given` is
the scenario, `source` where it is from, `question` what it asks and `command` how to get it again.
One that is sent also says of which `edition` of powgate it is, and under which `home` ("" is the
worker's own) the worker is to keep victims.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from core import private
from core.home import default_home
from core.learning.artifacts import ArtifactError, write_atomically
from experiments import commands, runner
from experiments.process import RunError
from experiments.scenario import parse

LOCAL = "local"
PATIENCE = 60.0
"""Seconds until an address is given up."""

LOOK = 1.0  # seconds between two looks at which workers there are
FAREWELL = 10.0  # seconds that cancelled cells have to end
QUIET: Mapping[str, Any] = {"log_to_driver": False, "logging_level": "error"}
OWN: Mapping[str, Any] = {
    "include_dashboard": False,
    "object_store_memory": 256 << 20,  # bytes for what cells return; Ray puts the rest on the disk
    "_system_config": {"worker_niceness": 0},  # a server is not to be nice: see `launcher`
}
"""Settings of a Ray of one worker, this machine."""

PROBE = "import ray, sys; ray.init(sys.argv[1], log_to_driver=False, logging_level='error')"
SCRATCH = "powgate-cell-"
SOURCES = ("attacks", "client", "core", "experiments", "pow", "protos", "server")
VICTIM = "victim.safetensors"
LARGEST = 2 << 30  # bytes that the files of a run folder may have in all
READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
"""Errors of a home that is good for reading: what is missing in it stays with the cell."""


def run_on_worker(text: str) -> tuple[str, bytes]:
    """What a worker does with a job: why it failed ("" if it did not), and the run, packed.

    Strings and bytes only, so that nothing but these has to be pickled. The cell has a home of its
    own: a calibration is of one machine and one t_max, and others may use the worker's home, even
    from other machines, at the same time.
    """
    job = json.loads(text)
    host = platform.node()
    if edition() != job["edition"]:
        return f"{host} has powgate {edition()}, expected {job['edition']} as here", b""
    shared = Path(job["home"]) if job["home"] else default_home()
    about = {"given": job["given"], "asks": job["question"], "command": job["command"]}
    try:
        with tempfile.TemporaryDirectory(prefix=SCRATCH) as place:
            own, out = Path(place, "home"), Path(place, "run")
            scenario = parse(job["given"], source=job["source"])
            model = Path("models", commands.model_name(scenario))
            _borrow(shared, own, model)
            reason = runner.attempt(scenario, out, own, console=Console(quiet=True), **about)
            _give_back(own / model, shared / model)
            packed = pack(out) if out.exists() else b""
    except (RunError, OSError) as error:
        return f"{host}: {error}", b""
    return f"{host}: {reason}" if reason else "", packed


@functools.cache
def edition() -> str:
    """Which powgate this is: its version, and a digest of its sources, checked out or installed."""
    root = Path(__file__).parents[1]
    state = hashlib.sha256()
    for path in sorted(path for name in SOURCES for path in (root / name).rglob("*.py")):
        state.update(f"{path.relative_to(root).as_posix()}\0".encode())
        state.update(hashlib.sha256(path.read_bytes()).digest())
    return f"{importlib.metadata.version('powgate')} (sources {state.hexdigest()[:12]})"


def _borrow(shared: Path, own: Path, model: Path) -> None:
    """A home with the data and the victim of another, as far as they are there."""
    private.folder(own / model)
    try:
        private.folder(shared / "datasets")
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise
    if (shared / "datasets").is_dir():
        (own / "datasets").symlink_to((shared / "datasets").absolute())
    else:
        private.folder(own / "datasets")
    for file in (shared / model).glob("*.safetensors"):
        shutil.copy(file, own / model)


def _give_back(own: Path, shared: Path) -> None:
    """Keeps what was trained for other cells, unless it goes with another victim than theirs."""
    there, made = shared / VICTIM, own / VICTIM
    if there.exists() and made.exists() and there.read_bytes() != made.read_bytes():
        return  # trained beside this one, on another kind of machine
    for file in own.glob("*.safetensors"):
        with suppress(ArtifactError):  # it cannot be written: others train it again
            write_atomically(shared / file.name, file.read_bytes(), private=True)


def pack(folder: Path) -> bytes:
    """The files of a run folder as an archive. Raises RunError if they are too large to send."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    if (size := sum(path.stat().st_size for path in files)) > LARGEST:
        raise RunError(
            f"the run folder has {size / 1e9:.3g} GB, more than the {LARGEST / 1e9:.3g} GB that"
            " can be sent"
        )
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for path in files:
            archive.add(path, path.relative_to(folder).as_posix())
    return buffer.getvalue()


def unpack(data: bytes, folder: Path) -> None:
    """Makes `folder`, which must not exist, of an archive: whole or not at all. Raises RunError."""
    draft = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(draft, ignore_errors=True)  # of a process that was killed
    try:
        private.folder(draft, new=True)
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            archive.extractall(draft, filter="data")
        draft.rename(folder)
    except (tarfile.TarError, zlib.error, EOFError) as error:
        raise RunError(f"the archive of {folder.name} is damaged: {error}") from error
    except OSError as error:
        raise RunError(f"cannot unpack into {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


class Workers:
    """The machines of a Ray that this process is connected to."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        # A process of its own for every cell, as here; what is lost is for the next command.
        self._run = ray.remote(max_calls=1, max_retries=0)(run_on_worker)
        self._running: dict[Any, tuple[str, str]] = {}  # reference -> (name, node)

    def run(self, jobs: Mapping[str, str]) -> Iterator[tuple[str, str, bytes]]:
        """Runs jobs (name -> text) and gives (name, why it failed or "", archive) as they end.

        A cell has all processors of its worker: what it measures is seconds. Raises RunError if
        there is no worker to run on.
        """
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        waiting = list(jobs)
        while waiting or self._running:
            busy = {node for _, node in self._running.values()}
            for node, processors in self._nodes().items():
                if waiting and node not in busy:
                    name = waiting.pop(0)
                    there = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
                    task = self._run.options(num_cpus=processors, scheduling_strategy=there)
                    self._running[task.remote(jobs[name])] = name, node
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
        """Ends what still runs. What it started ends with it: see `experiments.process`."""
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

    def _result(self, reference: Any) -> tuple[str, bytes]:
        from ray.exceptions import RayError, RayTaskError

        try:
            reason, packed = self._ray.get(reference)
        except RayTaskError as error:  # nothing that a cell expects
            return f"the worker failed: {_line(error)}", b""
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
    with ExitStack() as stack:
        options = {}
        if address == LOCAL:  # its folder's path goes into that of a socket, of 107 characters
            folder = tempfile.TemporaryDirectory(
                prefix="powgate-ray-", dir="/tmp", ignore_cleanup_errors=True
            )
            options = {**OWN, "_temp_dir": stack.enter_context(folder)}
        else:
            _probe(address)
        stack.callback(ray.shutdown)
        try:
            ray.init(address, **QUIET, **options)
        except (OSError, RuntimeError, ValueError) as error:
            raise RunError(f"no Ray at {address!r}: {_line(error)}") from error
        signal.signal(signal.SIGTERM, terminate)  # Ray has its own idea of it
        workers = Workers(ray)
        stack.callback(workers.stop)
        yield workers


def _probe(address: str) -> None:
    """Raises RunError where no Ray answers; there, Ray waits for minutes and ends its process."""
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


def _line(text: object) -> str:
    """The last line that says something."""
    return (str(text).strip() or "no word").splitlines()[-1].strip()
