"""Cells on workers: with a Ray that is played, and the worker's side without one."""

from __future__ import annotations

import errno
import fcntl
import json
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import experiments
from experiments import cluster, commands, runner, running, sweep
from experiments.process import RunError
from experiments.scenario import load, parse

RAW: dict[str, Any] = {
    "name": "swept",
    "seed": 3,
    "victim": {"dataset": "digits", "network": "lenet-thin"},
    "server": {"policies": ["rate"]},
    "clients": [{"name": "ann", "kind": "honest", "images": 10}],
}
PLAN = {**RAW, "sweep": {"seed": [1, 2, 3]}}
NAMES = ["1-seed=1", "2-seed=2", "3-seed=3"]


class PlayedRay:
    """Machines that end their task when asked to wait; what was running where is written down."""

    def __init__(self, *nodes: dict[str, Any]) -> None:
        self.machines = list(nodes)
        self.together: list[dict[str, str]] = []  # what ran at once: job -> node
        self.placed: dict[int, tuple[str, str, float]] = {}  # (job, node, processors)
        self.cancelled: list[str] = []
        self.options_given: dict[str, Any] = {}

    def remote(self, **given: Any) -> Any:
        self.options_given = given
        return lambda function: self

    def options(self, *, num_cpus: float, scheduling_strategy: Any) -> Any:
        ray = self

        class Placed:
            def remote(self, job: str) -> int:
                assert not scheduling_strategy.soft
                number = sum(map(len, ray.together)) + len(ray.placed) * 1000
                ray.placed[number] = (job, scheduling_strategy.node_id, num_cpus)
                return number

        return Placed()

    def nodes(self) -> list[dict[str, Any]]:
        return self.machines

    def wait(self, references: Sequence[int], *, num_returns: int, timeout: float) -> Any:
        self.together.append({self.placed[r][0]: self.placed[r][1] for r in references})
        return list(references)[:num_returns], list(references)[num_returns:]

    def get(self, reference: int) -> tuple[str, bytes]:
        job, node, _ = self.placed[reference]
        return f"{job} on {node}", b""

    def cancel(self, reference: int, *, force: bool) -> None:
        assert force
        self.cancelled.append(self.placed[reference][0])


def machine(name: str, processors: float | None, alive: bool = True) -> dict[str, Any]:
    resources = {} if processors is None else {"CPU": processors}
    return {"NodeID": name * 56, "Alive": alive, "Resources": resources}


def test_one_cell_a_worker_with_all_its_processors() -> None:
    pytest.importorskip("ray")
    ray = PlayedRay(
        machine("a", 4.0), machine("b", 2.0), machine("c", None), machine("d", 8.0, alive=False)
    )
    workers = cluster.Workers(ray)
    assert workers.count() == 2
    found = [reason for _, reason, _ in workers.run({name: name for name in "vwxyz"})]
    assert sorted(reason[0] for reason in found) == list("vwxyz")
    assert all(len(set(at_once.values())) == len(at_once) for at_once in ray.together)
    assert [len(at_once) for at_once in ray.together] == [2, 2, 2, 2, 1]
    assert {(node[0], cpus) for _, node, cpus in ray.placed.values()} == {("a", 4.0), ("b", 2.0)}
    assert ray.options_given == {"max_calls": 1, "max_retries": 0}


def test_what_runs_is_cancelled_and_nothing_else() -> None:
    pytest.importorskip("ray")
    ray = PlayedRay(machine("a", 1.0), machine("b", 1.0))
    workers = cluster.Workers(ray)
    ends = workers.run({name: name for name in "xyz"})
    assert next(ends)[0] == "x"
    workers.stop()
    assert ray.cancelled == ["y"]
    workers.stop()
    assert ray.cancelled == ["y"]


