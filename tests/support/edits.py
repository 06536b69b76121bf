"""Changes of files of records and of JSON, as tests break or complete them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def edit(path: Path, change: Callable[[Any], object]) -> None:
    """Changes the content of a JSON file in place."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def append(path: Path, *records: dict[str, Any]) -> None:
    """Adds lines to a file of records."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


def swap(path: Path, old: str, new: str) -> None:
    """Replaces a text that is there."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def without(path: Path, words: str = "") -> None:
    """Removes the lines with these words, or the last line."""
    lines = path.read_text().splitlines(True)
    kept = [line for line in lines if words not in line] if words else lines[:-1]
    path.write_text("".join(kept))


def end_servers(run: Path) -> None:
    """Says that the server of each policy came to its end."""
    for policy in ("none", "rate"):
        append(run / policy / "runner.jsonl", {"kind": "server", "code": 0})
