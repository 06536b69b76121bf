"""What the cells of a sweep cost and brought: a pure function of their summaries.

Format 2, as of `summary`; a cell keeps the groups of its arms and leaves the rest out.

    format, kind    2, "sweep"
    name, question, command, provenance, scenario   of the sweep; the scenario as given
    fields          what was swept, dotted
    cells           one for each combination:
      name          of its folder
      changes       {field: value}
      missing       why there is nothing of it, or null
      revision, modified   of the tree it was run from
      finished      whether every arm came to its end
      puzzle        what its work was asked in
      victim        accuracy on held-out images
      arms          {"policy", "server_code", "groups"}; as of a run, without quantiles
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.documents import read_json
from experiments.folder import read_sweep
from experiments.report.summary import FORMAT


def summarise(folder: Path) -> dict[str, Any]:
    """The summary of a sweep's folder. Raises FolderError if it is none."""
    about = read_sweep(folder)
    read = [(cell, *_read(folder / cell["name"])) for cell in about["cells"]]
    runs = [run for _, run, _ in read if run is not None]
    return {
        "format": FORMAT,
        "kind": "sweep",
        "name": about["given"].get("name", folder.name),
        "question": runs[0]["question"] if runs else "",
        "command": about["command"],
        "provenance": about["provenance"],
        "scenario": about["given"],
        "fields": list(about["cells"][0]["changes"]),
        "cells": [
            {
                "name": cell["name"],
                "changes": cell["changes"],
                "missing": missing,
                **(_cell(run) if run is not None else {"arms": []}),
            }
            for cell, run, missing in read
        ],
    }


def _read(folder: Path) -> tuple[dict[str, Any] | None, str | None]:
    """The summary of a cell, or why there is none."""
    path = folder / "summary.json"
    try:
        summary = read_json(path)
        if summary["format"] != FORMAT:
            raise ValueError(f"format {summary['format']!r}, expected {FORMAT}")
    except FileNotFoundError:
        return None, f"no {path.name}" if folder.exists() else "not run"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return None, f"{path.name}: {error}"
    return summary, None


def _cell(run: Mapping[str, Any]) -> dict[str, Any]:
    server = run["scenario"]["server"]
    ended = {arm["policy"] for arm in run["arms"] if arm["server_code"] is not None}
    return {
        "revision": run["provenance"]["git_revision"],
        "modified": run["provenance"].get("git_modified"),
        "finished": set(server["policies"]) <= ended,
        "puzzle": server.get("puzzle"),
        "victim": run["victim"]["accuracy"],
        "arms": [
            {
                "policy": arm["policy"],
                "server_code": arm["server_code"],
                "groups": [
                    {key: value for key, value in group.items() if key != "quantiles"}
                    for group in arm["groups"]
                ],
            }
            for arm in run["arms"]
        ],
    }
