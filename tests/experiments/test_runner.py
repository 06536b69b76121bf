"""A run that cannot start says why in one line and leaves nothing half-made."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from edits import without
from rich.console import Console

from experiments import commands, evaluation, runner
from experiments.groups import Attacker, Honest
from experiments.process import RunError
from experiments.report import page
from experiments.scenario import Scenario, Server, Victim

SCENARIO = Scenario(
    name="tiny",
    seed=7,
    victim=Victim(dataset="digits", network="lenet-thin"),
    server=Server(puzzle="sha256", t_max=0.5),
    clients=(
        Honest(name="ann", images=10, pace=0.5),
        Attacker(
            name="bob",
            attack="knockoff",
            pool="photos",
            pool_size=20,
            network="lenet",
            accounts=3,
            deal="series",
            pace=0.25,
            start=4.5,
            threads=2,
            config={"train_batch": 8, "fast": True, "loud": False},
        ),
    ),
)


def run(out: Path) -> None:
    home = out.parent / "home"
    runner.run(SCENARIO, out, home, console=Console(quiet=True), write=page.write)


def test_a_folder_that_is_there_or_cannot_be_made(tmp_path: Path) -> None:
    out, file = tmp_path / "out", tmp_path / "file"
    out.mkdir()
    for made in (out / "precious", file):
        made.touch()
    with pytest.raises(RunError, match=r"out exists already"):
        run(out)
    assert (out / "precious").exists()
    with pytest.raises(RunError, match=r"cannot create .*Not a directory"):
        run(file / "out")


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


@pytest.mark.parametrize(
    ("step", "code", "error"),
    [
        (
            "prepare",
            "'error: no space left'",
            r"prepare failed \(exit code 1\): error: no space left$",
        ),
        ("calibrate", "'error: slow'", r"calibrate failed \(exit code 1\): error: slow$"),
        ("prepare", "141", ""),  # its output is read by nobody, which is no failure
    ],
)
def test_nothing_is_left_where_preparing_fails(
    tmp_path: Path, step: str, code: str, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands_of = {"prepare": python("pass"), "calibrate": python("pass")}
    commands_of[step] = python(f"import sys; sys.exit({code})")
    for name, command in commands_of.items():
        monkeypatch.setattr(commands, name, lambda *_, command=command, **__: command)
    with pytest.raises(RunError if error else BrokenPipeError, match=error or None):
        run(tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A victim that was prepared and calibrated; nobody scores."""

    def step(name: str, *_: Any) -> None:
        if name == "calibrate":
            commands.calibration(tmp_path / "out").write_text("{}")

    monkeypatch.setattr(runner, "_step", step)
    monkeypatch.setattr(commands, "evaluate", lambda *_: python("pass"))


@pytest.mark.usefixtures("prepared", "bare")
@pytest.mark.parametrize("end", [KeyboardInterrupt(), RunError("the server died")])
def test_a_run_cut_short_leaves_a_report(
    folder: Path, tmp_path: Path, end: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def arm(out: Path, *_: Any, **__: Any) -> None:
        shutil.copytree(folder / out.name, out)
        if out.name == "rate":
            (out / "evaluation.jsonl").unlink()
            (out / "runner.jsonl").write_text('{"kind": "header"}\n')
            for client in (out / "clients").iterdir():
                without(client)  # its end
            raise end

    evaluated: list[Path] = []
    monkeypatch.setattr(runner, "run_arm", arm)
    monkeypatch.setattr(evaluation, "complete", lambda out, *_, **__: evaluated.append(out))
    with pytest.raises(type(end)):
        run(tmp_path / "out")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    status = {
        arm["policy"]: {client["status"] for client in arm["clients"]} for arm in summary["arms"]
    }
    assert status == {"none": {"done"}, "rate": {"stopped"}}
    assert evaluated == [tmp_path / "out"] * 2  # after the first arm, and for the report
    assert (tmp_path / "out" / "report.html").exists()


def test_a_run_cut_short_before_its_first_client(
    tmp_path: Path, prepared: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def arm(*_: Any, **__: Any) -> None:
        raise RunError("the server did not start")

    monkeypatch.setattr(runner, "run_arm", arm)
    with pytest.raises(RunError, match="did not start"):
        run(tmp_path / "out")
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == {"calibration.json", "logs", "scenario.json"}


def told(scenario: Scenario, folder: Path, policy: str = "rate") -> dict[str, str]:
    """The command line of each client of an arm."""
    clients = commands.arm(scenario, policy, folder / policy, folder / "home").clients
    return {name: " ".join(each.command("h:1")) for name, each in clients.items()}


def test_a_client_is_told_the_same_under_each_policy(tmp_path: Path) -> None:
    for policy in SCENARIO.server.policies:
        clients = told(SCENARIO, tmp_path, policy)
        assert "--seed 8 " in clients["ann"]
        assert "--seed 9 " in clients["bob"]
        assert clients["bob"].endswith("--attack.train-batch 8 --attack.fast --attack.no-loud")
    chosen = replace(SCENARIO, clients=(replace(SCENARIO.clients[0], seed=77),))
    assert "--seed 77 " in told(chosen, tmp_path)["ann"]
    started = commands.arm(SCENARIO, "rate", tmp_path, tmp_path).clients
    assert [started[name].after for name in ("ann", "bob")] == [0.0, 4.5]


def test_what_attackers_need_besides_a_pool(tmp_path: Path) -> None:
    pool: dict[str, Any] = {"pool": "digits", "pool_size": 50, "network": "lenet"}
    attackers = (
        Attacker(name="knows", attack="worstcase", **pool),
        Attacker(name="mixes", attack="inoutdist", inside="digits", **pool),
        Attacker(name="dreams", attack="dfme", network="lenet"),
    )
    scenario = replace(SCENARIO, clients=attackers)
    knows, mixes, dreams = told(scenario, tmp_path).values()
    file = tmp_path / "costs" / "knows.safetensors"
    assert f"--costs {file}" in knows
    assert "--inside digits" in mixes
    assert "--costs" not in mixes
    assert "--pool" not in dreams
    costs = " ".join(commands.costs(scenario, attackers[0], tmp_path, tmp_path / "home"))
    assert f"--pool digits --size 50 --seed 8 --out {file}" in costs
    assert "--seed 8" in knows  # the pool is the same


def test_a_victim_from_a_file_gets_a_name_of_its_own() -> None:
    victims = [Victim(dataset=f"npz:a/{name}.npz", network="lenet") for name in "bc"]
    names = {commands.model_name(replace(SCENARIO, victim=victim)) for victim in victims}
    assert len(names) == 2
    assert all("/" not in name for name in names)


def test_runs_of_one_second_go_to_folders_of_their_own() -> None:
    assert len({runner.default_folder("demo") for _ in range(20)}) == 20
