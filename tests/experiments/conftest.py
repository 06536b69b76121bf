"""A small run folder, written by hand: two arms, an honest client and an attacker."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from edits import append, edit

from experiments import live
from experiments.report import figures

SCENARIO: dict[str, Any] = {
    "name": "tiny",
    "seed": 7,
    "victim": {"dataset": "digits", "network": "lenet-thin"},
    "server": {"measure": "surprisal:typicality", "policies": ["none", "rate"], "puzzle": "sha1"},
    "clients": [
        {"name": "ann", "kind": "honest"},
        {"name": "bob", "kind": "attack", "attack": "knockoff"},
    ],
}


def lines(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Writes a record file with a header in front."""
    append(path, {"kind": "header"}, *records)


def predict(request_id: str, **fields: Any) -> dict[str, Any]:
    """One line of a client's record: 10 images, 0.1 s of network, 0.2 s of server, no work."""
    client = {"a": "ann", "b": "bob"}[request_id[0]]
    asked = {"kind": "predict", "client": client, "request_id": request_id, "images": 10}
    times = {"at": 1.0, "total": 0.3, "network": 0.1, "server": 0.2, "solve": 0.0, "open": 0.0}
    return {**asked, "asked": 10, **times, "hashes": 0, "work": 0, "virtual": False, **fields}


def served(client: str, request_id: str, cost: float, **fields: Any) -> dict[str, Any]:
    """One line of the server's record."""
    asked = {"kind": "predict", "client": client, "request_id": request_id, "images": 10}
    return {**asked, "cost": cost, **fields}


def saved(path: str, asked: int, at: float, trained: float) -> dict[str, Any]:
    """One line of an attacker's record: it saved a surrogate."""
    when = {"asked": asked, "at": at, "train_seconds": trained}
    return {"kind": "checkpoint", "path": path, **when}


def ended(client: str) -> dict[str, Any]:
    """One line of the runner's record."""
    how = {"at": 9.0, "code": 0, "stopped": False, "tail": ""}
    return {"kind": "exit", "client": client, **how}


END = {"kind": "end", "status": "done", "reason": "", "at": 8.0}


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages without figures, which take most of the time; the end of a run waits for nobody."""
    monkeypatch.setattr(figures, "draw", lambda summary: [])
    monkeypatch.setattr(live, "LINGER", 0.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The run folder, whole; tests break it as they like."""
    run = tmp_path / "run"
    run.mkdir()
    about = {
        "given": SCENARIO,
        "resolved": SCENARIO,
        "command": "python -m experiments run tiny",
        "calibration": {"service": 0.01, "rates": {"sha1": {"hashes_per_second": 1_000.0}}},
        "question": "What does it cost?",
        "provenance": {"seed": 7, "git_revision": None, "packages": {"numpy": "2"}},
    }
    (run / "scenario.json").write_text(json.dumps(about), encoding="utf-8")

    free, priced = run / "none", run / "rate"
    lines(free / "clients" / "ann.jsonl", [predict("a1"), predict("a2", asked=20, at=2.0), END])
    lines(free / "clients" / "bob.jsonl", [predict("b1"), saved("one", 10, 3.0, 1.5), END])
    lines(
        priced / "clients" / "ann.jsonl",
        [
            # 10 and 30 hashes an image: the median of honest requests is 20
            predict("a1", work=100, hashes=90, solve=0.1, total=0.4),
            predict("a2", work=300, hashes=310, solve=0.1, total=0.5, open=0.1, asked=20),
            END,
        ],
    )
    lines(
        priced / "clients" / "bob.jsonl",
        [
            predict("b1", work=10_000, hashes=12_000, solve=2.7, total=3.0, at=4.0),
            saved("one", 10, 6.0, 1.5),
            predict("b2", work=30_000, hashes=28_000, solve=5.7, total=6.0, at=14.0, asked=20),
            saved("two", 20, 16.0, 2.0),
            END,
        ],
    )
    for arm in (free, priced):
        lines(
            arm / "server.jsonl",
            [
                served("ann", "a1", 1.0),
                served("bob", "b1", 5.0),
                served("ann", "a2", 2.0),
                served("ann", "a2", 99.0, retry=True),  # charged once
                {"kind": "redeem", "client": "ann"},
                served("bob", "b2", 7.0),
            ],
        )
        lines(arm / "runner.jsonl", [ended("ann"), ended("bob")])
        load = ({"kind": "load", "at": n, "one_minute": n + 0.5} for n in (0.0, 1.0))
        lines(arm / "load.jsonl", list(load))
        victim = {"kind": "victim", "accuracy": 0.9, "images": 500}
        scores = [surrogate("one", 0.3, 0.35), surrogate("two", 0.4, 0.45)]
        lines(arm / "evaluation.jsonl", [victim, *scores])
    return run


@pytest.fixture
def crowd(folder: Path) -> Path:
    """The same with a group of five more honest clients, whose work goes from 1 to 5 times ann's.

    They answer as fast as she does under policy none, and 1, 2, ..., 5 s a request under rate.
    """
    names = [f"crowd-{n}" for n in range(1, 6)]
    group = [{"name": name, "group": "crowd", "kind": "honest"} for name in names]
    edit(folder / "scenario.json", lambda about: about["resolved"]["clients"].extend(group))
    for policy in ("none", "rate"):
        arm = folder / policy
        for n, name in enumerate(names, 1):
            paid = {"work": 200 * n, "solve": n - 0.3, "total": float(n)}
            asked = predict(f"a{n}", **{"client": name, **(paid if policy == "rate" else {})})
            lines(arm / "clients" / f"{name}.jsonl", [asked, END])
            append(arm / "server.jsonl", served(name, f"a{n}", 1.0))
            append(arm / "runner.jsonl", ended(name))
    return folder


def surrogate(path: str, accuracy: float, fidelity: float) -> dict[str, Any]:
    """One line of the evaluation, of bob's surrogate."""
    found = {"accuracy": accuracy, "fidelity": fidelity}
    return {"kind": "surrogate", "client": "bob", "path": path, **found}
