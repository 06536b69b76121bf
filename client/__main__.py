"""`python -m client honest`: an honest user of a gate, as a process."""

from __future__ import annotations

import sys

from core import command


def main() -> int:
    """0: all asked; 3: refused, out of reach or told to stop; 1: a mistake, in one line."""
    return command.run(_chosen, _mistakes)


def _chosen() -> int:
    # All that takes time is imported in here, where a Ctrl-C ends in one line.
    import tyro

    from client import honest
    from client.process import stopped

    options = tyro.extras.subcommand_cli_from_dict(
        {"honest": honest.Honest}, prog="python -m client", description=__doc__
    )
    return stopped(lambda: honest.run(options))


def _mistakes() -> command.Mistakes:
    from client.errors import GateError

    return (GateError,)


if __name__ == "__main__":
    sys.exit(main())
