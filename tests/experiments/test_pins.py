"""What a run uses stays what it was, or the run ends; beside it, others may do as they like."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from experiments import commands, evaluation, pins, runner
from experiments.process import RunError
from experiments.report import page
from experiments.scenario import Scenario, load


def made(tmp_path: Path) -> tuple[Scenario, dict[str, Path]]:
    """A scenario with every kind of file there is, each with its own name in it."""
    scenario, _ = load("smoke")
    honest, thief = scenario.clients
    archive = tmp_path / "pool.npz"
    scenario = replace(
        scenario,
        server=replace(scenario.server, defence="gradient_redirection"),
        clients=(honest, replace(thief, attack="worstcase", pool=f"npz:{archive}")),
    )
    files = tmp_path / "home" / "models" / commands.model_name(scenario)
    found = {
        "the victim": files / "victim.safetensors",
        "measure surprisal:typicality": files / "surprisal-typicality.safetensors",
        "the calibration": tmp_path / "out" / "calibration.json",
        "surrogates students": files / "surrogates-students.safetensors",
        "surrogates untrained": files / "surrogates-untrained.safetensors",
        "costs for knockoff": tmp_path / "out" / "costs" / "knockoff.safetensors",
        f"npz:{archive}": archive,
    }
    for path in found.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)
    return scenario, found


def test_every_file_is_known_by_its_content(tmp_path: Path) -> None:
    scenario, files = made(tmp_path)
    taken = pins.take(scenario, tmp_path / "out", tmp_path / "home")
    assert {what: entry["file"] for what, entry in taken.items()} == {
        what: str(path) for what, path in files.items()
    }
    pins.check(taken)
    for what, path in files.items():
        before = path.read_text()
        digest = taken[what]["sha256"]
        for change in ("other content", None):
            path.unlink() if change is None else path.write_text(change)
            with pytest.raises(RunError) as caught:
                pins.check(taken)
            assert str(caught.value).startswith(
                f"{what} changed under this run: {path} had SHA-256 {digest}, now "
            )
            assert pins.changed(taken).startswith(what)
        path.write_text(before)
        assert not pins.changed(taken)


def test_a_model_prepared_again_between_two_arms_ends_the_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario, _ = load("smoke")
    files = tmp_path / "home" / "models" / commands.model_name(scenario)
    ran: list[str] = []

    def step(name: str, *_: Any) -> None:
        files.mkdir(parents=True, exist_ok=True)
        (files / "victim.safetensors").write_text("first")
        commands.calibration(tmp_path / "out").write_text('{"first": 1}')

    def arm(out: Path, told: Any, **_: Any) -> None:
        assert (
            str(tmp_path / "out" / "calibration.json") in told.server
        )  # whoever calibrates beside
        ran.append(out.name)
        shutil.copytree(folder / out.name, out)
        (files / "victim.safetensors").write_text("second")

    monkeypatch.setattr(runner, "_step", step)
    monkeypatch.setattr(runner, "run_arm", arm)
    monkeypatch.setattr(commands, "evaluate", lambda *_: ["true"])
    monkeypatch.setattr(evaluation, "complete", None)  # a victim that changed scores nobody
    out, write = tmp_path / "out", page.write
    with pytest.raises(RunError, match="the victim changed under this run"):
        runner.run(scenario, out, tmp_path / "home", console=Console(quiet=True), write=write)
    assert ran == ["none"]
    about = json.loads((tmp_path / "out" / "scenario.json").read_text())
    assert about["calibration"] == {"first": 1}
    assert json.loads((tmp_path / "out" / "calibration.json").read_text()) == {"first": 1}
    assert len(about["pinned"]["the victim"]["sha256"]) == 64
    assert (tmp_path / "out" / "report.html").exists()
