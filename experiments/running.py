"""The verb `run`: runs a scenario or a sweep, and shows what it found."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tyro

from core.home import default_data, default_home
from experiments import report, sweep
from experiments.scenario import read
from experiments.web import Page


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
    cluster: str | None = None
    """On the workers of a Ray: auto, HOST:PORT, ray://HOST:PORT, or local for one of its own."""
    web: bool = False
    """Also show the run as a page on 127.0.0.1 while it lasts."""
    web_port: int | None = None
    """Show it there on this port (default: one that is free)."""


def run(flags: Flags) -> None:
    """Runs a scenario, or a sweep of it."""
    from experiments import runner  # with it comes torch

    given = read(flags.scenario)
    data = flags.data or (None if "data" in given else default_data())
    if data is not None:
        given["data"] = str(data.absolute())
    cells = sweep.cells(given, source=flags.scenario)
    scenario = cells[0].scenario
    out = flags.out or runner.new_folder(scenario.name)
    home = flags.home or default_home()
    words = ["python", "-m", "experiments", "run", flags.scenario]
    if flags.home:
        words += ["--home", str(flags.home)]
    if flags.data:
        words += ["--data", str(flags.data)]
    if flags.cluster:
        words += ["--cluster", flags.cluster]
        if flags.web or flags.web_port is not None:
            raise ValueError("--web shows what runs here: it cannot go with --cluster")
    command = shlex.join(words)
    try:
        with _page(flags) as page:
            if cells[0].changes or flags.cluster:
                sweep.run(
                    cells,
                    out,
                    flags.home,
                    given=given,
                    command=command,
                    cluster=flags.cluster,
                    page=page,
                )
            else:
                runner.run(scenario, out, home, given=given, command=command, page=page)
    except KeyboardInterrupt as error:
        if out.exists():
            raise KeyboardInterrupt(f"interrupted; the records so far are in {out}") from error
        raise
    except OSError as error:
        error.filename = error.filename or out  # a write that failed does not say where
        raise
    report.show(out)


@contextmanager
def _page(flags: Flags) -> Iterator[Page | None]:
    """The page of a run while it lasts, if one is wanted."""
    if not flags.web and flags.web_port is None:
        yield None
        return
    with Page(flags.web_port or 0) as page:
        print(f"live: {page.url}", flush=True)
        yield page
