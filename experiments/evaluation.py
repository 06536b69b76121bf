"""How good the stolen models are: the only place that sees both the victim and its surrogates.

While a run goes on, surrogates are scored as they appear, in a process of its own, and after it
what is left. Lines are appended to evaluation.jsonl of an arm; no surrogate is scored twice.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tyro

from core.arrays import to_float
from core.home import default_home
from core.learning import datasets, training
from core.learning.artifacts import load_network
from core.records import RecordWriter, read
from experiments.records import begun, read_scenario

EVERY = 0.5
"""Seconds between two looks for new checkpoints."""
REST = 4.0
"""While clients run, scoring pauses so many times as long as it took: clients are as idle a class
as it is, and share the cores with it."""

if TYPE_CHECKING:
    from core.learning.networks import Network

Classes = np.ndarray[Any, np.dtype[np.int64]]


def complete(run: Path, victim: Path, home: Path, *, data: Path | None = None) -> None:
    """Completes evaluation.jsonl of every arm that was begun: the victim, and each surrogate.

    Accuracy is against the labels of the data set's held-out split, fidelity is the share of these
    images on which the surrogate's class is the victim's. `data` is a folder to look in for the
    data set first. Raises FolderError, DatasetError, and ArtifactError for a victim or surrogate
    that is corrupt.
    """
    about = read_scenario(run)
    judge = cache(partial(_Judge, victim, about["resolved"]["victim"]["dataset"], home, data))
    for policy in about["resolved"]["server"]["policies"]:
        if begun(run / policy / "runner.jsonl"):
            scores = _Scores(run / policy, about, judge)
            scores.victim()
            for client, path in scores.left():
                scores.surrogate(client, path)


def follow(
    run: Path,
    policy: str,
    victim: Path,
    home: Path,
    *,
    data: Path | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Scores the surrogates of an arm that goes on, the newest first, until its process is stopped.

    Ends with the process that started this one. Raises what `complete` does.
    """
    about = read_scenario(run)
    judge = cache(partial(_Judge, victim, about["resolved"]["victim"]["dataset"], home, data))
    scores, due, parent = _Scores(run / policy, about, judge), clock(), os.getppid()
    while os.getppid() == parent:
        if clock() >= due and (left := scores.left()):
            began = clock()
            scores.victim()
            scores.surrogate(*left[-1])
            due = clock() + REST * (clock() - began)
        else:
            sleep(EVERY)


class _Judge:
    """A victim and its held-out images, kept for many surrogates."""

    def __init__(self, victim_path: Path, dataset: str, home: Path, data: Path | None) -> None:
        network, about = load_network(victim_path)
        stored = str(about.get("dataset", dataset))  # the whole path of an archive
        if stored.startswith("npz:") and Path(stored.removeprefix("npz:")).is_file():
            dataset = stored
        loaded = datasets.load(dataset, home=home, data=data)
        if "split" in about:
            datasets.check_content(loaded, about["split"], f"the victim {victim_path}")
        self._images = to_float(loaded.splits["held_out"].images)
        self._labels = loaded.splits["held_out"].labels
        self._victim = self._classes_of(network)

    def _classes_of(self, network: Network) -> Classes:
        chosen: Classes = training.logits(network, self._images).argmax(1)
        return chosen

    def victim(self) -> dict[str, Any]:
        """The victim's own accuracy, and on how many images."""
        return {"accuracy": self._right(self._victim), "images": len(self._labels)}

    def surrogate(self, path: Path) -> dict[str, Any]:
        """Accuracy and fidelity of a surrogate."""
        classes = self._classes_of(load_network(path)[0])
        return {
            "accuracy": self._right(classes),
            "fidelity": float(np.mean(classes == self._victim)),
        }

    def _right(self, classes: Classes) -> float:
        return float(np.mean(classes == self._labels))


class _Scores:
    """evaluation.jsonl of one arm: what is scored, and what is left."""

    def __init__(self, arm: Path, about: Mapping[str, Any], judge: Callable[[], _Judge]) -> None:
        self._arm = arm
        self._judge = judge  # called when there is something to score
        self._header = {"scenario": about["resolved"]["name"], **about["provenance"]}
        self._file = arm / "evaluation.jsonl"
        rows = read(self._file)[1] if begun(self._file) else []
        self._known = {(row.get("client"), row.get("path")) for row in rows}  # (None, None): victim

    def left(self) -> list[tuple[str, str]]:
        """(client, file) of each surrogate that is not scored, the oldest first."""
        found = (self._arm / "surrogates").glob("*/[!.]*.safetensors")  # no drafts
        files = sorted(found, key=lambda path: path.stat().st_mtime_ns)
        each = [(path.parent.name, path.name) for path in files]
        return [one for one in each if one not in self._known]

    def victim(self) -> None:
        """Writes the victim's line, unless it is there."""
        if (None, None) not in self._known:
            self._write("victim", **self._judge().victim())
            self._known.add((None, None))

    def surrogate(self, client: str, path: str) -> None:
        """Scores one surrogate."""
        scores = self._judge().surrogate(self._arm / "surrogates" / client / path)
        self._write("surrogate", client=client, path=path, **scores)
        self._known.add((client, path))

    def _write(self, kind: str, /, **fields: Any) -> None:
        if begun(self._file):
            record = RecordWriter.reopen(self._file)
        else:
            self._file.unlink(missing_ok=True)  # a process was killed while it wrote the header
            record = RecordWriter(self._file, self._header)
        with record:
            record.write(kind, **fields)


@dataclass(frozen=True, slots=True)
class Flags:
    """Score the surrogates of an arm as they appear, until this is stopped; `run` does that."""

    folder: tyro.conf.Positional[Path]
    """The folder of a run."""
    policy: tyro.conf.Positional[str]
    """The arm."""
    victim: Path
    """The victim's weights."""
    home: Path | None = None
    """Where data are kept (default: the user's cache folder)."""
    data: Path | None = None
    """Folder of image archives."""


def run(flags: Flags) -> None:
    """Scores surrogates while an arm goes on."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # nothing is to be put in order then
    home = flags.home or default_home()
    follow(flags.folder, flags.policy, flags.victim, home, data=flags.data)
