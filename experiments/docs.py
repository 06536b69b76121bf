"""The verb `docs`: writes again what README and docs show of committed results.

A page has blocks between two marks, `<!-- NAME:begin -->` and `<!-- NAME:end -->`. Each module in
WRITERS has a function `write_docs(docs: Path)`, which rewrites its blocks, pages and figures from
docs/results alone.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tyro

from core.learning.artifacts import write_atomically

WRITERS: Mapping[str, str] = {
    "results": "experiments.report.publish",
    "readme": "experiments.report.readme_figure",
    "strength": "experiments.studies.strength",
    "defences": "experiments.studies.defences",
    "prices": "experiments.studies.prices",
}


class PageError(ValueError):
    """A page without the block that is to be written; one line."""


@dataclass(frozen=True, slots=True)
class Flags:
    """Make pages and figures of docs/ again from the results in docs/results. Runs nothing."""

    folder: tyro.conf.Positional[Path] = Path("docs")
    """The folder of the documentation; the README is beside it."""


def run(flags: Flags) -> None:
    """Writes every generated page and figure. Raises PageError."""
    for module in WRITERS.values():
        importlib.import_module(module).write_docs(flags.folder)


def write_block(page: Path, name: str, text: str) -> None:
    """Replaces the block of that name in a page. Raises PageError without its marks."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise PageError(f"{page} has no block from {begin} to {end}")
    write_atomically(page, f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}".encode())
