"""What a sweep makes of what workers do, with a Ray that is played."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from scenarios import SMALL

import experiments
from experiments import cluster, running, sweep
from experiments.process import RunError
from experiments.scenario import load

PLAN = {**SMALL, "sweep": {"seed": [1, 2, 3]}}
NAMES = ["1-seed=1", "2-seed=2", "3-seed=3"]


class PlayedRay:
    """Machines that end their task when asked to wait; what was running where is written down."""

    def __init__(self, *nodes: dict[str, Any]) -> None:
        self.machines = list(nodes)
        self.together: list[dict[str, str]] = []  # what ran at once: job -> node
        self.placed: list[tuple[str, str, float]] = []  # (job, node, processors)
        self.cancelled: list[str] = []
        self.failing: dict[str, Exception] = {}
        self.remote_options: dict[str, Any] = {}

    def remote(self, **given: Any) -> Any:
        self.remote_options = given
        return lambda function: self

    def options(self, *, num_cpus: float, scheduling_strategy: Any) -> Any:
        def placed(job: str) -> int:
            assert not scheduling_strategy.soft
            self.placed.append((job, scheduling_strategy.node_id, num_cpus))
            return len(self.placed) - 1

        return SimpleNamespace(remote=placed)

    def nodes(self) -> list[dict[str, Any]]:
        return self.machines

    def wait(self, references: Sequence[int], *, num_returns: int, timeout: float) -> Any:
        self.together.append({self.placed[r][0]: self.placed[r][1] for r in references})
        return list(references)[:num_returns], list(references)[num_returns:]

    def get(self, reference: int) -> tuple[str, bytes]:
        job, node, _ = self.placed[reference]
        if job in self.failing:
            raise self.failing[job]
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
    assert {(node[0], cpus) for _, node, cpus in ray.placed} == {("a", 4.0), ("b", 2.0)}
    assert ray.remote_options == {"max_calls": 1, "max_retries": 0}


def test_a_worker_that_fails_or_is_lost_is_a_reason() -> None:
    exceptions = pytest.importorskip("ray.exceptions")
    trace = "Traceback (most recent call last):\n  ...\nKeyError: 'edition'\n"
    ray = PlayedRay(machine("a", 1.0))
    ray.failing = {
        "x": exceptions.RayTaskError("away", trace, KeyError("edition")),
        "y": exceptions.NodeDiedError("the node is dead\nand more"),
    }
    ends = cluster.Workers(ray).run({name: name for name in "xyz"})
    assert next(ends) == ("x", "the worker failed: KeyError: 'edition'", b"")
    assert next(ends) == ("y", "the worker was lost: the node is dead", b"")
    ray.machines.clear()
    with pytest.raises(RunError, match=r"^the cluster has no worker left for 1 cells$"):
        list(ends)


class PlayedWorkers:
    """Gives what it was told to for each cell; remembers what was sent."""

    def __init__(self, **answers: tuple[str, bytes]) -> None:
        self.answers = answers
        self.sent: dict[str, dict[str, Any]] = {}

    def count(self) -> int:
        return 1

    def run(self, sent: dict[str, str]) -> Iterator[tuple[str, str, bytes]]:
        self.sent = {name: json.loads(text) for name, text in sent.items()}
        for name in sent:
            yield name, *self.answers.get(name[:1], ("", finished()))


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
        "given": {**SMALL, "seed": 2},
        "source": "swept.toml",
        "question": "",
        "command": "again",
        "edition": cluster.edition(),
        "home": str(tmp_path / "h"),
    }


def test_a_cell_that_fails_there_stops_no_other_and_is_repeated(go: Any, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    failed = {
        "1": ("far: the server died", finished(None)),
        "2": ("the worker was lost: gone", b""),
    }
    with pytest.raises(RunError, match=r"^2 of 3 cells failed; 1-seed=1: far: the server died$"):
        go(PlayedWorkers(**failed))
    assert {entry.name for entry in out.iterdir()} == {"sweep.json", NAMES[0], NAMES[2]}
    damaged = r"1 of 3 cells failed; 2-seed=2: the archive of .* is damaged"
    with pytest.raises(RunError, match=damaged):
        go(PlayedWorkers(**{"2": ("", b"no archive")}))
    again = PlayedWorkers()
    go(again)
    assert list(again.sent) == NAMES[1:2]
    assert again.sent["2-seed=2"]["home"] == ""  # the workers' own
    kept = {entry.name for entry in out.iterdir()}
    assert kept == {"sweep.json", *NAMES, "1-seed=1.cut-1"}


def test_a_scenario_without_a_sweep_goes_there_too(go: Any, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    with pytest.raises(RunError, match=r"^1 of 1 cells failed; swept: far: no luck$"):
        go(PlayedWorkers(**{"": ("far: no luck", b"")}), SMALL)
    assert not out.exists()
    assert go(PlayedWorkers(), SMALL) == [out]
    assert [entry.name for entry in out.iterdir()] == ["summary.json"]
    with pytest.raises(RunError, match="out exists already: a run needs a folder of its own"):
        go(PlayedWorkers(), SMALL)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    needed = r"^a cluster needs Ray: pip install 'powgate\[cluster\]'$"
    with pytest.raises(RunError, match=needed), cluster.connected("local"):
        pass


def test_what_cannot_go_to_a_cluster() -> None:
    verb = running.Flags("smoke", cluster="local", web=True)
    with pytest.raises(ValueError, match="--web shows what runs here: it cannot go with --cluster"):
        running.run(verb)
    with pytest.raises(ValueError, match="a cluster runs a scenario by file or name"):
        experiments.run(load("smoke")[0], cluster="local")
