"""`python -m experiments`: run a scenario, make its report again, measure the gate itself."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

from core import command


def main() -> int:
    """Parses the command line and does what it says; 1 is a mistake, explained in one line."""
    return command.run(_chosen, _mistakes)


def _chosen() -> None:
    # All that takes time is imported in here, where a Ctrl-C ends in one line.
    import tyro

    from experiments import options, verbs

    done_by: Mapping[type, Callable[[Any], None]] = {
        options.Run: verbs.run,
        options.Report: verbs.report,
        options.Publish: verbs.publish,
        options.Compare: verbs.compare,
        options.Story: verbs.story,
        options.Bench: verbs.bench,
        options.Costs: verbs.costs,
        options.Evaluate: verbs.evaluate,
        options.Flood: verbs.flood,
        options.Measures: verbs.compare_measures,
        options.MeasuresSpeed: verbs.measures_speed,
        options.Defences: verbs.compare_defences,
        options.DefencesSpeed: verbs.defences_speed,
        options.Prices: verbs.simulate_prices,
        options.Privacy: verbs.privacy,
        options.Strength: verbs.strength,
        options.VirtualCheck: verbs.virtual_check,
        options.Replay: verbs.replay,
    }
    verb: options.Verb = tyro.cli(options.Verb, prog="python -m experiments", description=__doc__)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop the children then, too
    done_by[type(verb)](verb)


def _mistakes() -> command.Mistakes:
    """What a user can mend; its message says how. Imported late, for `--help` is quick."""
    from client.session import GateError
    from core.learning.artifacts import ArtifactError
    from experiments.arm import RunError
    from experiments.replay import ReplayError

    return RunError, ArtifactError, GateError, ReplayError


if __name__ == "__main__":
    sys.exit(main())
