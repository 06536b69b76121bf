"""Surrogates are scored once, whoever does it and whatever was cut short."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edits import append

from core.arrays import to_float
from core.learning import artifacts, datasets, networks, training
from core.learning.artifacts import ArtifactError
from core.records import RecordError, read
from experiments import evaluation
from experiments.evaluation import complete, follow
from experiments.records import FolderError


def network(path: Path, seed: int) -> networks.Network:
    made = networks.build("lenet-thin", (1, 8, 8), 10, seed=seed)
    artifacts.save_network(path, made)
    return made.eval()


def described(folder: Path, *policies: str) -> Path:
    folder.mkdir()
    resolved = {"name": "tiny", "victim": {"dataset": "digits"}, "clients": []}
    resolved["server"] = {"policies": policies}
    about = {"resolved": resolved, "command": "", "calibration": {}, "provenance": {"seed": 7}}
    (folder / "scenario.json").write_text(json.dumps(about))
    return folder


@pytest.fixture
def arm(tmp_path: Path) -> Path:
    """An arm with an attacker's two surrogates, the first of which is the victim itself."""
    folder = described(tmp_path / "run", "rate", "paper") / "rate"  # the other was not begun
    append(folder / "runner.jsonl", {"kind": "header"})
    for name, seed in (("one.safetensors", 1), ("two.safetensors", 2)):
        network(folder / "surrogates" / "bob" / name, seed)
    (folder / "surrogates" / "bob" / "transcript.jsonl").touch()  # beside them, and none
    network(tmp_path / "victim", 1)
    return folder


def run(arm: Path) -> list[dict[str, Any]]:
    complete(arm.parent, arm.parents[1] / "victim", arm.parents[1])
    return read(arm / "evaluation.jsonl")[1]


def test_accuracy_and_fidelity(arm: Path, tmp_path: Path) -> None:
    held_out = datasets.load("digits", home=tmp_path).splits["held_out"]
    classes = [
        training.logits(network(tmp_path / "x", seed), to_float(held_out.images)).argmax(1)
        for seed in (1, 2)
    ]
    right = [float(np.mean(each == held_out.labels)) for each in classes]
    same = float(np.mean(classes[0] == classes[1]))
    assert right[0] != right[1]
    surrogate = {"kind": "surrogate", "client": "bob"}
    assert run(arm) == [
        {"kind": "victim", "accuracy": right[0], "images": len(held_out.labels)},
        {**surrogate, "path": "one.safetensors", "accuracy": right[0], "fidelity": 1.0},
        {**surrogate, "path": "two.safetensors", "accuracy": right[1], "fidelity": same},
    ]
    assert read(arm / "evaluation.jsonl")[0]["seed"] == 7
    assert not (arm.parent / "paper").exists()


@pytest.mark.parametrize("kept", [0, 2, 4])
@pytest.mark.parametrize("torn", [0, 9])
def test_what_was_cut_short_is_completed(arm: Path, kept: int, torn: int) -> None:
    whole = run(arm)
    file = arm / "evaluation.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    rest = "".join(lines[kept:])[:torn]
    file.write_text("".join(lines[:kept]) + rest)
    assert run(arm) == whole
    before = file.read_text()
    assert run(arm) == whole
    assert file.read_text() == before


def test_what_is_whole_needs_no_victim_and_nothing_else_is_touched(
    arm: Path, tmp_path: Path
) -> None:
    whole = run(arm)
    (tmp_path / "victim").unlink()
    assert run(arm) == whole
    network(arm / "surrogates" / "bob" / "three.safetensors", 3)
    with pytest.raises(ArtifactError, match=r"no artifact at .*victim"):
        run(arm)
    (arm / "evaluation.jsonl").write_text("nonsense\n")
    with pytest.raises(RecordError, match="line 1: not JSON"):
        run(arm)
    with pytest.raises(FolderError, match=r"no scenario\.json"):
        complete(tmp_path, tmp_path, tmp_path)


# ── while the run goes on ────────────────────────────────────────────────────────────────────────


def test_surrogates_are_scored_as_they_appear_until_the_runner_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    going = described(tmp_path / "run", "none", "rate")
    now, scored = 0.0, []
    bob = going / "none" / "surrogates" / "bob"

    class Judge:
        """Takes ten seconds for each surrogate."""

        def __init__(self, *_: Any) -> None:
            pass

        def victim(self) -> dict[str, Any]:
            return {"accuracy": 0.9, "images": 5}

        def surrogate(self, path: Path) -> dict[str, Any]:
            nonlocal now
            now += 10.0
            scored.append((now, path.name))
            return {"accuracy": 0.5, "fidelity": 0.5}

    def script() -> Iterator[None]:
        yield
        assert not (going / "none").exists()  # it is for the runner to make it
        bob.mkdir(parents=True)
        for name in ("one.safetensors", "two.safetensors"):
            (bob / name).touch()
            time.sleep(0.01)  # files of one instant have no order
        yield
        assert [name for _, name in scored] == ["two.safetensors"]
        (bob / "three.safetensors").touch()
        while len(scored) < 3:
            yield
        monkeypatch.setattr(evaluation.os, "getppid", lambda: 0)  # never a parent
        yield

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        next(meanwhile)

    meanwhile = script()
    monkeypatch.setattr(evaluation, "_Judge", Judge)
    follow(going, "none", going, going, clock=lambda: now, sleep=sleep)
    assert [name for _, name in scored] == [
        "two.safetensors",
        "three.safetensors",
        "one.safetensors",
    ]
    assert scored[1][0] - scored[0][0] == 50.0  # it rests for four times as long as it computed
    header, rows = read(going / "none" / "evaluation.jsonl")
    assert (header["scenario"], header["seed"]) == ("tiny", 7)
    assert [row.get("path", row["kind"]) for row in rows] == [
        "victim",
        "two.safetensors",
        "three.safetensors",
        "one.safetensors",
    ]
