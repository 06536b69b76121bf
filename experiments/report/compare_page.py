"""Two runs side by side, in the terminal and as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

import tyro
from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.table import Table

from experiments.report import markup
from experiments.report.compare import Comparison, Line, Pair, compare, origin
from experiments.terminal import console, fitted

SAME = "Scenario, revision, machine and calibration are the same."


def show(found: Comparison, console: Console) -> None:
    """Prints which runs these are, what to know first, who paid what, and what was set otherwise.

    Of clients that belong to a group only the group is shown; the page has them, too.
    """
    for sentence in (*_origins(found), *remarks(found)):
        console.print(sentence, highlight=False, soft_wrap=True, markup=False)
    for policy, pairs in found.arms:
        table = _table(f"policy {policy}", ("client", "quantity", "A", "B", "A to B"), right=2)
        for pair in (pair for pair in pairs if not pair.member):
            for at, line in enumerate(pair.lines):
                name = "" if at else pair.name
                last = at == len(pair.lines) - 1
                table.add_row(
                    name, line.quantity, line.left, line.right, line.change, end_section=last
                )
        _print(table, console, keep=2)
    if found.settings:
        table = _table("What else differs", ("", "A", "B"), right=3)
        for row in found.settings:
            table.add_row(*row)
        _print(table, console, keep=1)


def _print(table: Table, console: Console, *, keep: int) -> None:
    for part in fitted(table, console.width, keep=keep):
        console.print(part)


def _table(title: str, headings: tuple[str, ...], *, right: int) -> Table:
    """A table whose columns from the one numbered `right` on are numbers."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    table.pad_edge = False
    for at, heading in enumerate(headings):
        justify: JustifyMethod = "left" if at < right else "right"
        table.add_column(heading, justify=justify, overflow="fold", no_wrap=at == 0)
    return table


def remarks(found: Comparison) -> tuple[str, ...]:
    """What to know before believing a ratio; one sentence if there is nothing."""
    return found.remarks or (SAME,)


def _origins(found: Comparison) -> tuple[str, str]:
    return (
        f"A  {origin(found.left, found.paths[0])}",
        f"B  {origin(found.right, found.paths[1])}",
    )


def page(found: Comparison) -> str:
    """The page as HTML; every text from outside is escaped."""
    names = [str(found.left["name"]), str(found.right["name"])]
    return markup.page(
        "compare.html",
        title=escape("powgate: " + " and ".join(dict.fromkeys(names))),
        heading="Two runs side by side",
        origins=markup.items(_origins(found)),
        remarks=markup.items(remarks(found)),
        arms="\n".join(_arms(found)),
        settings="\n".join(
            f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
            for row in found.settings
        ),
    )


def _arms(found: Comparison) -> Iterator[str]:
    for policy, pairs in found.arms:
        clients = "\n".join(map(_client, pairs))
        yield f'<h2>Policy {escape(policy)}</h2>\n<div class="clients">\n{clients}\n</div>'


def _client(pair: Pair) -> str:
    head = "".join(f'<th scope="col">{each}</th>' for each in ("", "A", "B", "A to B"))
    rows = "\n".join(map(_row, pair.lines))
    return (
        f"<section><h3>{escape(pair.name)}</h3>"
        f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></section>"
    )


def _row(line: Line) -> str:
    kind = ' class="same"' if line.change == "same" else ""
    cells = "".join(f"<td>{escape(text)}</td>" for text in (line.left, line.right, line.change))
    return f'<tr{kind}><td title="{escape(line.meaning)}">{escape(line.quantity)}</td>{cells}</tr>'


@dataclass(frozen=True, slots=True)
class Flags:
    """Show two runs side by side: what differs in how they were made, then every client in both."""

    a: tyro.conf.Positional[Path]
    """The folder of a run, fresh or published."""
    b: tyro.conf.Positional[Path]
    """Another one."""
    out: Path | None = None
    """Also write one self-contained page to this file."""


def run(flags: Flags) -> None:
    """Shows two runs side by side."""
    found = compare(flags.a, flags.b)
    if flags.out is not None:
        flags.out.write_text(page(found), encoding="utf-8")
    terminal = console(140)
    show(found, terminal)
    if flags.out is not None:
        terminal.print(f"page: {flags.out}", soft_wrap=True)
