"""`python -m attacks NAME`: one attack against a gate, as a client process. `--list` shows all."""

from __future__ import annotations

import shutil
import sys
from dataclasses import make_dataclass
from typing import Annotated, Any

import attacks
from core import command
from core.suggest import suggest


def main() -> int:
    """0: done; 3: refused, out of reach or told to stop; 1: a mistake, in one line."""
    return command.run(_chosen, _mistakes)


def _chosen() -> int:
    arguments = sys.argv[1:]
    if arguments == ["--list"]:
        _list()
        return 0
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"usage: python -m attacks NAME [FLAGS]\n\n{__doc__}\n")
        print(f"NAME is one of: {', '.join(attacks.REGISTRY)}. `python -m attacks NAME --help`")
        return 0
    name, *flags = arguments
    if name not in attacks.REGISTRY:
        hint = suggest(name, attacks.REGISTRY) or f"; expected {', '.join(attacks.REGISTRY)}"
        raise ValueError(f"unknown attack {name!r}{hint}")
    # All that takes time is imported in here, where a Ctrl-C ends in one line.
    import tyro

    from attacks.options import Attacker

    attack = attacks.load(name)
    flags_type: Any = make_dataclass(
        "Flags",
        [("attacker", Annotated[Attacker, tyro.conf.arg(name="")]), ("attack", attack.Config)],
    )
    options: Any = tyro.cli(
        flags_type,
        args=flags,
        prog=f"python -m attacks {name}",
        description=attack.__doc__,
    )
    from attacks import process
    from client.process import stopped

    return stopped(lambda: process.run(attack, options.attack, options.attacker))


def _mistakes() -> command.Mistakes:
    from client.errors import GateError
    from core.learning.artifacts import ArtifactError
    from core.learning.training import TrainingDiverged

    return ArtifactError, GateError, TrainingDiverged


def _list() -> None:
    """One line for each attack: name, what it does, source, labels it learns from, needs."""
    rows: list[tuple[str, ...]] = [("name", "what it does", "source", "labels", "needs")]
    for name in attacks.REGISTRY:
        attack = attacks.load(name)
        first = (attack.__doc__ or "").splitlines()[0]
        rows.append((name, first, attack.SOURCE, attack.LABELS, ", ".join(attack.NEEDS) or "none"))
    if sys.stdout.isatty():
        _table(rows, shutil.get_terminal_size().columns)
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(f"{cell:{w}}" for cell, w in zip(row, widths, strict=True)).rstrip())


def _table(rows: list[tuple[str, ...]], width: int) -> None:
    """The list as wide as a terminal: the source stands below what an attack does."""
    from rich.console import Console
    from rich.table import Table

    name, does, source, labels, needs = rows[0]
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(name, no_wrap=True, style="bold")
    table.add_column(f"{does}, {source}", overflow="fold")
    table.add_column(labels, no_wrap=True)
    table.add_column(needs, no_wrap=True)
    for name, does, source, labels, needs in rows[1:]:
        table.add_row(name, f"{does}\n[dim]{source}[/dim]", labels, needs)
    Console(width=width, highlight=False).print(table)


if __name__ == "__main__":
    sys.exit(main())
