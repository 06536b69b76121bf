"""`python -m client honest`: an honest user of a gate, as a process."""

from __future__ import annotations

import sys

import tyro

from client.options import Honest
from core import environment


def main() -> int:
    """0: all asked; 3: refused, out of reach or told to stop; 1: a mistake, in one line."""
    environment.settle()
    options = tyro.extras.subcommand_cli_from_dict(
        {"honest": Honest},
        prog="python -m client",
        description=__doc__,
    )
    from client import honest
    from client.recording import STOPPED, STOPS
    from client.session import GateError
    from core.artifacts import ArtifactError

    try:
        honest.run(options)
    except STOPS as error:
        print(f"stopped: {error}", file=sys.stderr)
        return STOPPED
    except (ArtifactError, GateError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
