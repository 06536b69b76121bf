"""One cell of `strength`: a gate with policy `none`, a thief, and the evaluation of his loot."""

from __future__ import annotations

import resource
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from core.records import provenance
from experiments import arm
from experiments.arm import Commands, RunError, run_arm
from experiments.folder import CLIENT_KINDS, EVALUATION_KINDS, RUNNER_KINDS, SERVER_KINDS, rows
from experiments.measures import model_name
from experiments.processes import Child, stop
from experiments.strength.plan import Bench, Trial

MEASURE = "heads"
"""The server's measure; it sets no price here, but what an oracle knows is by it."""

VICTIM_SEED = 0
THIEF = "thief"
PYTHON = sys.executable

Cell = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where victims and data are, and the seconds a thief may take."""

    home: Path
    data: Path | None
    limit: float = 6 * 3600.0


def model(bench: Bench) -> str:
    """The name of a bench's victim: the one that the measures are compared on."""
    return model_name(bench.dataset, VICTIM_SEED)


class _Watch:
    """Takes the thief's CPU time when it has ended: nobody else of ours has ended by then."""

    def __init__(self) -> None:
        self._before = _children()
        self.cpu = 0.0

    def update(self, states: Mapping[str, str]) -> None:
        """Called a few times a second with the state of each client."""
        if states[THIEF] != "running":
            self.cpu = _children() - self._before


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run_cell(bench: Bench, trial: Trial, seed: int, place: Place) -> tuple[dict[str, Any], Cell]:
    """Gate, thief, evaluation: facts of the victim, and the cell. Raises RunError.

    The victim is there already: see `prepare`.
    """
    from experiments.evaluation import evaluate  # with it comes torch
    from experiments.oracle import write_costs

    header = {"seed": seed}
    scratch = Path(tempfile.mkdtemp(prefix="powgate-strength-"))
    try:
        costs = scratch / "costs.safetensors" if trial.costs else None
        if costs is not None:
            write_costs(
                costs,
                home=place.home,
                model=model(bench),
                measure=MEASURE,
                pool=trial.pool,
                size=trial.pool_size,
                seed=seed,
                data=place.data,
            )
        folder, watch = scratch / "none", _Watch()
        commands = Commands(
            server=_server(bench, place, folder),
            clients={THIEF: lambda to: _thief(bench, trial, seed, place, folder, costs, to)},
            places={THIEF: arm.Place(niceness=0)},  # as nice as this process is
        )
        run_arm(folder, commands, header=header, view=watch, limit=place.limit)
        ended = next(
            row for _, kind, row in rows(folder / "runner.jsonl", RUNNER_KINDS) if kind == "exit"
        )
        if ended["code"] != 0:
            raise RunError(f"the thief ended with code {ended['code']}: {_words(folder)}")
        file = place.home / "models" / model(bench) / "victim.safetensors"
        evaluate({"none": folder}, file, bench.dataset, place.home, header, data=place.data)
        victim, found = _found(folder, online=trial.online)
    finally:
        shutil.rmtree(scratch)
    command = ["python", "-m", "experiments", "strength", "--dataset", bench.dataset]
    command += ["--attacks", trial.attack, "--seeds", str(seed)]
    cell = {
        "attack": trial.attack,
        "variant": trial.variant,
        "seed": seed,
        "setting": trial.setting(),
        **found,
        "cpu_seconds": round(watch.cpu, 1),
        "wall_seconds": round(ended["at"], 1),
        "command": shlex.join(command),
        "provenance": provenance(seed),
    }
    return victim, cell


def _words(folder: Path) -> str:
    lines = (folder / "logs" / f"{THIEF}.txt").read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def prepare(bench: Bench, place: Place) -> None:
    """Trains the victim unless it is there. Raises RunError."""
    command = [
        *(PYTHON, "-m", "server", "prepare", *_where(place), "--model", model(bench)),
        *("--dataset", bench.dataset, "--network", bench.network),
        *("--measure", MEASURE, "--seed", str(VICTIM_SEED)),
    ]
    with tempfile.TemporaryDirectory(prefix="powgate-strength-") as scratch:
        child = Child("prepare", command, Path(scratch) / "prepare.txt")
        try:
            code = child.wait()
        finally:
            stop([child], grace=5.0)
        if code:
            raise RunError(f"the victim cannot be prepared: {child.tail(1) or 'it said nothing'}")


