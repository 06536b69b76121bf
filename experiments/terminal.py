"""The terminal: the command that was given, progress messages, how wide it is."""

from __future__ import annotations

import sys

from rich.console import Console


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
