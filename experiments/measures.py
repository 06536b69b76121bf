"""Does a privacy measure see thieves? Costs of honest and of foreign images, measure by measure.

Foreign are natural pools, noise, and honest images perturbed, mixed, turned or inverted; honest
images that drifted (`core.learning.drift`) are here, too, and ought not to be told apart. For each
source of images: how well the cost of one query, and the mean cost of a batch of 64, tell it from
held-out honest images (AUC: the chance that a foreign one costs more). Costs are kept beside the
model as they come; everything else is a function of them, so a run that was cut short goes on.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from core import records
from core.arrays import to_float
from core.documents import read_json
from core.learning import artifacts, datasets
from core.learning.drift import DRIFTS, drifted
from core.learning.images import Images
from server import measures, model
from server.measures import Measure
from server.model import Model
from server.victims import Victim, needed_network

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

POOLS = {
    "emnist": "npz:ood_emnist_letters.npz",
    "tinyimagenet": "npz:ood_tinyimagenet32.npz",
    "photos": "photos",
}
"""Natural pools; one whose file is not there is left out."""

HONEST = "in-distribution"
BATCH = 64
BATCHES = 200
"""Batches drawn from each source for the AUC per batch."""

STEP = 0.1
"""Signed step of the perturbed images, in grey levels from 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to measure."""

    dataset: str
    network: str | None  # None: lenet for grey images, resnet10-thin for colour
    measures: Sequence[str]
    seeds: Sequence[int]
    images: int  # of each source, at most
    home: Path
    data: Path | None

    def __post_init__(self) -> None:
        """Raises ValueError for what cannot be measured."""
        if self.images < BATCH:
            raise ValueError(f"--images is {self.images}; expected at least {BATCH}, one batch")
        if not self.seeds or min(self.seeds) < 0:
            raise ValueError(f"--seeds is {list(self.seeds)}; expected numbers from 0")
        if not self.measures:
            raise ValueError("--measures names none; expected at least one")
        for name in self.measures:
            measures.parse(name)


def run(
    plan: Plan, *, command: Sequence[str], file: Path | None, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Results by (dataset, seed, measure), written to `file` after each; others in it stay.

    Raises ValueError, DatasetError and ArtifactError.
    """
    torch.set_num_threads(1)
    kept = _read(file) if file is not None else []
    found: list[dict[str, Any]] = []
    for seed in plan.seeds:
        name = model_name(plan.dataset, seed)
        pictures: dict[str, Images] = {}
        right: dict[str, float] = {}
        reference: dict[str, Costs] | None = None
        for measure in plan.measures:
            prepared = _prepare(plan, name, measure, seed)
            if not pictures:
                pictures = dict(sources(plan, prepared.victim, seed))
                labels = held_out(plan, np.random.default_rng(seed)).labels
                right = {
                    source: accuracy(prepared.victim, pictures[source], labels)
                    for source in (HONEST, *DRIFTS)
                }
                missing = sorted(set(POOLS) - set(pictures))
                say(f"{plan.dataset}, seed {seed}" + "".join(f"; no {pool}" for pool in missing))
            costs = _costs(plan, name, measure, prepared, pictures)
            if measure == "teachers":
                reference = costs
            result = {
                "dataset": plan.dataset,
                "seed": seed,
                "measure": measure,
                "images": len(costs[HONEST]),
                **describe(costs, reference, seed=seed),
                "accuracy": right,
            }
            found.append(result)
            say(f"{measure}: mean {result['mean']:.4g}, sd {result['sd']:.4g}")
            if file is not None:
                kept = [old for old in kept if _key(old) != _key(result)] + [result]
                _write(kept, file, command)
    return found


def model_name(dataset: str, seed: int) -> str:
    """Under which name victim, measures and costs are kept."""
    return f"measures-{re.sub('[^a-z0-9]+', '-', dataset.lower()).strip('-')}-{seed}"


