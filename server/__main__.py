"""`python -m server prepare | calibrate | serve`: the gate's commands."""

from __future__ import annotations

import os
import sys
from typing import Any

from core import command


def main() -> int:
    """Runs one command; 0 is success, 1 a mistake that was explained in one line."""
    return command.run(_chosen, _mistakes)


def _chosen() -> None:
    # All that takes time is imported in here, where a Ctrl-C ends in one line.
    import tyro

    from core import private
    from server.options import Calibrate, Prepare, serving

    verbs: dict[str, Any] = {
        "prepare": Prepare,
        "calibrate": Calibrate,
        "serve": serving(sys.argv[1:]),
    }
    options: Any = tyro.extras.subcommand_cli_from_dict(
        verbs, prog="python -m server", description=__doc__
    )
    from server import commands

    os.umask(private.UMASK)  # whatever a library writes for us: a ledger and its log, too
    (verb,) = (name for name, flags in verbs.items() if isinstance(options, flags))
    getattr(commands, verb)(options)


def _mistakes() -> command.Mistakes:
    from server import commands

    return commands.EXPLAINED


if __name__ == "__main__":
    sys.exit(main())
