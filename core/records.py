"""Run records: one JSON object a line, the first of which says how to get the file again."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from core.documents import DocumentError, parse_json
from core.private import opener, parents

PACKAGES = (
    *("powgate", "cryptography", "grpcio", "mlxtend", "numba", "numpy", "protobuf", "safetensors"),
    *("scikit-learn", "scipy", "torch"),
)


class RecordError(ValueError):
    """A record file that cannot be read as one; the message names the file and the line."""


def provenance(seed: int | None) -> dict[str, Any]:
    """What a result depends on besides its configuration.

    `git_revision` is None outside a checkout; `git_modified` says whether tracked files differed
    from it. `date` is UTC, ISO 8601; `cores` counts what this process may use.
    """
    revision = _git("rev-parse", "HEAD")
    changes = None if revision is None else _git("status", "--porcelain", "--untracked-files=no")
    return {
        "seed": seed,
        "git_revision": revision,
        "git_modified": None if changes is None else bool(changes),
        "packages": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "host": platform.node(),
        "system": platform.platform(),
        "cpu": _cpu_model(),
        "cores": _cores(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


class RecordWriter(contextlib.AbstractContextManager["RecordWriter"]):
    """A new record file (an existing one is never touched: FileExistsError), flushed per line.

    It holds privacy costs, so only its owner can read it, and the folders made for it.
    Several threads may write; each line stays whole. Numbers stay numbers: NaN and infinities,
    which JSON does not have, raise ValueError.
    """

    def __init__(self, path: Path | str, header: Mapping[str, Any]) -> None:
        first = _line("header", header)  # a header that is not JSON must not leave an empty file
        parents(path)
        self._open(path, "x")
        self._append(first)

    @classmethod
    def reopen(cls, path: Path | str) -> Self:
        """Go on with a record file that `read` accepts, without the line a killed process left."""
        data = Path(path).read_bytes()
        rest = data.rpartition(b"\n")[2]
        writer = cls.__new__(cls)
        writer._open(path, "a")
        try:
            if rest:
                _parse(Path(path), data.count(b"\n") + 1, rest)
                writer._append("\n")  # complete but for its end
        except RecordError:
            writer._file.truncate(len(data) - len(rest))
        return writer

    def write(self, kind: str, /, **fields: Any) -> None:
        """Append one line of the given kind."""
        if kind == "header":
            raise ValueError("a record has one header, its first line")
        self._append(_line(kind, fields))

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        with self._lock:
            self._file.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, path: Path | str, mode: str) -> None:
        self._lock = threading.Lock()
        self._file = open(path, mode, encoding="ascii", opener=opener)  # noqa: SIM115 - in close

    def _append(self, line: str) -> None:
        with self._lock:
            self._file.write(line)
            self._file.flush()


def read(path: Path | str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The header and the lines of a record file.

    A last line that a killed process left unfinished is dropped and reported by
    header["truncated"] = True. Raises RecordError for anything else that is malformed.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecordError(f"cannot read the record {path}: {error.strerror or error}") from error
    lines = data.split(b"\n")
    records = [_parse(path, number, line) for number, line in enumerate(lines[:-1], 1)]
    truncated = False
    if lines[-1]:  # no newline at the end: complete only if the closing brace got through
        try:
            records.append(_parse(path, len(lines), lines[-1]))
        except RecordError:
            truncated = True
    if not records or records[0]["kind"] != "header":
        raise RecordError(f"{path}, line 1: expected a complete header (kind 'header')")
    header = records.pop(0)
    for number, record in enumerate(records, 2):
        if record["kind"] == "header":
            raise RecordError(f"{path}, line {number}: a second header")
    if truncated:
        header["truncated"] = True
    return header, records


def _line(kind: str, fields: Mapping[str, Any]) -> str:
    if fields.get("kind", kind) != kind:
        raise ValueError(f"the field 'kind' is {fields['kind']!r}, expected {kind!r} or none")
    try:
        text = json.dumps({"kind": kind, **fields}, allow_nan=False, default=_plain)
    except ValueError as error:
        raise ValueError(f"a {kind!r} line cannot be written as JSON: {error}") from error
    return text + "\n"


def _plain(value: object) -> object:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a record cannot hold a {type(value).__name__}")


def _parse(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        record = parse_json(line)
    except DocumentError as error:
        raise RecordError(f"{path}, line {number}: {error}") from error
    if not isinstance(record, dict) or not isinstance(record.get("kind"), str):
        raise RecordError(f"{path}, line {number}: expected an object with a 'kind'")
    return record


def _git(*arguments: str) -> str | None:
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():  # installed elsewhere: the revision around it is not ours
        return None
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(package: str) -> str | None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return None


def _cores() -> int | None:
    if hasattr(os, "sched_getaffinity"):  # Linux: a container may have fewer than the machine
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _cpu_model() -> str:
    with contextlib.suppress(OSError):  # not Linux
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
