"""Sweeps whose cells are copies of one run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from experiments.records import read
from experiments.report.page import json_text
from experiments.summary import summarise

ACCOUNTS = [{"clients.bob.accounts": 1}, {"clients.bob.accounts": 10}]


def swept(folder: Path, changes: list[dict[str, Any]], *, missing: int = 0) -> Path:
    """A sweep whose cells are the run, with bob's work doubled from one cell to the next."""
    out = folder.parent / "sweep"
    out.mkdir()
    names = [f"{n}-x" for n in range(1, len(changes) + 1)]
    about = {
        "given": {"name": "tiny-sweep"},
        "command": "python -m experiments run tiny-sweep",
        "provenance": json.loads((folder / "scenario.json").read_text())["provenance"],
        "cells": [{"name": n, "changes": c} for n, c in zip(names, changes, strict=True)],
    }
    (out / "sweep.json").write_text(json.dumps(about))
    for place, name in enumerate(names[: len(names) - missing]):
        shutil.copytree(folder, out / name)
        path = out / name / "rate" / "clients" / "bob.jsonl"
        path.write_text(path.read_text().replace("10000", str(10_000 * 2**place)))
        for policy in ("none", "rate"):
            with (out / name / policy / "runner.jsonl").open("a") as file:
                file.write('{"kind": "server", "code": 0}\n')
        summary = json_text(summarise(read(out / name)))
        (out / name / "summary.json").write_text(summary, encoding="utf-8")
    return out
