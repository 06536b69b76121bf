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
    from experiments import results, running, sweep
    from experiments.scenario import check, read

    command = f"experiments.run({scenario!r})"
    if isinstance(scenario, str):
        given = read(scenario)
        plan = sweep.cells(given, source=scenario)
    elif cluster is not None:
        raise ValueError("a cluster runs a scenario by file or name, not an object")
    else:
        check(scenario)
        given = scenario.resolved()
        plan = (sweep.Cell(name="", changes={}, scenario=scenario, given=given),)
    return results.read(
        running.run_plan(
            plan,
            None if out is None else Path(out),
            None if home is None else Path(home),
            given=given,
            command=command,
            cluster=cluster,
        )
    )