def test_a_worker_that_fails_or_is_lost_is_a_reason() -> None:
    exceptions = pytest.importorskip("ray.exceptions")
    trace = "Traceback (most recent call last):\n  ...\nKeyError: 'edition'\n"
    raised = {
        "x": exceptions.RayTaskError("away", trace, KeyError("edition")),
        "y": exceptions.WorkerCrashedError(),
        "z": exceptions.NodeDiedError("the node is dead\nand more"),
    }

    class Failing(PlayedRay):
        def get(self, reference: int) -> Any:
            raise raised[self.placed[reference][0]]

    ends = list(cluster.Workers(Failing(machine("a", 1.0))).run({name: name for name in "xyz"}))
    assert [name for name, _, _ in ends] == ["x", "y", "z"]
    reasons = [reason for _, reason, _ in ends]
    assert reasons[0] == "the worker failed: KeyError: 'edition'"
    assert reasons[1].startswith("the worker was lost: The worker died unexpectedly")
    assert reasons[2] == "the worker was lost: the node is dead"
    assert {packed for _, _, packed in ends} == {b""}


def test_no_worker_left() -> None:
    pytest.importorskip("ray")
    ray = PlayedRay(machine("a", 1.0))
    ends = cluster.Workers(ray).run({"x": "x", "y": "y"})
    next(ends)
    ray.machines.clear()
    with pytest.raises(RunError, match=r"^the cluster has no worker left for 1 cells$"):
        list(ends)


class PlayedWorkers:
    """Gives what it was told to for each cell; remembers what was sent."""

    def __init__(self, **answers: tuple[str, bytes] | BaseException) -> None:
        self.answers = answers
        self.sent: dict[str, dict[str, Any]] = {}

    def count(self) -> int:
        return 1

    def run(self, sent: dict[str, str]) -> Iterator[tuple[str, str, bytes]]:
        self.sent = {name: json.loads(text) for name, text in sent.items()}
        for name in sent:
            answer = self.answers.get(name[:1], ("", finished()))
            if isinstance(answer, BaseException):
                raise answer
            yield name, *answer


def finished(code: int | None = 0) -> bytes:
    """The archive of a run that came to its end, or did not."""
    with tempfile.TemporaryDirectory() as name:
        arms = [{"policy": "rate", "server_code": code}]
        Path(name, "summary.json").write_text(json.dumps({"arms": arms}))
        return cluster.pack(Path(name))


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(workers: PlayedWorkers, raw: dict[str, Any] = PLAN, home: Path | None = None) -> Any:
        @contextmanager
        def connected(address: str) -> Iterator[Any]:
            assert address == "h:1"
            yield workers

        monkeypatch.setattr(sweep, "connected", connected)
        return sweep.run(
            sweep.cells(raw, source="swept.toml"),
            tmp_path / "new" / "out",
            home,
            given=raw,
            command="again",
            cluster="h:1",
            console=Console(quiet=True),
        )

    return run