def _where(place: Place) -> list[str]:
    data = [] if place.data is None else ["--data", str(place.data)]
    return ["--home", str(place.home), *data]


def _server(bench: Bench, place: Place, folder: Path) -> list[str]:
    return [
        *(PYTHON, "-m", "server", "serve", "--home", str(place.home), "--model", model(bench)),
        *("--measure", MEASURE, "--policy", "none", "--port", "0", "--open"),
        *("--ledger", str(folder / "ledger.db"), "--record", str(folder / "server.jsonl")),
    ]


def _thief(
    bench: Bench,
    trial: Trial,
    seed: int,
    place: Place,
    folder: Path,
    costs: Path | None,
    target: str,
) -> list[str]:
    settings = ["--pool", trial.pool, "--pool-size", str(trial.pool_size)] if trial.pool else []
    settings += ["--inside", trial.inside] if trial.inside else []
    settings += ["--costs", str(costs)] if costs is not None else []
    for key, value in trial.config.items():
        name = key.replace("_", "-")
        if isinstance(value, bool):
            settings.append(f"--attack.{name}" if value else f"--attack.no-{name}")
        else:
            settings += [f"--attack.{name}", str(value)]
    return [
        *(PYTHON, "-m", "attacks", trial.attack, *_where(place)),
        *("--target", target, "--client-id", THIEF, "--seed", str(seed)),
        *("--network", trial.network or bench.network),
        *("--surrogates", str(folder / "surrogates" / THIEF)),
        *("--record", str(folder / "clients" / f"{THIEF}.jsonl")),
        *settings,
    ]


def _found(folder: Path, *, online: bool) -> tuple[dict[str, Any], Cell]:
    """Facts of the victim, and what the records of one cell say."""
    records = list(rows(folder / "clients" / f"{THIEF}.jsonl", CLIENT_KINDS))
    asked = {row["path"]: row["asked"] for _, kind, row in records if kind == "checkpoint"}
    if not asked:
        raise RunError("the thief saved no surrogate")
    victim: dict[str, Any] = {}
    curve = []
    for _, kind, row in rows(folder / "evaluation.jsonl", EVALUATION_KINDS):
        if kind == "victim":
            victim = {"accuracy": row["accuracy"], "images": row["images"]}
        else:
            curve.append([asked[row["path"]], row["accuracy"], row["fidelity"]])
    served = [
        row for _, kind, row in rows(folder / "server.jsonl", SERVER_KINDS) if kind == "predict"
    ]
    found = {
        "curve": curve,
        "batches": sum(kind == "predict" for _, kind, _ in records),
        "train_seconds": round(
            sum(row["train_seconds"] for _, kind, row in records if kind == "checkpoint"), 1
        ),
        "overhead_ms": round(1e3 * overhead([row[1:] for row in records], online=online), 2),
        "cost_per_image": round(
            sum(row["cost"] for row in served) / sum(row["images"] for row in served), 4
        ),
    }
    return victim, found


def overhead(records: Sequence[tuple[str, Mapping[str, Any]]], *, online: bool = False) -> float:
    """Seconds a batch that are neither lesson nor puzzle, from a thief's record.

    Where the surrogate learnt between two requests, choosing what to ask next counts as learning;
    `online` says that it always does, or that prices of other batches are asked between.
    """
    asking, between = [], []
    before: float | None = None  # when the last answer came, unless it was learnt from
    for kind, row in records:
        if kind == "predict":
            asking.append(row["cpu"] - row["solve"])
            if before is not None:
                between.append(row["at"] - row["total"] - before)
            before = row["at"]
        else:
            before = None
    return fmean(asking) + (median(between) if between and not online else 0.0)