def costs_file(home: Path, name: str, measure: str) -> Path:
    """Where the costs of a measure are kept."""
    return model.folder(home, name) / f"costs-{measures.file_stem(measure)}.safetensors"


def held_out(plan: Plan, rng: np.random.Generator) -> datasets.Split:
    """Honest images that nothing was trained on or fitted to, and their labels."""
    split = datasets.load(plan.dataset, home=plan.home, data=plan.data).splits["held_out"]
    chosen = rng.permutation(len(split))[: plan.images]
    return datasets.Split(split.images[chosen], split.labels[chosen])


def sources(plan: Plan, victim: Victim, seed: int) -> Iterator[tuple[str, Images]]:
    """Images (n, c, h, w) by the name of where they come from, held-out honest ones first."""
    rng = np.random.default_rng(seed)
    honest = held_out(plan, rng).images
    yield HONEST, honest
    for name, pool in POOLS.items():
        if pool.startswith("npz:") and not (
            plan.data and (plan.data / pool.removeprefix("npz:")).is_file()
        ):
            continue
        foreign = datasets.load_pool(
            pool, victim.shape, count=len(honest), seed=seed, home=plan.home, data=plan.data
        )
        yield name, foreign
    yield "noise", rng.integers(0, 256, honest.shape, dtype=np.uint8)
    yield "perturbed", perturbed(victim, honest, STEP)
    yield "perturbed away", perturbed(victim, honest, -STEP)
    other = honest[rng.permutation(len(honest))]
    yield "mixup", ((honest.astype(np.uint16) + other) // 2).astype(np.uint8)
    for drift in DRIFTS:
        yield drift, drifted(drift, honest, rng)
    yield "rotated 90", np.ascontiguousarray(np.rot90(honest, axes=(2, 3)))
    yield "inverted", 255 - honest


def perturbed(victim: Victim, images: Images, step: float) -> Images:
    """One step of Jacobian-based augmentation with the victim's own gradient.

    x + step sign(d logit of the victim's label / d x) (Papernot et al., AsiaCCS 2017, algorithm 1):
    as published it goes towards the label, with a negative step away from it. A thief has only his
    surrogate's gradient.
    """
    out, network = np.empty_like(images), needed_network(victim, "perturbing")
    for start in range(0, len(images), BATCH):
        part = slice(start, start + BATCH)
        x = torch.from_numpy(to_float(images[part])).requires_grad_()
        network(x).max(dim=1).values.sum().backward()
        assert x.grad is not None
        moved = x.detach() + step * x.grad.sign()
        out[part] = (moved.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    return out


def accuracy(victim: Victim, images: Images, labels: NDArray[np.int64]) -> float:
    """Share of images (n, c, h, w) that the victim labels right.

    Where a drift lowers it, the images are foreign to the victim itself, and no measure is to blame
    for seeing them.
    """
    answers = [
        victim.answer(to_float(images[start : start + BATCH])).probabilities.argmax(axis=1)
        for start in range(0, len(images), BATCH)
    ]
    return float((np.concatenate(answers) == labels).mean())


def costs_of(measure: Measure, victim: Victim, images: Images) -> Costs:
    """Cost (n,) of each image."""
    parts = []
    for start in range(0, len(images), BATCH):
        pixels = to_float(images[start : start + BATCH])
        parts.append(measure.cost(pixels, victim.answer(pixels)))
    return np.concatenate(parts)


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

    `excess` is the mean cost above the honest one, in honest standard deviations.
    """
    honest = costs[HONEST]
    batches = {name: batch_means(cost, seed=seed) for name, cost in costs.items()}
    mean, sd = float(honest.mean()), float(honest.std())
    result: dict[str, Any] = {
        "mean": mean,
        "sd": sd,
        # Where every batch is told apart, this still says how far: what a price grows with.
        "excess": {
            name: float(cost.mean() - mean) / (sd or 1.0)
            for name, cost in costs.items()
            if name != HONEST
        },
        "auc": {name: auc(honest, cost) for name, cost in costs.items() if name != HONEST},
        "auc_batch": {
            name: auc(batches[HONEST], cost) for name, cost in batches.items() if name != HONEST
        },
    }
    if reference is not None:
        everything = [np.concatenate(list(part.values())) for part in (costs, reference)]
        result["spearman"] = {
            "all": float(stats.spearmanr(*everything).statistic),
            HONEST: float(stats.spearmanr(honest, reference[HONEST]).statistic),
        }
    return result


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Markdown, a row for each measure: means over seeds; AUC per query, per batch, and excess."""
    rows: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for result in results:
        rows.setdefault((result["dataset"], result["measure"]), []).append(result)
    names = list(dict.fromkeys(name for result in results for name in result["auc"]))
    head = ["dataset", "measure", "mean", "sd", *names, "rank corr. all / honest"]
    lines = [" | ".join(head), " | ".join("---" for _ in head)]
    for (dataset, measure), seeds in rows.items():

        def mean(*path: str, of: Sequence[Mapping[str, Any]] = seeds) -> float | None:
            values: list[Any] = list(of)
            for key in path:
                values = [value.get(key) for value in values if value is not None]
            numbers = [value for value in values if value is not None]
            return float(np.mean(numbers)) if numbers else None

        def cell(digits: str, *paths: tuple[str, str]) -> str:
            numbers = [mean(*path) for path in paths]
            shown = zip(numbers, digits, strict=True)
            return (
                "-"
                if None in numbers
                else " / ".join(f"{number:.{digit}f}" for number, digit in shown)
            )

        cells = [dataset, measure, f"{mean('mean'):.3g}", f"{mean('sd'):.3g}"]
        kinds = ("auc", "auc_batch", "excess")
        cells += [cell("331", *((kind, name) for kind in kinds)) for name in names]
        cells.append(cell("22", ("spearman", "all"), ("spearman", HONEST)))
        lines.append(" | ".join(cells))
    return "\n".join(f"| {line} |" for line in lines)


def _prepare(plan: Plan, name: str, measure: str, seed: int) -> Model:
    network = plan.network
    if network is None:
        loaded = datasets.load(plan.dataset, home=plan.home, data=plan.data)
        network = "lenet" if loaded.shape[0] == 1 else "resnet10-thin"
    model.prepare(
        plan.home,
        name,
        dataset=plan.dataset,
        network=network,
        measure=measure,
        seed=seed,
        data=plan.data,
    )
    return model.load(plan.home, name, measure)


def _costs(
    plan: Plan, name: str, measure: str, prepared: Model, pictures: Mapping[str, Images]
) -> dict[str, Costs]:
    """Costs by source, from the file beside the model where they are those of these images."""
    file = costs_file(plan.home, name, measure)
    mark = {
        "kind": "costs",
        "model": prepared.fingerprint,
        "images": artifacts.fingerprint(pictures),
    }
    if file.exists():
        arrays, meta = artifacts.load(file)
        if meta == mark:
            return {source: arrays[source] for source in pictures}
    costs = {
        source: costs_of(prepared.measure, prepared.victim, images)
        for source, images in pictures.items()
    }
    artifacts.save(file, costs, mark)
    return costs


def _key(result: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(result.get(name) for name in ("dataset", "seed", "measure"))


def _read(file: Path) -> list[dict[str, Any]]:
    """Results that are there already. Raises ValueError for a file of another kind."""
    if not file.exists():
        return []
    try:
        results = read_json(file)["results"]
        if any(None in _key(result) for result in results):
            raise KeyError("results")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} holds no results of measures; expected them or no file") from (
            error
        )
    return list(results)


def _write(results: Sequence[Mapping[str, Any]], file: Path, command: Sequence[str]) -> None:
    content = {
        "command": shlex.join(command),
        "provenance": records.provenance(None),
        "results": _rounded(results),
    }
    artifacts.write_atomically(file, (json.dumps(content, indent=1) + "\n").encode())


def _rounded(value: Any) -> Any:
    """Numbers with as many digits as they deserve."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value
