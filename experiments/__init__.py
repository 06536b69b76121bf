"""Experiments: scenarios run as real processes, evaluated, tabulated and drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from experiments.results import Results
    from experiments.scenario import Scenario


def run(
    scenario: Scenario | str,
    out: Path | str | None = None,
    *,
    home: Path | str | None = None,
    cluster: str | None = None,
) -> Results:
    """Runs a scenario, or a sweep by file or name, and returns what was found.

    `out` is the folder to make (default: runs/NAME-DATE-TIME-CODE); an unfinished sweep in it goes
    on.
    `home` keeps victims and data (default: the user's cache folder). `cluster` is the address of a
    Ray to run a scenario by file or name on. Raises ScenarioError, RunError, FolderError,
    ArtifactError and DatasetError, and ValueError for a scenario object with a cluster.
    """
    from core.home import default_home
    from experiments import results, runner, sweep
    from experiments.scenario import check, read

    place = default_home() if home is None else Path(home)
    if not isinstance(scenario, str):
        if cluster is not None:
            raise ValueError("a cluster runs a scenario by file or name, not an object")
        check(scenario)
        folder = runner.new_folder(scenario.name) if out is None else Path(out)
        command = f"experiments.run({scenario!r})"
        return results.read(runner.run(scenario, folder, place, command=command))
    given = read(scenario)
    plan = sweep.cells(given, source=scenario)
    folder = runner.new_folder(plan[0].scenario.name) if out is None else Path(out)
    command = f"experiments.run({scenario!r})"
    if plan[0].changes or cluster is not None:
        where = None if home is None else place
        sweep.run(plan, folder, where, given=given, command=command, cluster=cluster)
    else:
        runner.run(plan[0].scenario, folder, place, given=given, command=command)
    return results.read(folder)
