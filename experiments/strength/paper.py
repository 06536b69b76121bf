"""The accuracies that the calibrated-PoW paper published, to lay beside ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from core.documents import read_json
from core.learning.artifacts import write_atomically
from experiments.replay import replay
from experiments.strength.tables import Paper

ROWS = 100
"""Rows kept of an attack, at most: the data-free ones have hundreds."""

SOURCE = (
    "Dziedzic, Kaleem, Lu, Papernot, Increasing the Cost of Model Extraction with Calibrated Proof "
    "of Work, ICLR 2022: pow/model_extraction_attack_accuracy_*.csv of its repository; queries "
    "counted as 62.5 a batch, accuracy in per cent"
)


def accuracies(folder: Path) -> dict[str, Any]:
    """[queries, accuracy] of each attack on each dataset of that folder. Raises ReplayError."""
    found: dict[str, dict[str, list[list[float]]]] = {}
    for timeline in replay(folder):
        every = -(-len(timeline.rows) // ROWS)
        kept = [*timeline.rows[:-1:every], timeline.rows[-1]]
        points = [[row.queries, row.accuracy] for row in kept]
        found.setdefault(timeline.dataset, {})[timeline.attack] = points
    return {"source": SOURCE, "accuracy": found}


def save(folder: Path, file: Path) -> None:
    """Writes them, a line an attack. Raises ReplayError and ArtifactError."""
    content = accuracies(folder)
    datasets = []
    for dataset, attacks in content["accuracy"].items():
        lines = [f"{json.dumps(name)}: {json.dumps(points)}" for name, points in attacks.items()]
        datasets.append(f"{json.dumps(dataset)}: {{\n" + ",\n".join(lines) + "\n}")
    text = f'{{"source": {json.dumps(content["source"])},\n"accuracy": {{\n'
    write_atomically(file, (text + ",\n".join(datasets) + "\n}}\n").encode())


def read(file: Path) -> Paper:
    """The paper's accuracies, where the file is there. Raises ValueError."""
    if not file.exists():
        return {}
    try:
        content = read_json(file)
        return {
            dataset: {name: [(q, a) for q, a in points] for name, points in attacks.items()}
            for dataset, attacks in content["accuracy"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} does not hold the paper's accuracies") from error
