"""`python -m experiments VERB`: run scenarios, compare what they found, make the pages again."""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Mapping
from typing import Any

from core import command
from core.suggest import suggest

VERBS: Mapping[str, tuple[str, str]] = {
    "run": ("experiments.running", "Run a scenario or a sweep with real processes."),
    "report": (
        "experiments.report.page",
        "Make the page of a run or a sweep again.",
    ),
    "publish": ("experiments.report.publish", "Write what is committed of a run or a sweep."),
    "docs": ("experiments.docs", "Make the pages in docs/ again from the committed results."),
    "compare": ("experiments.report.compare", "Show two runs side by side."),
    "costs": ("experiments.costs", "Write what each image of a query pool costs."),
    "evaluate": ("experiments.evaluation", "Score the surrogates of an arm as they appear."),
    "measures": ("experiments.studies.measures", "Compare the privacy measures."),
    "prices": ("experiments.studies.prices", "Simulate what honest clients and attackers pay."),
    "privacy": ("experiments.privacy", "PATE accounting of your own votes."),
    "collect": ("experiments.studies.collect", "Add what a run of a study found to its results."),
}
"""The module of each verb, which has its `Flags` and its `run`, and what `--help` says of it."""

UNKNOWN = 2
"""Exit code without a verb, or for one that does not exist, as for a flag that does not."""


def main() -> int:
    """Parses the command line and does what it says; 1 is a mistake, explained in one line."""
    return command.run(_chosen, _mistakes)


def _chosen() -> int | None:
    name, *flags = sys.argv[1:] or [""]
    if name in ("", "-h", "--help"):
        print(f"usage: python -m experiments VERB [FLAGS]\n\n{__doc__}\n")
        for verb, (_, text) in VERBS.items():
            print(f"  {verb:14}  {text}")
        print("\nFlags of a verb: python -m experiments VERB --help")
        return None if name else UNKNOWN
    if name not in VERBS:
        hint = suggest(name, VERBS) or f"; expected one of {', '.join(VERBS)}"
        print(f"error: unknown verb {name!r}{hint}", file=sys.stderr)
        return UNKNOWN
    # All that takes time is imported in here, where a Ctrl-C ends in one line.
    import tyro

    module: Any = importlib.import_module(VERBS[name][0])
    chosen = tyro.cli(module.Flags, args=flags, prog=f"python -m experiments {name}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop the children then, too
    module.run(chosen)
    return None


def _mistakes() -> command.Mistakes:
    """What a user can mend; its message says how. Imported late, for `--help` is quick."""
    from client.session import GateError
    from core.learning.artifacts import ArtifactError
    from experiments.process import RunError

    return RunError, ArtifactError, GateError


if __name__ == "__main__":
    sys.exit(main())
