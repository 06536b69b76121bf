"""One cell of a sweep, from plain data to a run folder: the same here and on a worker elsewhere.

A job is a JSON object: `given` is the scenario, `source` where it is from, `question` what it asks
and `command` how to get it again. One that is sent also says of which `edition` of powgate it is,
and under which `home` ("" is the worker's own) the worker is to keep victims.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import hashlib
import importlib.metadata
import json
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from core import private
from experiments.scenario import ScenarioError, parse

PLACE = "powgate-cell-"
SOURCES = ("attacks", "client", "core", "experiments", "pow", "protos", "server")
VICTIM = "victim.safetensors"
READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
"""Errors of a home that is good for reading: what is missing in it stays with the cell."""


def run(
    job: Mapping[str, Any],
    folder: Path,
    home: Path,
    *,
    calibrate: bool = True,
    console: Console | None = None,
    write: Callable[[Path], object] = lambda folder: None,
) -> str:
    """Runs a cell into `folder`, which must not exist; returns why it failed, "" if it did not."""
    from core.learning.artifacts import ArtifactError
    from core.learning.datasets import DatasetError
    from experiments import runner
    from experiments.arm import RunError
    from experiments.records import FolderError

    try:
        runner.run(
            parse(job["given"], source=job["source"]),
            folder,
            home,
            given=job["given"],
            asks=job["question"],
            command=job["command"],
            calibrate=calibrate,
            console=console,
            write=write,
        )
    except (RunError, FolderError, ArtifactError, DatasetError, ScenarioError) as error:
        return str(error)
    return ""


def away(text: str) -> tuple[str, bytes]:
    """What a worker does with a job: why it failed ("" if it did not), and the run as a parcel.

    Strings and bytes only, so that nothing but these has to be pickled. The cell has a home of its
    own: a calibration is of one machine and one t_max, and others may use the worker's home, even
    from other machines, at the same time.
    """
    from core.home import default_home
    from experiments import commands, parcel

    job = json.loads(text)
    host = platform.node()
    if edition() != job["edition"]:
        return f"{host} has powgate {edition()}, expected {job['edition']} as here", b""
    shared = Path(job["home"]) if job["home"] else default_home()
    try:
        with _place() as place:
            own, out = place / "home", place / "run"
            model = Path("models", commands.model_name(parse(job["given"])))
            _borrow(shared, own, model)
            reason = run(job, out, own, console=Console(quiet=True))
            _give_back(own / model, shared / model)
            packed = parcel.pack(out) if out.exists() else b""
    except parcel.ParcelError as error:
        return f"{host}: {error}", b""
    except OSError as error:
        return f"{host}: {error.filename or 'a file'}: {error.strerror or error}", b""
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


@contextmanager
def _place() -> Iterator[Path]:
    """A folder for one cell, removed after it; those whose worker was killed go now."""
    for left in Path(tempfile.gettempdir()).glob(f"{PLACE}*"):
        with suppress(OSError), (left / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=PLACE) as name, open(f"{name}/new", "xb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        Path(name, "new").rename(Path(name, "lock"))  # under this name it was never without
        yield Path(name)


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
    from core.learning.artifacts import ArtifactError, write_atomically

    if not (own / VICTIM).exists():
        return
    there = shared / VICTIM
    if there.exists() and there.read_bytes() != (own / VICTIM).read_bytes():
        return  # trained beside this one, on another kind of machine
    for file in own.glob("*.safetensors"):
        data, other = file.read_bytes(), shared / file.name
        if not other.exists() or other.read_bytes() != data:
            with suppress(ArtifactError):  # it cannot be written: others train it again
                write_atomically(other, data, private=True)
