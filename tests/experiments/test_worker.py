"""A job runs anywhere: what comes back is a run or a reason, and no home is spoilt."""

from __future__ import annotations

import errno
import json
import platform
import tempfile
from pathlib import Path
from typing import Any

import pytest
from scenarios import SMALL

from experiments import cluster, commands, runner
from experiments.process import RunError
from experiments.scenario import parse

MODEL = Path("models", commands.model_name(parse(SMALL)))
HOST = platform.node()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A worker's home; folders of cells are made beside it."""
    (tmp_path / "cells").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "cells"))
    return tmp_path / "home"


class Trains:
    """Stands for the runner: trains what is missing, calibrates, leaves a file or fails."""

    def __init__(self, weights: bytes = b"weights") -> None:
        self.weights = weights
        self.failing: Exception | None = None
        self.asked: dict[str, Any] = {}
        self.found: list[str] = []

    def __call__(self, scenario: Any, out: Path, home: Path, **asked: Any) -> Path:
        self.asked = {"scenario": scenario, **asked}
        self.found = sorted(p.relative_to(home).as_posix() for p in home.rglob("*"))
        assert (home / "datasets").is_dir()
        victim = home / MODEL / "victim.safetensors"
        if not victim.exists():
            victim.write_bytes(self.weights)
        (home / MODEL / "m.safetensors").write_bytes(b"measure of " + victim.read_bytes())
        (home / MODEL / "calibration-m.json").write_text("{}")
        out.mkdir()
        (out / "summary.json").write_text("{}")
        if self.failing is not None:
            raise self.failing
        return out


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Trains:
    made = Trains()
    monkeypatch.setattr(runner, "run", made)
    return made


def job(home: Path | str, **changed: Any) -> str:
    about = {"given": SMALL, "source": "sent.toml", "question": "Why?", "command": "again"}
    return json.dumps({**about, "edition": cluster.edition(), "home": str(home), **changed})


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_job_elsewhere_is_the_job_here(run: Trains, home: Path, tmp_path: Path) -> None:
    reason, packed = cluster.run_on_worker(job(home))
    assert reason == ""
    there = run.asked
    assert there["scenario"] == parse(SMALL, source="sent.toml")
    assert (there["given"], there["asks"], there["command"]) == (SMALL, "Why?", "again")
    assert list((tmp_path / "cells").iterdir()) == []

    run.failing = RunError("the server died")  # what was recorded comes back
    reason, again = cluster.run_on_worker(job(home))
    assert reason == f"{HOST}: the server died"
    for name, archive in (("done", packed), ("failed", again)):
        cluster.unpack(archive, tmp_path / name)
        assert files(tmp_path / name) == {"summary.json": b"{}"}


def _ready(home: Path) -> Path:
    (home / MODEL).mkdir(parents=True, exist_ok=True)
    return home


def test_a_victim_is_trained_once_and_a_calibration_stays_with_its_cell(
    run: Trains, home: Path
) -> None:
    cluster.run_on_worker(job(home))
    assert not any("safetensors" in name for name in run.found)
    trained = {
        f"{MODEL}/victim.safetensors": b"weights",
        f"{MODEL}/m.safetensors": b"measure of weights",
    }
    assert files(home) == trained
    run.weights = b"never used"
    cluster.run_on_worker(job(home))
    assert f"{MODEL}/victim.safetensors" in run.found
    assert not any("calibration" in name for name in run.found)
    assert files(home) == trained


def test_a_home_that_cannot_be_written_costs_time_only(
    run: Trains, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, *arguments: Any, real: Any = Path.mkdir, **named: Any) -> None:
        if path.is_relative_to(home):
            raise PermissionError(errno.EROFS, "Read-only file system", str(path))
        real(path, *arguments, **named)

    monkeypatch.setattr(Path, "mkdir", refused)
    reason, packed = cluster.run_on_worker(job(home))
    assert (reason, bool(packed)) == ("", True)
    assert not home.exists()
    assert f"{MODEL}/victim.safetensors" not in run.found


def test_what_was_trained_beside_another_is_not_mixed_with_it(run: Trains, home: Path) -> None:
    def beside(*arguments: Any, **named: Any) -> Path:
        out = run(*arguments, **named)
        _ready(home).joinpath(MODEL, "victim.safetensors").write_bytes(b"other weights")
        return out

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "run", beside)
        assert cluster.run_on_worker(job(home))[0] == ""
    assert files(home) == {f"{MODEL}/victim.safetensors": b"other weights"}


def test_without_a_home_it_is_the_workers_own(
    run: Trains, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    assert cluster.run_on_worker(job(""))[0] == ""
    assert (tmp_path / "user/.cache/powgate" / MODEL / "victim.safetensors").exists()
    assert not home.exists()


def test_an_edition_is_of_every_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("experiments", "pow"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.py").write_text("x")
    monkeypatch.setattr(cluster, "__file__", str(tmp_path / "experiments" / "cluster.py"))
    editions = []
    for change in (None, "pow/a.py", "pow/b.py"):
        if change:
            (tmp_path / change).write_text("y")
        editions.append(cluster.edition.__wrapped__())
    (tmp_path / "pow" / "b.py").rename(tmp_path / "pow" / "c.py")
    editions.append(cluster.edition.__wrapped__())
    (tmp_path / "elsewhere.py").touch()
    assert cluster.edition.__wrapped__() == editions[-1]
    assert len(set(editions)) == 4


def test_a_job_that_is_refused_or_too_large_is_a_reason(
    run: Trains, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    here, other = cluster.edition(), "0.0.9 (sources 0123)"
    refused = f"{HOST} has powgate {here}, expected {other} as here"
    no_home = f"{HOST}: [Errno 20] Not a directory: '{tmp_path}/file/home'"
    assert cluster.run_on_worker(job(home, edition=other)) == (refused, b"")
    assert cluster.run_on_worker(job(tmp_path / "file" / "home")) == (no_home, b"")
    assert run.asked == {}
    monkeypatch.setattr(cluster, "LARGEST", 1)
    reason, packed = cluster.run_on_worker(job(home))
    assert reason.startswith(f"{HOST}: the run folder has ")
    assert packed == b""
