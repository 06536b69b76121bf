"""The results of a run or of a sweep as pandas frames, for notebooks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from experiments import records
from experiments.records import SWEEP_FILE, FolderError, read_sweep
from experiments.summary import summarise


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Results:
    """What was found. Of a sweep, each frame has a column more for each field that was swept.

    clients      a row for each policy and client: what its summary says; seconds and latencies are
                 columns, such as `total_seconds` and `ask_p99_seconds`
    requests     a row for each answered batch, as `experiments.records.Request`; `account` asked it
    checkpoints  a row for each surrogate that was saved, as `experiments.records.Checkpoint`
    missing      names of the cells of a sweep that hold no run that can be read
    """

    folder: Path
    clients: pd.DataFrame
    requests: pd.DataFrame
    checkpoints: pd.DataFrame
    missing: tuple[str, ...] = ()


def read(folder: Path) -> Results:
    """The results in the folder of a run or of a sweep. Raises FolderError."""
    rows: dict[str, list[dict[str, Any]]] = {"clients": [], "requests": [], "checkpoints": []}
    missing: list[str] = []
    if not (folder / SWEEP_FILE).exists():
        _add(rows, folder, {})
    else:
        for cell in read_sweep(folder)["cells"]:
            try:
                _add(rows, folder / cell["name"], cell["changes"])
            except FolderError:
                missing.append(cell["name"])
        if not rows["clients"]:
            raise FolderError(f"{folder} holds no run that can be read")
    frames = {name: pd.DataFrame.from_records(found) for name, found in rows.items()}
    return Results(folder=folder, missing=tuple(missing), **frames)


def _add(
    rows: Mapping[str, list[dict[str, Any]]], folder: Path, changes: Mapping[str, Any]
) -> None:
    run = records.read(folder)
    for arm in summarise(run)["arms"]:
        for client in arm["clients"]:
            seconds = dict(client["seconds"])
            for part, levels in (client["latency"] or {}).items():
                seconds |= {f"{part}_{level}": value for level, value in levels.items()}
            nested = ("seconds", "latency", "checkpoints", "course")
            plain = {key: value for key, value in client.items() if key not in nested}
            plain |= {f"{key}_seconds": value for key, value in seconds.items()}
            rows["clients"].append({**changes, "policy": arm["policy"], **plain})
    for policy in run.policies:
        for each in policy.clients:
            who = {**changes, "policy": policy.policy, "client": each.name}
            for request in each.requests:
                fields = asdict(request)
                rows["requests"].append({**who, "account": fields.pop("client"), **fields})
            rows["checkpoints"] += [{**who, **asdict(point)} for point in each.checkpoints]
