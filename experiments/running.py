"""The verb `run`: runs a scenario or a sweep, and shows what it found."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from core.home import default_data, default_home
from experiments import runner, sweep
from experiments.live import Watch
from experiments.report import page
from experiments.scenario import read


@dataclass(frozen=True, slots=True)
class Flags:
    """Run a scenario with real processes; leaves one folder with records, table and report.

    Of a scenario with a [sweep], a folder with one such folder for each combination.
    """

    scenario: tyro.conf.Positional[str]
    """A TOML file, or the name of a scenario that comes along (demo, smoke)."""
    out: Path | None = None
    """The folder to make (default: runs/NAME-DATE-TIME-CODE). A sweep that is there goes on."""
    home: Path | None = None
    """Where victims and data are kept (default: the user's cache folder)."""
    data: Path | None = None
    """Folder of image archives (default: the scenario's `data`, or POWGATE_DATA)."""
    only: str = ""
    """Of a sweep, only the combinations with this in the names of their folders."""
    cluster: str | None = None
    """On the workers of a Ray: auto, HOST:PORT, ray://HOST:PORT, or local for one of its own."""
    web: bool = False
    """Also show the run as a page on 127.0.0.1 while it lasts."""
    web_port: int | None = None
    """Show it there on this port (default: one that is free)."""


def run(flags: Flags) -> None:
    """Runs a scenario, or a sweep of it."""
    words = ["python", "-m", "experiments", "run", flags.scenario]
    for flag in ("home", "data", "only", "cluster"):
        words += [f"--{flag}", str(value)] if (value := getattr(flags, flag)) else []
    if flags.cluster and (flags.web or flags.web_port is not None):
        raise ValueError("--web shows what runs here: it cannot go with --cluster")
    given = read(flags.scenario)
    data = flags.data or (None if "data" in given else default_data())
    if data is not None:
        given["data"] = str(data.absolute())
    plan = sweep.cells(given, source=flags.scenario)
    if flags.only and not plan[0].changes:
        raise ValueError(f"--only is {flags.only!r}, but {flags.scenario} is no sweep")
    out = run_plan(
        plan,
        flags.out,
        flags.home,
        given=given,
        command=shlex.join(words),
        only=flags.only,
        cluster=flags.cluster,
        port=flags.web_port or 0 if flags.web or flags.web_port is not None else None,
    )
    page.show(out)


def run_plan(
    plan: tuple[sweep.Cell, ...],
    out: Path | None,
    home: Path | None,
    *,
    given: Mapping[str, Any],
    command: str,
    only: str = "",
    cluster: str | None = None,
    port: int | None = None,
) -> Path:
    """Runs a scenario or a sweep and writes its pages, also of one that was cut short; its folder.

    It is shown in the terminal while it lasts, and with a port on a page of this machine, too.
    Raises RunError, FolderError, ArtifactError, DatasetError and OSError.
    """
    scenario = plan[0].scenario
    out = out or runner.default_folder(scenario.name)
    how: dict[str, Any] = {"given": given, "command": command}
    try:
        with Watch(out, Console(), port=port):
            if plan[0].changes or cluster is not None:
                sweep.run(plan, out, home, only=only, cluster=cluster, write=page.write, **how)
            else:
                runner.run(scenario, out, home or default_home(), write=page.write, **how)
    except KeyboardInterrupt as error:
        if out.exists():
            raise KeyboardInterrupt(f"interrupted; the records so far are in {out}") from error
        raise
    except OSError as error:
        error.filename = error.filename or out  # a write that failed does not say where
        raise
    return out
