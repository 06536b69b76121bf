"""The terminal: the command that was given, progress messages, tables as wide as it is."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Column, Table

GAP = 3  # between two columns
EDGES = 2  # of a table


def command_line() -> list[str]:
    """The words of the command that runs."""
    return ["python", "-m", "experiments", *sys.argv[1:]]


def say(text: str) -> None:
    """Tells on stderr how far a long computation is."""
    print(text, file=sys.stderr, flush=True)


def console(least: int) -> Console:
    """The terminal; a file or a pipe is at least so many characters wide."""
    found = Console()
    return found if found.is_terminal else Console(width=max(found.width, least))


def fitted(table: Table, width: int, *, keep: int = 1) -> list[Table]:
    """The table where it fits into `width`; else parts of it that repeat the first `keep` columns.

    A column is as wide as its longest word, or as its longest line where it must not be wrapped.
    """
    wide = [_width(column) + GAP for column in table.columns]
    head, room = list(range(keep)), width - EDGES - sum(wide[:keep])
    parts: list[list[int]] = [[]]
    for at in range(keep, len(wide)):
        if parts[-1] and sum(wide[each] for each in parts[-1]) + wide[at] > room:
            parts.append([])
        parts[-1].append(at)
    if len(parts) == 1:
        return [table]
    return [_part(table, [*head, *part], first=part is parts[0]) for part in parts]


def _width(column: Column) -> int:
    pieces = []
    for cell in (column.header, *column.cells):
        text = str(getattr(cell, "plain", cell))
        pieces += text.splitlines() if column.no_wrap else text.split()
    found = max(map(cell_len, pieces), default=0)
    return found if column.max_width is None else min(found, column.max_width)


def _part(table: Table, chosen: Sequence[int], *, first: bool) -> Table:
    part = Table(
        title=table.title if first else None,
        title_justify=table.title_justify,
        title_style=table.title_style,
        box=table.box,
        show_edge=table.show_edge,
        header_style=table.header_style,
    )
    part.pad_edge = table.pad_edge
    for at in chosen:
        old = table.columns[at]
        part.add_column(
            old.header,
            justify=old.justify,
            no_wrap=old.no_wrap,
            overflow=old.overflow,
            max_width=old.max_width,
        )
    cells = [list(table.columns[at].cells) for at in chosen]
    for at, row in enumerate(table.rows):
        part.add_row(*(column[at] for column in cells), end_section=row.end_section)
    return part
