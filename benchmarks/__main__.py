"""`python -m benchmarks`: how fast the parts are, measured side by side on this machine."""

from __future__ import annotations

import shlex
import signal
import sys
from importlib import import_module

from core import command

BENCHMARKS = {
    "puzzles": "benchmarks.puzzles",
    "gate": "benchmarks.gate",
    "measures": "benchmarks.measures",
    "defences": "benchmarks.defences",
    "flood": "benchmarks.flood",
}
"""The module of each; it has `Flags`, and `run(flags, command)`."""


def main(arguments: list[str] | None = None) -> int:
    """Runs one benchmark; 1 is a mistake, explained in one line."""
    return command.run(lambda: _chosen(sys.argv[1:] if arguments is None else arguments))


def _chosen(arguments: list[str]) -> None:
    import tyro

    name = arguments[0] if arguments else "--help"
    if name not in BENCHMARKS:
        text = f"usage: python -m benchmarks {{{','.join(BENCHMARKS)}}} [-h] [OPTIONS]"
        if name not in ("-h", "--help"):
            raise ValueError(f"no benchmark {name!r}; {text}")
        print(f"{text}\n\n{__doc__}")
        return
    module = import_module(BENCHMARKS[name])
    flags = tyro.cli(module.Flags, prog=f"python -m benchmarks {name}", args=arguments[1:])
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop the children then, too
    module.run(flags, shlex.join(["python", "-m", "benchmarks", *arguments]))


if __name__ == "__main__":
    sys.exit(main())
