"""The verb `measures`: does a privacy measure see attackers? Measure by measure.

For each source of images (`experiments.studies.sources`): how well the cost of one query, and the
mean cost of a batch of 64, tell it from held-out honest images (AUC: the chance that a foreign one
costs more). Costs are kept beside the model as they come, and everything else is a function of
them, so a run that was cut short goes on.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core import records
from core.documents import read_json
from core.home import default_data, default_home
from core.learning.artifacts import write_atomically
from experiments.report.tables import Column, markdown
from experiments.studies import HONEST
from experiments.terminal import command_line, say
from server import measures

Costs = NDArray[np.float64]

MEASURES = (
    "teachers",
    "heads",
    "knn",
    "knn-full",
    "entropy",
    "gap",
    "typicality",
    "surprisal:typicality",
    "surprisal:heads+typicality",
    "surprisal:knn+typicality",
    "surprisal:entropy+typicality",
)
"""What is compared by default; `teachers` comes first because the others are held against it."""

BATCH = 64
BATCHES = 200
"""Batches drawn from each source for the AUC per batch."""


@dataclass(frozen=True, slots=True)
class Flags:
    """Compare the privacy measures on honest and foreign images; goes on where it stopped."""

    dataset: str = "mnist5k"
    """The victim's data, as `python -m server prepare` names it."""
    network: str | None = None
    """The victim (default: lenet for grey images, resnet10-thin for colour)."""
    measures: tuple[str, ...] = MEASURES
    """Measures to compare."""
    seeds: tuple[int, ...] = (0,)
    """One victim and one set of measures for each."""
    images: int = 2_000
    """Images of each source, at most."""
    json: Path | None = None
    """Also write the results to this file after each measure; others in it are kept."""
    home: Path | None = None
    """Where victims, measures and costs are kept (default: the user's cache folder)."""
    data: Path | None = None
    """Folder of image archives (default: POWGATE_DATA)."""


def run(flags: Flags) -> None:
    """Compares privacy measures."""
    print(table(compare(flags, say)), end="")


def check(flags: Flags) -> None:
    """Raises ValueError for what cannot be measured."""
    if flags.images < BATCH:
        raise ValueError(f"--images is {flags.images}; expected at least {BATCH}, one batch")
    if not flags.seeds or min(flags.seeds) < 0:
        raise ValueError(f"--seeds is {list(flags.seeds)}; expected numbers from 0")
    if not flags.measures:
        raise ValueError("--measures names none; expected at least one")
    for name in flags.measures:
        measures.parse(name)