def test_what_is_sent_is_plain(go: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workers = PlayedWorkers()
    monkeypatch.chdir(tmp_path)
    assert [folder.name for folder in go(workers, home=Path("h"))] == NAMES
    assert workers.sent["2-seed=2"] == {
        "given": {**RAW, "seed": 2},
        "source": "swept.toml",
        "question": "",
        "command": "again",
        "edition": cluster.edition(),
        "home": str(tmp_path / "h"),
    }


def test_a_cell_that_fails_there_stops_no_other_and_is_repeated(go: Any, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    workers = PlayedWorkers(
        **{"1": ("far: the server died", finished(None)), "2": ("the worker was lost: gone", b"")}
    )
    with pytest.raises(RunError, match=r"^2 of 3 cells failed; 1-seed=1: far: the server died$"):
        go(workers)
    assert {entry.name for entry in out.iterdir()} == {"sweep.json", NAMES[0], NAMES[2]}
    again = PlayedWorkers()
    go(again)
    assert list(again.sent) == NAMES[:2]
    assert again.sent["1-seed=1"]["home"] == ""  # the workers' own
    kept = {entry.name for entry in out.iterdir()}
    assert kept == {"sweep.json", *NAMES, "1-seed=1.cut-1"}
    idle = PlayedWorkers()
    go(idle)
    assert idle.sent == {}


def test_what_is_finished_stays_after_an_interruption(go: Any, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        go(PlayedWorkers(**{"2": KeyboardInterrupt()}))
    again = PlayedWorkers()
    go(again)
    assert list(again.sent) == NAMES[1:]


def test_a_damaged_archive_is_a_failed_cell(go: Any, tmp_path: Path) -> None:
    with pytest.raises(
        RunError, match=r"1 of 3 cells failed; 2-seed=2: the archive of .* is damaged"
    ):
        go(PlayedWorkers(**{"2": ("", b"no archive")}))
    out = tmp_path / "new" / "out"
    assert {entry.name for entry in out.iterdir()} == {"sweep.json", NAMES[0], NAMES[2]}


def test_a_scenario_without_a_sweep_goes_there_too(go: Any, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    with pytest.raises(RunError, match=r"^1 of 1 cells failed; swept: far: no luck$"):
        go(PlayedWorkers(**{"": ("far: no luck", b"")}), RAW)
    assert not out.exists()
    assert go(PlayedWorkers(), RAW) == [out]
    assert [entry.name for entry in out.iterdir()] == ["summary.json"]
    with pytest.raises(RunError, match="out exists already: a run needs a folder of its own"):
        go(PlayedWorkers(), RAW)


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    quiet = Console(quiet=True)
    with pytest.raises(RunError, match=r"^a cluster needs Ray: pip install 'powgate\[cluster\]'$"):
        sweep.run(
            sweep.cells(PLAN),
            tmp_path / "out",
            None,
            given=PLAN,
            command="",
            cluster="local",
            console=quiet,
        )
    assert list(tmp_path.iterdir()) == []


def test_a_page_of_what_runs_elsewhere_is_refused() -> None:
    verb = running.Flags("smoke", cluster="local", web=True)
    with pytest.raises(ValueError, match="--web shows what runs here: it cannot go with --cluster"):
        running.run(verb)


def test_a_scenario_made_by_hand_stays_here() -> None:
    with pytest.raises(ValueError, match="a cluster runs a scenario by file or name"):
        experiments.run(load("smoke")[0], cluster="local")


MODEL = Path("models", commands.model_name(parse(RAW)))
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
    about = {"given": RAW, "source": "sent.toml", "question": "Why?", "command": "again"}
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
    cluster.unpack(packed, tmp_path / "back")
    assert files(tmp_path / "back") == {"summary.json": b"{}"}
    there = run.asked
    assert cluster.run_job(json.loads(job(home)), tmp_path / "run", _ready(home)) == ""
    for key in ("scenario", "given", "asks", "command"):
        assert there[key] == run.asked[key], key
    assert there["scenario"].source == "sent.toml"
    assert (there["asks"], there["command"]) == ("Why?", "again")
    assert list((tmp_path / "cells").iterdir()) == []


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


def test_a_failure_comes_back_with_what_was_recorded(
    run: Trains, home: Path, tmp_path: Path
) -> None:
    run.failing = RunError("the server died")
    reason, packed = cluster.run_on_worker(job(home))
    assert reason == f"{HOST}: the server died"
    cluster.unpack(packed, tmp_path / "back")
    assert files(tmp_path / "back") == {"summary.json": b"{}"}


def test_another_edition_is_refused(run: Trains, home: Path) -> None:
    reason, packed = cluster.run_on_worker(job(home, edition="0.0.9 (sources 0123)"))
    assert (
        reason == f"{HOST} has powgate {cluster.edition()}, expected 0.0.9 (sources 0123) as here"
    )
    assert packed == b""
    assert run.asked == {}


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


def test_a_run_that_is_too_large_is_not_sent(
    run: Trains, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "LARGEST", 1)
    reason, packed = cluster.run_on_worker(job(home))
    assert reason.startswith(f"{HOST}: the run folder has ")
    assert packed == b""


def test_a_home_that_cannot_be_made_is_named(run: Trains, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    reason, packed = cluster.run_on_worker(job(tmp_path / "file" / "home"))
    assert reason == f"{HOST}: {tmp_path}/file/home: Not a directory"
    assert packed == b""


def test_folders_of_killed_workers_go_and_those_in_use_stay(run: Trains, home: Path) -> None:
    cells = home.parent / "cells"
    for name in ("dead", "busy", "young"):
        (cells / f"{cluster.SCRATCH}{name}").mkdir()
    (cells / f"{cluster.SCRATCH}dead" / "lock").touch()
    busy = cells / f"{cluster.SCRATCH}busy" / "lock"
    busy.touch()
    with busy.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        cluster.run_on_worker(job(home))
    left = {path.name.removeprefix(cluster.SCRATCH) for path in cells.iterdir()}
    assert left == {"busy", "young"}
