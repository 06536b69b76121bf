"""`python -m experiments`: run a scenario, make its report again, measure the gate itself."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path

import tyro

from experiments.options import (
    Bench,
    Costs,
    Defences,
    DefencesSpeed,
    Flood,
    Measures,
    MeasuresSpeed,
    Prices,
    Replay,
    Run,
    Strength,
    Verb,
    VirtualCheck,
)


def main() -> None:
    """Parses the command line and does what it says; exits non-zero with one readable line."""
    verb: Verb = tyro.cli(Verb, prog="python -m experiments", description=__doc__)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop the children then, too
    try:
        if isinstance(verb, Run):
            _run(verb)
        elif isinstance(verb, Bench):
            _bench(verb)
        elif isinstance(verb, Costs):
            _costs(verb)
        elif isinstance(verb, Flood):
            _flood(verb)
        elif isinstance(verb, Measures):
            _measures(verb)
        elif isinstance(verb, MeasuresSpeed):
            _measures_speed(verb)
        elif isinstance(verb, Defences):
            _defences(verb)
        elif isinstance(verb, DefencesSpeed):
            _defences_speed(verb)
        elif isinstance(verb, Prices):
            _prices(verb)
        elif isinstance(verb, Strength):
            _strength(verb)
        elif isinstance(verb, VirtualCheck):
            _virtual_check(verb)
        elif isinstance(verb, Replay):
            _replay(verb.folder)
        else:
            _report(verb.folder)
    except KeyboardInterrupt:
        sys.exit(130)


def _run(verb: Run) -> None:
    from core.home import default_home
    from experiments import sweep
    from experiments.scenario import ScenarioError, read

    try:
        given = read(verb.scenario)
        cells = sweep.cells(given, source=verb.scenario)
    except ScenarioError as error:
        sys.exit(f"error: {error}")

    from core.artifacts import ArtifactError
    from core.datasets import DatasetError
    from experiments import runner
    from experiments.arm import RunError
    from experiments.folder import FolderError

    scenario = cells[0].scenario
    out = verb.out or runner.new_folder(scenario.name)
    home = verb.home or default_home()
    words = ["python", "-m", "experiments", "run", verb.scenario]
    if verb.home:
        words += ["--home", str(verb.home)]
    command = shlex.join(words)
    try:
        if cells[0].changes:
            folders = sweep.run(cells, out, home, given=given, command=command)
        else:
            folders = [runner.run(scenario, out, home, given=given, command=command)]
    except KeyboardInterrupt:
        if out.exists():
            print(f"interrupted; the records so far are in {out}", file=sys.stderr)
        raise
    except (RunError, FolderError, ArtifactError, DatasetError) as error:
        sys.exit(f"error: {error}")
    except OSError as error:  # of a write that failed, it does not say where
        sys.exit(f"error: {error.filename or out}: {error.strerror}")
    for folder in folders:
        _show(folder)


def _report(folder: Path) -> None:
    from experiments import report
    from experiments.folder import FolderError

    try:
        report.write(folder)
    except FolderError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.filename or folder}: {error.strerror}")
    _show(folder)


def _costs(verb: Costs) -> None:
    from core.artifacts import ArtifactError
    from core.home import default_home
    from experiments.oracle import write_costs

    try:
        written = write_costs(
            verb.out,
            home=verb.home or default_home(),
            model=verb.model,
            measure=verb.measure,
            pool=verb.pool,
            size=verb.size,
            seed=verb.seed,
            data=verb.data,
        )
    except (ValueError, ArtifactError) as error:
        sys.exit(f"error: {error}")
    print(f"{verb.out}: costs of {written} images")


def _flood(verb: Flood) -> None:
    if not 0 < verb.seconds <= 3600:
        sys.exit(f"error: --seconds is {verb.seconds}; expected above 0, at most 3600")

    from rich.console import Console

    from core.artifacts import ArtifactError
    from experiments import bench, flood

    result = flood.flood(verb.seconds)
    Console(width=140).print(flood.tabulate(result))
    try:
        if verb.json is not None:
            bench.save(result, verb.json)
    except ArtifactError as error:
        sys.exit(f"error: {error}")


def _bench(verb: Bench) -> None:
    if verb.rounds < 1:
        sys.exit(f"error: --rounds is {verb.rounds}; expected at least 1")

    from rich.console import Console

    from client.session import GateError
    from core.artifacts import ArtifactError
    from experiments import bench
    from experiments.arm import RunError
    from experiments.probes import Sizes

    try:
        result = bench.bench(
            home=verb.home,
            rounds=verb.rounds,
            sizes=Sizes(),
            seed=0,
            console=Console(stderr=True),
        )
        console = Console()
        if not console.is_terminal:
            console = Console(width=max(console.width, 140))
        console.print(bench.tabulate(result))
        if verb.json is not None:
            command = shlex.join(["python", "-m", "experiments", *sys.argv[1:]])
            bench.save({"command": command, **result}, verb.json)
    except (RunError, GateError, ArtifactError, OSError) as error:
        sys.exit(f"error: {error}")


def _measures(verb: Measures) -> None:
    from core.artifacts import ArtifactError
    from core.datasets import DatasetError
    from core.home import default_home
    from experiments import measures

    data = _data(verb.data)
    command = ["python", "-m", "experiments", *sys.argv[1:]]
    try:
        plan = measures.Plan(
            dataset=verb.dataset,
            network=verb.network,
            measures=verb.measures or measures.MEASURES,
            seeds=verb.seeds,
            images=verb.images,
            home=verb.home or default_home(),
            data=data,
        )

        print(measures.table(measures.run(plan, command=command, file=verb.json, say=_say)))
    except (ValueError, DatasetError, ArtifactError) as error:
        sys.exit(f"error: {error}")


def _measures_speed(verb: MeasuresSpeed) -> None:
    from core.artifacts import ArtifactError
    from experiments import measure_speed

    try:
        found = measure_speed.measure(rounds=verb.rounds, seed=0, say=_say)
        print(measure_speed.table(found))
        if verb.json is not None:
            command = ["python", "-m", "experiments", *sys.argv[1:]]
            measure_speed.save(found, verb.json, command)
    except (ValueError, ArtifactError) as error:
        sys.exit(f"error: {error}")


def _defences(verb: Defences) -> None:
    from core.artifacts import ArtifactError
    from core.datasets import DatasetError
    from core.home import default_home
    from experiments import defences, defences_page
    from experiments.arm import RunError
    from experiments.defences_cell import Place
    from experiments.defences_plan import bench

    data = _data(verb.data)
    try:
        chosen = bench(verb.dataset)
        file = verb.json or Path("docs/results") / f"defences-{chosen.short}.json"
        if verb.page is not None:
            defences_page.save(verb.page, file.parent)
            return
        plan = defences.Plan(
            bench=chosen,
            defences=verb.defences,
            seeds=verb.seeds,
            wire=verb.wire,
            place=Place(verb.home or default_home(), data),
            file=file,
        )
        command = ["python", "-m", "experiments", "defences", "--dataset", chosen.dataset]
        if verb.wire:
            command.append("--wire")
        defences.run(plan, command=shlex.join(command), say=_say)
        print(defences_page.block(file.parent))
    except (ValueError, DatasetError, ArtifactError, RunError) as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.filename or 'a file'}: {error.strerror}")


def _defences_speed(verb: DefencesSpeed) -> None:
    from core.artifacts import ArtifactError
    from experiments import defences_speed

    try:
        result = defences_speed.measure(rounds=verb.rounds, seed=0, say=_say)
        print(defences_speed.table(result))
        if verb.json is not None:
            command = ["python", "-m", "experiments", *sys.argv[1:]]
            defences_speed.save(result, verb.json, command)
    except (ValueError, ArtifactError) as error:
        sys.exit(f"error: {error}")


def _prices(verb: Prices) -> None:
    from core.artifacts import ArtifactError
    from core.datasets import DatasetError
    from core.home import default_home
    from experiments import price_page, price_tables, prices

    data = _data(verb.data)
    try:
        if verb.page is not None:
            price_page.save(verb.page, Path("docs/results"))
            return
        plan = prices.Plan(
            dataset=verb.dataset,
            measure=verb.measure,
            seed=verb.seed,
            service=verb.service,
            entry=verb.entry,
            clients=verb.clients,
            home=verb.home or default_home(),
            data=data,
        )
        result = prices.simulate(plan, prices.record(plan))
        print(price_tables.tabulate(result))
        if verb.json is not None:
            command = ["python", "-m", "experiments", *sys.argv[1:]]
            price_tables.save(result, verb.json, command)
    except (ValueError, DatasetError, ArtifactError) as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.filename or 'a file'}: {error.strerror}")


def _strength(verb: Strength) -> None:
    from core.artifacts import ArtifactError
    from core.datasets import DatasetError
    from core.home import default_home
    from experiments import strength, strength_pages, strength_paper, strength_tables
    from experiments.arm import RunError
    from experiments.folder import FolderError
    from experiments.replay import ReplayError
    from experiments.strength_cell import Place
    from experiments.strength_plan import bench

    data = _data(verb.data)
    paper = verb.results / strength_tables.PAPER
    try:
        if verb.paper is not None:
            strength_paper.save(verb.paper, paper)
            return
        if verb.pages is not None:
            strength_pages.save(verb.pages, verb.results)
            return
        chosen = bench(verb.dataset)
        plan = strength.Plan(
            bench=chosen,
            attacks=verb.attacks,
            seeds=verb.seeds,
            place=Place(
                home=(verb.home or default_home()).absolute(), data=data and data.absolute()
            ),
            file=verb.results / f"strength-{chosen.short}.json",
        )
        found = strength.run(plan, _say)
        print(strength_tables.table(found, chosen, strength_paper.read(paper)), end="")
    except (ValueError, RunError, FolderError, ReplayError, ArtifactError, DatasetError) as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.filename}: {error.strerror}")


def _virtual_check(verb: VirtualCheck) -> None:
    from core.artifacts import ArtifactError
    from core.home import default_home
    from experiments import bench, virtual_check
    from experiments.arm import RunError

    try:
        home = (verb.home or default_home()).absolute()
        found = virtual_check.measure(verb.scenarios, home=home, say=_say)
        print(virtual_check.table(found))
        if verb.json is not None:
            command = shlex.join(["python", "-m", "experiments", *sys.argv[1:]])
            bench.save({"command": command, **found}, verb.json)
    except (ValueError, RunError, ArtifactError) as error:
        sys.exit(f"error: {error}")
    if not found["agree"]:
        sys.exit(f"error: further apart than {virtual_check.TOLERANCE:.0%}")


def _replay(folder: Path) -> None:
    from experiments import replay

    try:
        print(replay.table(replay.replay(folder)))
    except (replay.ReplayError, OSError) as error:
        sys.exit(f"error: {error}")


def _data(given: Path | None) -> Path | None:
    """The folder of image archives: as given, or as the environment says."""
    named = os.environ.get("POWGATE_DATA")
    return given or (Path(named) if named is not None else None)


def _say(text: str) -> None:
    """Tells how far a long computation is, beside its result."""
    print(text, file=sys.stderr, flush=True)


def _show(folder: Path) -> None:
    import json

    from rich.console import Console

    from experiments import tables
    from experiments.report import sentences

    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, 160))
    for arm in summary["arms"]:
        for table in tables.terminal(summary, arm, console.width):
            console.print(table)
    for sentence in sentences(summary):
        console.print(sentence, highlight=False)
    console.print(f"page: {folder / 'report.html'}", soft_wrap=True)


if __name__ == "__main__":
    main()