def compare(flags: Flags, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Results by (dataset, seed, measure), written after each; others in the file stay.

    Raises ValueError, DatasetError and ArtifactError.
    """
    from experiments.studies import sources  # with it comes torch

    check(flags)
    home, data = flags.home or default_home(), flags.data or default_data()
    kept = _read(flags.json) if flags.json is not None else []
    found: list[dict[str, Any]] = []
    for seed in flags.seeds:
        reference: dict[str, Costs] | None = None
        pictures: dict[str, NDArray[np.uint8]] = {}
        right: dict[str, float] = {}
        for measure in flags.measures:
            served = sources.prepared(flags.dataset, flags.network, measure, seed, home, data)
            if not pictures:
                pictures, right = sources.sources(
                    flags.dataset, served.victim, flags.images, seed, home, data
                )
                missing = sorted(set(sources.POOLS) - set(pictures))
                say(f"{flags.dataset}, seed {seed}" + "".join(f"; no {pool}" for pool in missing))
            file = sources.costs_file(home, served.name, measure)
            costs = sources.costs(served, file, pictures)
            if measure == "teachers":
                reference = costs
            result = {
                "dataset": flags.dataset,
                "seed": seed,
                "measure": measure,
                "images": len(costs[HONEST]),
                **describe(costs, reference, seed=seed),
                "accuracy": right,
            }
            found.append(result)
            say(f"{measure}: mean {result['mean']:.4g}, sd {result['sd']:.4g}")
            if flags.json is not None:
                kept = [old for old in kept if _key(old) != _key(result)] + [result]
                write(flags.json, {"results": rounded(kept, 5)}, None)
    return found


def auc(honest: Costs, foreign: Costs) -> float:
    """The chance that a foreign cost is above an honest one, ties counting half."""
    ordered = np.sort(honest)
    below = np.searchsorted(ordered, foreign, side="left")
    until = np.searchsorted(ordered, foreign, side="right")
    return float((below + until).mean() / 2 / len(ordered))


def batch_means(costs: Costs, *, seed: int) -> Costs:
    """Mean cost (BATCHES,) of batches of 64 different images."""
    rng = np.random.default_rng(seed)
    return np.array([rng.choice(costs, BATCH, replace=False).mean() for _ in range(BATCHES)])


def describe(
    costs: Mapping[str, Costs], reference: Mapping[str, Costs] | None, *, seed: int
) -> dict[str, Any]:
    """The result of one measure; rank correlation with `reference`, where there is one.

    `excess` is the mean cost above the honest one, in honest standard deviations: where every batch
    is told apart, it still says how far, which is what a price grows with.
    """
    import pandas as pd

    honest = costs[HONEST]
    foreign = {name: cost for name, cost in costs.items() if name != HONEST}
    batches = {name: batch_means(cost, seed=seed) for name, cost in costs.items()}
    mean, sd = float(honest.mean()), float(honest.std())
    result: dict[str, Any] = {
        "mean": mean,
        "sd": sd,
        "excess": {name: float(cost.mean() - mean) / (sd or 1.0) for name, cost in foreign.items()},
        "auc": {name: auc(honest, cost) for name, cost in foreign.items()},
        "auc_batch": {name: auc(batches[HONEST], batches[name]) for name in foreign},
    }
    if reference is not None:
        pairs = {
            "all": [np.concatenate(list(part.values())) for part in (costs, reference)],
            HONEST: [honest, reference[HONEST]],
        }
        result["spearman"] = {
            name: float(pd.Series(mine).corr(pd.Series(other), method="spearman"))
            for name, (mine, other) in pairs.items()
        }
    return result


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Markdown, a row for each measure: means over seeds; AUC per query, per batch, and excess."""
    import pandas as pd

    frame = pd.json_normalize([dict(each) for each in results], sep="/")
    means = frame.groupby(["dataset", "measure"], sort=False).mean(numeric_only=True)
    names = [key.partition("/")[2] for key in frame if key.startswith("auc/")]

    def column(heading: str, meaning: str, forms: Mapping[str, str]) -> Column:
        def cell(row: Mapping[str, Any]) -> str | None:
            if any(np.isnan(row.get(key, np.nan)) for key in forms):
                return None
            return " / ".join(format(row[key], form) for key, form in forms.items())

        return Column(heading, meaning, cell)

    columns = [
        Column("dataset", "the victim's", "dataset"),
        Column("measure", "its name", "measure"),
        column("mean", "honest cost", {"mean": ".3g"}),
        column("sd", "of honest costs", {"sd": ".3g"}),
        *(
            column(
                name,
                "AUC",
                {f"auc/{name}": ".3f", f"auc_batch/{name}": ".3f", f"excess/{name}": ".1f"},
            )
            for name in names
        ),
        column("rank corr. all / honest", "", {"spearman/all": ".2f", f"spearman/{HONEST}": ".2f"}),
    ]
    return markdown(columns, means.reset_index().to_dict("records"))


def _key(result: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(result[name] for name in ("dataset", "seed", "measure"))


def _read(file: Path) -> list[dict[str, Any]]:
    """Results that are there already. Raises ValueError for a file of another kind."""
    if not file.exists():
        return []
    try:
        results: list[dict[str, Any]] = read_json(file)["results"]
        for result in results:
            _key(result)
        return results
    except (ValueError, KeyError, TypeError) as error:
        text = f"{file} holds no results of measures; expected them or no file"
        raise ValueError(text) from error


def write(file: Path, content: Mapping[str, Any], seed: int | None) -> None:
    """Writes results with the command that made them and their provenance. Raises ArtifactError."""
    about = {"command": shlex.join(command_line()), "provenance": records.provenance(seed)}
    text = json.dumps({**about, **content}, indent=1, allow_nan=False)
    write_atomically(file, f"{text}\n".encode())


def rounded(value: Any, digits: int) -> Any:
    """Numbers with as many digits as they deserve."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, Mapping):
        return {key: rounded(item, digits) for key, item in value.items()}
    return [rounded(item, digits) for item in value] if isinstance(value, list | tuple) else value
