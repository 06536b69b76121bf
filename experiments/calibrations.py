"""One calibration for all cells of a sweep that are alike in what it depends on.

It saves time; and cells that are to be compared are priced alike, which two measurements of one
machine's speed never are.
"""

from __future__ import annotations

import json
from pathlib import Path

from core.documents import read_json
from core.learning.artifacts import write_atomically
from core.records import provenance
from experiments import commands
from experiments.scenario import Scenario


class Calibrations:
    """What the cells of a sweep on this machine are priced by: one calibration for all alike."""

    def __init__(self, home: Path) -> None:
        self._home = home.absolute()
        self._known: dict[tuple[str, ...], str] = {}

    def note(self, scenario: Scenario, folder: Path) -> None:
        """Remembers what the run in `folder` was priced by, if it is worth something here."""
        try:
            about = read_json(folder / "scenario.json")
            made = about["calibration"]
            file = commands.calibration(scenario, self._home)
            last = read_json(file)
            here = provenance(None)
            fits = made["fingerprint"] == last["fingerprint"] and all(
                made["provenance"][key] == here[key] for key in ("host", "git_revision")
            )
        except (OSError, ValueError, KeyError, TypeError):
            return
        if fits:
            self._known.setdefault(self._key(scenario), json.dumps(made, indent=2))

    def restore(self, scenario: Scenario) -> bool:
        """Puts the calibration for this scenario where the server looks; False if none is known."""
        made = self._known.get(self._key(scenario))
        if made is None:
            return False
        write_atomically(commands.calibration(scenario, self._home), made.encode(), private=True)
        return True

    def _key(self, scenario: Scenario) -> tuple[str, ...]:
        """What a calibration depends on is what its command is told."""
        return tuple(commands.calibrate(scenario, self._home))
