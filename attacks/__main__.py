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
    """For each attack: name, what it does, source, labels it learns from, needs."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("name", no_wrap=True, style="bold")
    table.add_column("what it does, source", overflow="fold")
    table.add_column("labels", no_wrap=True)
    table.add_column("needs", no_wrap=True)
    for name in attacks.REGISTRY:
        attack = attacks.load(name)
        does = (attack.__doc__ or "").splitlines()[0]
        needs = ", ".join(attack.NEEDS) or "none"
        table.add_row(name, f"{does}\n[dim]{attack.SOURCE}[/dim]", attack.LABELS, needs)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 160
    Console(width=width, highlight=False).print(table)


if __name__ == "__main__":
    sys.exit(main())
