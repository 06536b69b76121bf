"""How good the stolen models are: the only place that sees both the victim and its surrogates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from core import datasets, training
from core.arrays import to_float
from core.artifacts import load_network
from core.records import RecordWriter
from experiments.folder import CLIENT_KINDS, begun, rows


def evaluate(
    arms: Mapping[str, Path],
    victim_path: Path,
    dataset: str,
    home: Path,
    header: Mapping[str, Any],
    *,
    data: Path | None = None,
) -> None:
    """Writes evaluation.jsonl into each arm's folder, a line for each checkpoint of its clients.

    Accuracy is against the labels of the data set's held-out split, fidelity is the share of these
    images on which the surrogate's class is the victim's. `data` is a folder to look in for the
    data set first. Raises ArtifactError for a victim or surrogate that is missing or corrupt.
    """
    held_out = datasets.load(dataset, home=home, data=data).splits["held_out"]
    images = to_float(held_out.images)
    labels = held_out.labels

    def classes(path: Path) -> np.ndarray[Any, np.dtype[np.int64]]:
        network, _ = load_network(path)
        chosen: np.ndarray[Any, np.dtype[np.int64]] = training.logits(network, images).argmax(1)
        return chosen

    victim = classes(victim_path)
    for arm in arms.values():
        with RecordWriter(arm / "evaluation.jsonl", header) as record:
            record.write("victim", accuracy=float(np.mean(victim == labels)), images=len(labels))
            for client, path in _checkpoints(arm):
                surrogate = classes(arm / "surrogates" / client / path)
                record.write(
                    "surrogate",
                    client=client,
                    path=path,
                    accuracy=float(np.mean(surrogate == labels)),
                    fidelity=float(np.mean(surrogate == victim)),
                )


def _checkpoints(arm: Path) -> list[tuple[str, str]]:
    return [
        (path.stem, row["path"])
        for path in sorted((arm / "clients").glob("*.jsonl"))
        if begun(path)
        for _, kind, row in rows(path, CLIENT_KINDS)
        if kind == "checkpoint"
    ]
