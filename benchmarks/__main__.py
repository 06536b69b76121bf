"""`python -m benchmarks NAME`: how fast the parts are, measured side by side on this machine."""

from __future__ import annotations

import shlex
import signal
import sys
from contextlib import ExitStack
from importlib import import_module

from core import command

BENCHMARKS = ("puzzles", "gate", "measures", "defences", "flood")
"""Modules here, each with `Flags`, `probes(flags, stack)`, perhaps `about(rows)` for its file."""


def main(arguments: list[str] | None = None) -> int:
    """Runs one benchmark; 1 is a mistake, explained in one line."""
    return command.run(lambda: _chosen(sys.argv[1:] if arguments is None else arguments))


def _chosen(arguments: list[str]) -> None:
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help"):
        print(f"{__doc__}\nNAME is one of {', '.join(BENCHMARKS)}; NAME --help tells its flags.")
        return
    if name not in BENCHMARKS:
        raise ValueError(f"no benchmark {name!r}; expected one of {', '.join(BENCHMARKS)}")
    # All that takes time is imported in here, where a Ctrl-C ends in one line.
    import tyro

    module, turns = import_module(f"benchmarks.{name}"), import_module("benchmarks.turns")
    flags = tyro.cli(
        module.Flags,
        prog=f"python -m benchmarks {name}",
        description=module.__doc__,
        args=arguments[1:],
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop the children then, too
    with ExitStack() as stack:
        rows = turns.measure(module.probes(flags, stack), flags.rounds)
    turns.show(rows)
    if flags.json is not None:
        words = shlex.join(["python", "-m", "benchmarks", *arguments])
        about = module.about(rows) if hasattr(module, "about") else {}
        turns.save(flags.json, words, rounds=flags.rounds, **about, rows=rows)


if __name__ == "__main__":
    sys.exit(main())
