"""`python -m experiments`: run a scenario, make its report again, measure the gate itself."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

import tyro

from core import environment
from experiments import options, verbs

VERBS: Mapping[type, Callable[[Any], None]] = {
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
    options.Strength: verbs.strength,
    options.VirtualCheck: verbs.virtual_check,
    options.Replay: verbs.replay,
}


def main() -> None:
    """Parses the command line and does what it says; exits non-zero with one readable line."""
    environment.settle()
    verb: options.Verb = tyro.cli(options.Verb, prog="python -m experiments", description=__doc__)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop the children then, too
    try:
        VERBS[type(verb)](verb)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        sys.exit(f"error: {error.filename or 'a file'}: {error.strerror or error}")
    except Exception as error:
        if isinstance(error, _expected()):
            sys.exit(f"error: {error}")
        raise


def _expected() -> tuple[type[Exception], ...]:
    """What a user can mend; its message says how. Imported late, for `--help` is quick."""
    from client.session import GateError
    from core.artifacts import ArtifactError
    from experiments.arm import RunError
    from experiments.replay import ReplayError

    return ValueError, RunError, ArtifactError, GateError, ReplayError


if __name__ == "__main__":
    main()
