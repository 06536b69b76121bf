"""The live view of an arm: one row a client, read from the tail of its record file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)


class Tail:
    """Whole lines of a growing JSON-lines file, each given once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0

    def lines(self) -> list[dict[str, Any]]:
        """The records added since the last call; none while the file is not there."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._position)
                text = file.read()
        except FileNotFoundError:
            return []
        whole = text[: text.rfind(b"\n") + 1]
        self._position += len(whole)
        return [json.loads(line) for line in whole.splitlines()]


class ArmView:
    """Progress of an arm's clients on the console; a context manager."""

    def __init__(self, console: Console, policy: str, folder: Path, totals: Mapping[str, int]):
        self._console = console
        self._policy = policy
        self._progress = Progress(
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("images"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[work]:>8.1f} s solving"),
            TextColumn("{task.fields[state]}"),
            console=console,
        )
        self._tails = {name: Tail(folder / "clients" / f"{name}.jsonl") for name in totals}
        self._solve = dict.fromkeys(totals, 0.0)
        width = max(map(len, totals), default=0)
        self._tasks: dict[str, TaskID] = {
            name: self._progress.add_task(name.ljust(width), total=total, work=0.0, state="")
            for name, total in totals.items()
        }

    def __enter__(self) -> Self:
        self._console.print(f"policy [bold]{self._policy}[/bold]: {len(self._tasks)} clients")
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def update(self, states: Mapping[str, str]) -> None:
        """Reads what the clients recorded since the last time."""
        for name, task in self._tasks.items():
            for line in self._tails[name].lines():
                if line.get("kind") == "predict":
                    self._solve[name] += line["solve"]
                    self._progress.update(task, completed=line["asked"], work=self._solve[name])
            state = states[name]
            self._progress.update(task, state="" if state == "running" else state)
            if state not in ("waiting", "running"):
                self._progress.stop_task(task)
