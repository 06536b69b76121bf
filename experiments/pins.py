"""What a run uses, by content: all its arms use the files that its first one used, or it ends.

A model may be prepared again beside a run, an archive replaced. Arms that are compared must not
differ in more than their policy, so every file is known by its SHA-256, which is looked at again
once the server of an arm has read them, and after the arm. The calibration is a copy in the run's
own folder: `calibrate` beside a run changes no price in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from core.learning import image_archives
from experiments import commands
from experiments.groups import Attacker, npz
from experiments.process import RunError
from experiments.scenario import Scenario

Pins = Mapping[str, Mapping[str, str | None]]
"""Files by what they are to a run: `file`, and its `sha256` (hex); None is not there."""


def changed(pins: Pins) -> str:
    """What is no longer what it was; "" if everything is."""
    for what, pin in pins.items():
        now = _digest(Path(str(pin["file"])))
        if now != pin["sha256"]:
            before = f"{pin['file']} had SHA-256 {pin['sha256']}"
            return f"{what} changed under this run: {before}, now {now}"
    return ""


def check(pins: Pins) -> None:
    """Raises RunError where a file is no longer what it was."""
    if what := changed(pins):
        raise RunError(what)


def take(scenario: Scenario, out: Path, home: Path) -> Pins:
    """The files of a run whose steps are done, as they are now."""
    from server import model  # with these comes torch
    from server.defences import trained

    name, server = commands.model_name(scenario), scenario.server
    files = {
        "the victim": model.victim_file(home, name),
        f"measure {server.measure}": model.measure_file(home, name, server.measure),
        "the calibration": commands.calibration(out),
    }
    for kind in trained.KINDS.get(server.defence, ()):
        files[f"surrogates {kind}"] = trained.file(model.folder(home, name), kind)
    attackers = [client for client in scenario.clients if isinstance(client, Attacker)]
    for each in attackers:
        if commands.knows_costs(each):
            files[f"costs for {each.name}"] = commands.costs_file(each, out)
    archives = {
        scenario.victim.dataset,
        *(each.pool for each in attackers),
        *(each.inside for each in attackers),
    }
    for archive in sorted(filter(npz, archives)):
        files[archive] = image_archives.path(archive, commands.data(scenario))
    return {what: {"file": str(path), "sha256": _digest(path)} for what, path in files.items()}


def _digest(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
