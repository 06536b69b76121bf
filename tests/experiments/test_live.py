"""What a running arm looks like, from records that grow; no process is started."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from experiments import live
from experiments.live import Arm, Client, History, Tail
from experiments.progress import AROUND, ArmView, drawn

RUNNING = {"ann": "running", "bob": "running"}


def put(path: Path, *records: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


def asked(images: int, at: float, **fields: Any) -> dict[str, Any]:
    shown = {"hashes": 0, "work": 0, "solve": 0.0, "virtual": False, **fields}
    return {"kind": "predict", "images": images, "at": at, **shown}


def served(images: int, **fields: Any) -> dict[str, Any]:
    return {"kind": "predict", "images": images, "cost": 1.5, "work": 7, "retry": False, **fields}


def saved(path: str, images: int) -> dict[str, Any]:
    return {"kind": "checkpoint", "path": path, "asked": images, "at": 1.0, "train_seconds": 1.0}


def scored(path: str, accuracy: float, client: str = "bob") -> dict[str, Any]:
    fidelity = accuracy / 2
    return {
        "kind": "surrogate",
        "client": client,
        "path": path,
        "accuracy": accuracy,
        "fidelity": fidelity,
    }


@pytest.fixture
def arm(tmp_path: Path) -> Arm:
    clients = [
        Client(name="ann", kind="honest", label="honest", total=64),
        Client(name="bob", kind="attack", label="knockoff", total=1000),
    ]
    return Arm(tmp_path / "rate", clients, name="tiny")


def test_a_tail_gives_each_whole_line_once(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    tail = Tail(path)
    assert tail.lines() == []
    path.write_text('{"a": 1}\n{"b"')
    assert tail.lines() == [{"a": 1}]
    assert tail.lines() == []
    with path.open("a") as file:
        file.write(": 2}\nnonsense\n[3]\n")
    assert tail.lines() == [{"b": 2}]


@given(st.integers(0, 2000))
@settings(deadline=None, max_examples=60)
def test_a_history_keeps_few_points_and_always_the_newest(length: int) -> None:
    history = History()
    for number in range(length):
        history.add((number, 2 * number))
    points = [point[0] for point in history.points()]
    assert len(points) <= live.POINTS
    assert points == sorted(set(points))
    assert points[:1] + points[-1:] == ([0, length - 1] if length else [])
    steps = {b - a for a, b in pairwise(points[:-1])}
    assert len(steps) <= 1  # evenly spread, but for the newest
    if length < live.POINTS:
        assert len(points) == length


def test_clients_by_their_own_records(tmp_path: Path, arm: Arm) -> None:
    folder = tmp_path / "rate"
    put(folder / "runner.jsonl", {"kind": "start", "client": "bob", "at": 0.5})
    bob = folder / "clients" / "bob.jsonl"
    put(bob, {"kind": "header"}, asked(64, 2.0, work=6400, hashes=7000, solve=0.5))
    arm.read(100.0, {"ann": "waiting", "bob": "running"})
    ann, thief = arm.clients["ann"], arm.clients["bob"]
    assert (ann.state, ann.images, ann.price, ann.hash_rate) == ("waiting", 0, None, None)
    assert (thief.state, thief.images, thief.price, thief.work) == ("running", 64, 100.0, 6400)
    assert thief.hash_rate == 14000.0
    put(bob, asked(32, 3.0, work=640, hashes=1000, solve=0.5), {"kind": "price", "work": 9})
    arm.read(101.0, RUNNING)
    assert (thief.images, thief.price, thief.work, thief.hash_rate) == (96, 20.0, 7040, 8000.0)
    assert thief.history.points() == [(2.5, 64, 6400), (3.5, 96, 7040)]
    assert arm.seconds == 1.0
    assert not arm.over


def test_virtual_solving_is_time_and_no_hash_rate(tmp_path: Path, arm: Arm) -> None:
    bob = tmp_path / "rate" / "clients" / "bob.jsonl"
    put(bob, asked(8, 1.0, work=80, hashes=80, solve=100.0, virtual=True))
    put(bob, asked(8, 2.0, work=80, hashes=80, solve=50.0, virtual=True))
    arm.read(0.0, RUNNING)
    assert arm.clients["bob"].virtual
    assert arm.clients["bob"].hash_rate is None
    assert arm.clients["bob"].history.points() == [(101.0, 8, 80), (152.0, 16, 160)]


def test_accuracy_is_that_of_the_newest_surrogate(tmp_path: Path, arm: Arm) -> None:
    folder = tmp_path / "rate"
    bob, scores = folder / "clients" / "bob.jsonl", folder / "evaluation.jsonl"
    put(bob, saved("one", 64), saved("two", 128), saved("three", 192))
    put(scores, {"kind": "victim", "accuracy": 0.9, "images": 500}, scored("two", 0.5))
    arm.read(0.0, RUNNING)
    thief = arm.clients["bob"]
    assert (thief.accuracy, thief.fidelity, arm.victim_accuracy) == (0.5, 0.25, 0.9)
    put(scores, scored("one", 0.7))  # an earlier one, later
    arm.read(1.0, RUNNING)
    assert thief.accuracy == 0.5
    put(scores, scored("three", 0.6))
    arm.read(2.0, RUNNING)
    assert (thief.accuracy, thief.fidelity) == (0.6, 0.3)
    points = arm.snapshot()["clients"][1]["scores"]
    assert points == [(64, 0.7, 0.35), (128, 0.5, 0.25), (192, 0.6, 0.3)]


def test_totals_of_the_server(tmp_path: Path, arm: Arm) -> None:
    file = tmp_path / "rate" / "server.jsonl"
    arm.read(0.0, RUNNING)
    put(file, served(16), served(16, retry=True), {"kind": "redeem", "client": "ann"}, served(8))
    arm.read(2.0, RUNNING)
    server = arm.server
    assert (server.requests, server.images, server.cost, server.work) == (3, 24, 3.0, 14)
    assert server.rate == 1.5
    for second in range(3, 21):
        arm.read(float(second), RUNNING)
    assert server.rate == 0.0  # nothing of late
    put(file, served(16), served(16))
    arm.read(20.5, RUNNING)
    assert server.rate == pytest.approx(2 / 9.5)  # looked at whole seconds, the last 10 of them
    arm.read(50.0, dict.fromkeys(RUNNING, "done"))
    assert arm.over
    assert server.rate == 5 / 50  # on average
    arm.read(90.0, dict.fromkeys(RUNNING, "done"))  # surrogates are being scored
    assert (arm.seconds, server.rate) == (50.0, 0.1)


@pytest.mark.parametrize(
    ("state", "ended", "shown"),
    [
        ("running", "", "running"),
        ("running", "done", "done"),
        ("ended early", "refused", "refused"),
        ("ended early", "", "ended early"),
        ("stopped", "interrupted", "stopped"),
        ("crashed", "done", "crashed"),
        ("waiting", "", "waiting"),
    ],
)
def test_how_a_client_ended(tmp_path: Path, arm: Arm, state: str, ended: str, shown: str) -> None:
    end = {"kind": "end", "status": ended, "reason": "", "at": 1.0}
    put(tmp_path / "rate" / "clients" / "ann.jsonl", *([end] if ended else []))
    arm.read(0.0, {"ann": state, "bob": "running"})
    assert arm.clients["ann"].state == shown


def test_records_that_are_not_whole_are_left_out(tmp_path: Path, arm: Arm) -> None:
    folder = tmp_path / "rate"
    put(folder / "clients" / "bob.jsonl", {}, {"kind": "predict"}, asked(0, 1.0), asked(8, 2.0))
    put(folder / "server.jsonl", {"kind": "predict"}, {"client": 3})
    put(folder / "runner.jsonl", {"kind": "start", "client": "eve", "at": 1.0})
    put(folder / "evaluation.jsonl", scored("none", 0.5), scored("x", 0.5, client="eve"))
    arm.read(0.0, RUNNING)
    arm.read(1.0, {})
    assert arm.clients["bob"].images == 8
    assert arm.clients["bob"].state == "running"
    json.dumps(arm.snapshot(), allow_nan=False)


# ── in a terminal ────────────────────────────────────────────────────────────────────────────────


def text(arm: Arm, lines: int, width: int = 80, *, whole: bool = False) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(drawn(arm, lines, width, whole=whole))
    return console.export_text()


def many(tmp_path: Path, honest: int = 20) -> Arm:
    clients = [
        Client(name=f"honest-{number}", kind="honest", label="honest", total=320)
        for number in range(1, honest + 1)
    ]
    thieves = [
        Client(name=name, kind="attack", label=name, total=1000) for name in ("copycat", "random")
    ]
    arm = Arm(tmp_path / "rate", [*clients, *thieves], name="tiny")
    for name in arm.clients:
        put(tmp_path / "rate" / "clients" / f"{name}.jsonl", asked(16, 1.0, work=160))
    arm.read(0.0, dict.fromkeys(arm.clients, "running") | {"honest-1": "done"})
    return arm


def test_a_line_a_client(tmp_path: Path, arm: Arm) -> None:
    folder = tmp_path / "rate"
    arm.read(0.0, RUNNING)
    put(folder / "server.jsonl", served(64, work=6_400_000))
    put(
        folder / "clients" / "bob.jsonl",
        asked(64, 2.0, work=6_400_000, hashes=7_000_000, solve=0.5),
        saved("one", 64),
    )
    put(folder / "evaluation.jsonl", scored("one", 0.534))
    arm.read(2.0, RUNNING)
    found = text(arm, 10).splitlines()
    assert found[0] == "tiny, policy rate: 2 s"
    bob = next(line for line in found if line.startswith("bob"))
    assert " ".join(bob.split()) == "bob 64/1,000 100 k 6.40 M 14.0 M 53.4 % running"
    assert found[-2] == "server: 64 queries in 1 requests, 0.50 requests/s of late,"
    assert found[-1].strip() == "privacy cost 2, work 6.40 M given out"


def test_thieves_are_shown_before_honest_users(tmp_path: Path) -> None:
    arm = many(tmp_path)
    lines = text(arm, 6).splitlines()
    names = [line.split()[0] for line in lines if "/320" in line or "/1,000" in line]
    assert names == ["honest-2", "honest-3", "honest-4", "copycat", "random"]
    assert "and 17 others: 272 queries, work 2,720; 1 done, 16 running" in lines
    assert len(lines) <= 6 + AROUND - 2
    assert max(map(len, lines)) <= 80
    assert "others" not in text(arm, 22)


@pytest.mark.parametrize("width", [24, 40, 60, 80])
def test_no_column_vanishes_on_a_narrow_terminal(tmp_path: Path, width: int) -> None:
    arm = many(tmp_path)
    found = text(arm, 22, width, whole=True)
    for heading in ("queries", "work/image", "work ", "hashes/s", "accuracy", "state"):
        assert heading in found, heading
    assert found.count("16/1,000") == 2
    assert found.count("running") == 21
    shown = text(arm, 22, width)
    assert max(map(len, shown.splitlines())) <= width
    assert ("no room for: " in shown) == (width < 80)


def test_nothing_but_the_end_where_there_is_no_terminal(tmp_path: Path) -> None:
    sink = io.StringIO()
    arm = many(tmp_path)
    clock = iter(range(100))
    with ArmView(Console(file=sink, width=80), arm, clock=lambda: float(next(clock))) as view:
        view.update(dict.fromkeys(arm.clients, "running"))
        assert sink.getvalue() == ""
        view.update(dict.fromkeys(arm.clients, "done"))
    found = sink.getvalue()
    assert "\x1b" not in found
    assert [found.count(f"{name} ") for name in arm.clients] == [1] * 22
    assert found.count("done") == 22


def test_an_interrupt_leaves_the_terminal_as_it_was(tmp_path: Path) -> None:
    sink = io.StringIO()
    arm = many(tmp_path, honest=40)
    console = Console(file=sink, force_terminal=True, width=80, height=24, _environ={})

    def interrupted() -> None:
        with ArmView(console, arm) as view:
            view.update(dict.fromkeys(arm.clients, "running") | {"honest-3": "crashed"})
            shown = sink.getvalue()
            assert "\x1b[?25l" in shown  # no cursor
            assert shown.count("\n") <= 24
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    hidden, _, after = sink.getvalue().rpartition("\x1b[?25h")
    assert "\x1b[?25l" in hidden
    assert "\x1b[?25l" not in after
    assert after.count("stopped") == 41
    assert after.count("crashed") == 1


def test_looks_are_some_time_apart(tmp_path: Path) -> None:
    now, snapshots = [0.0], []

    class Page:
        def show(self, arm: Mapping[str, Any]) -> None:
            snapshots.append(arm)

    console = Console(file=io.StringIO())
    with ArmView(console, many(tmp_path), page=Page(), clock=lambda: now[0]) as view:
        for now[0] in (0.0, 0.2, 0.9, 1.1, 1.9, 2.2):
            view.update({})
        assert len(snapshots) == 3
    assert len(snapshots) == 4  # and at the end
