"""`python -m server prepare | calibrate | serve`: the gate's commands."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import tyro

from server.options import Calibrate, Prepare, Serve

Command = (
    Annotated[Prepare, tyro.conf.subcommand("prepare")]
    | Annotated[Calibrate, tyro.conf.subcommand("calibrate")]
    | Annotated[Serve, tyro.conf.subcommand("serve")]
)


def main() -> int:
    """Runs one command; 0 is success, 1 a mistake that was explained in one line."""
    command = tyro.cli(Command, prog="python -m server", description=__doc__)
    # grpc's own log has a line for each malformed call of anybody's; set it to see them.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from server import commands

    try:
        if isinstance(command, Prepare):
            commands.prepare(command)
        elif isinstance(command, Calibrate):
            commands.calibrate(command)
        else:
            commands.serve(command)
    except commands.EXPLAINED as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
