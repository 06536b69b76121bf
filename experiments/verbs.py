"""What each verb of `python -m experiments` does with its flags; `__main__` says what goes wrong.

Imports are inside, so that `--help` is quick.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.options import (
    Bench,
    Compare,
    Costs,
    Defences,
    DefencesSpeed,
    Evaluate,
    Flood,
    Measures,
    MeasuresSpeed,
    Prices,
    Privacy,
    Publish,
    Replay,
    Report,
    Run,
    Story,
    Strength,
    VirtualCheck,
)

if TYPE_CHECKING:
    from experiments.web import Page


def run(verb: Run) -> None:
    """Runs a scenario, or a sweep of it."""
    from core.home import default_home
    from experiments import runner, sweep
    from experiments.scenario import read

    given = read(verb.scenario)
    cells = sweep.cells(given, source=verb.scenario)
    scenario = cells[0].scenario
    out = verb.out or runner.new_folder(scenario.name)
    home = verb.home or default_home()
    words = ["python", "-m", "experiments", "run", verb.scenario]
    if verb.home:
        words += ["--home", str(verb.home)]
    if verb.cluster:
        words += ["--cluster", verb.cluster]
        if verb.web or verb.web_port is not None:
            raise ValueError("--web shows what runs here: it cannot go with --cluster")
    command = shlex.join(words)
    try:
        with _page(verb) as page:
            if cells[0].changes or verb.cluster:
                sweep.run(
                    cells,
                    out,
                    verb.home,
                    given=given,
                    command=command,
                    cluster=verb.cluster,
                    page=page,
                )
            else:
                runner.run(scenario, out, home, given=given, command=command, page=page)
    except KeyboardInterrupt as error:
        if out.exists():
            raise KeyboardInterrupt(f"interrupted; the records so far are in {out}") from error
        raise
    except OSError as error:
        error.filename = error.filename or out  # a write that failed does not say where
        raise
    _show(out)


def report(verb: Report) -> None:
    """Makes the page of a run or of a sweep again."""
    from experiments import report, sweep
    from experiments.report import sweep_page as sweep_report

    if (verb.folder / sweep.ABOUT).exists():
        sweep_report.write(verb.folder, cells=True)
    else:
        report.write(verb.folder)
    _show(verb.folder)


def publish(verb: Publish) -> None:
    """Writes what is committed of a run or a sweep, or its page again."""
    from experiments.report import publish

    if verb.page is not None and verb.run is None:
        publish.remake(verb.page)
    elif verb.run is not None and verb.folder is not None and verb.page is None:
        publish.publish(verb.run, verb.folder, title=verb.title, modified=verb.modified)
    else:
        raise ValueError("expected the folder of a run and one to write, or --page and no other")


def compare(verb: Compare) -> None:
    """Shows two runs side by side."""
    from rich.console import Console

    from experiments.report import compare, compare_page

    found = compare.compare(verb.a, verb.b)
    if verb.out is not None:
        verb.out.write_text(compare_page.page(found), encoding="utf-8")
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, 140))
    compare_page.show(found, console)
    if verb.out is not None:
        console.print(f"page: {verb.out}", soft_wrap=True)


def story(verb: Story) -> None:
    """Draws the story of a theft."""
    from experiments.report import story

    print(story.save(verb.folder, policy=verb.policy, thief=verb.thief, user=verb.user))


def costs(verb: Costs) -> None:
    """Writes what the images of a pool cost."""
    from core.home import default_home
    from experiments.oracle import write_costs

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
    print(f"{verb.out}: costs of {written} images")


def evaluate(verb: Evaluate) -> None:
    """Scores surrogates while a run goes on."""
    from functools import partial

    from core.home import default_home
    from experiments import evaluation

    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # nothing is to be put in order then
    say = partial(print, flush=True)
    evaluation.follow(verb.folder, verb.victim, verb.home or default_home(), say)


def flood(verb: Flood) -> None:
    """Floods a gate with Redeems."""
    if not 0 < verb.seconds <= 3600:
        raise ValueError(f"--seconds is {verb.seconds}; expected above 0, at most 3600")

    from rich.console import Console

    from experiments import bench, flood

    result = flood.flood(verb.seconds)
    Console(width=140).print(flood.tabulate(result))
    if verb.json is not None:
        bench.save(result, verb.json)


def bench(verb: Bench) -> None:
    """Measures the gate."""
    if verb.rounds < 1:
        raise ValueError(f"--rounds is {verb.rounds}; expected at least 1")

    from rich.console import Console

    from experiments import bench
    from experiments.columns import fitted
    from experiments.probes import Sizes

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
    for part in fitted(bench.tabulate(result), console.width):
        console.print(part)
    if verb.json is not None:
        bench.save({"command": shlex.join(_command()), **result}, verb.json)


def compare_measures(verb: Measures) -> None:
    """Compares privacy measures."""
    from core.home import default_home
    from experiments import measures

    plan = measures.Plan(
        dataset=verb.dataset,
        network=verb.network,
        measures=verb.measures or measures.MEASURES,
        seeds=verb.seeds,
        images=verb.images,
        home=verb.home or default_home(),
        data=_data(verb.data),
    )
    print(measures.table(measures.run(plan, command=_command(), file=verb.json, say=_say)))


def measures_speed(verb: MeasuresSpeed) -> None:
    """Times privacy measures."""
    from experiments import measure_speed

    found = measure_speed.measure(rounds=verb.rounds, seed=0, say=_say)
    print(measure_speed.table(found))
    if verb.json is not None:
        measure_speed.save(found, verb.json, _command())


def compare_defences(verb: Defences) -> None:
    """Compares defences, or writes their page."""
    from core.home import default_home
    from experiments import defences
    from experiments.defences import page
    from experiments.defences.cell import Place
    from experiments.defences.plan import bench

    chosen = bench(verb.dataset)
    file = verb.json or Path("docs/results") / f"defences-{chosen.short}.json"
    if verb.page is not None:
        page.save(verb.page, file.parent)
        return
    plan = defences.Plan(
        bench=chosen,
        defences=verb.defences,
        seeds=verb.seeds,
        wire=verb.wire,
        learning=verb.learning,
        place=Place(verb.home or default_home(), _data(verb.data)),
        file=file,
    )
    command = ["python", "-m", "experiments", "defences", "--dataset", chosen.dataset]
    if verb.wire:
        command.append("--wire")
    if verb.learning:
        command.append("--learning")
    defences.run(plan, command=shlex.join(command), say=_say)
    print(page.block(file.parent))


def defences_speed(verb: DefencesSpeed) -> None:
    """Times defences."""
    from experiments.defences import speed

    result = speed.measure(rounds=verb.rounds, seed=0, say=_say)
    print(speed.table(result))
    if verb.json is not None:
        speed.save(result, verb.json, _command())


def simulate_prices(verb: Prices) -> None:
    """Simulates prices, or writes their page."""
    from core.home import default_home
    from experiments.prices import page, simulation, tables

    if verb.page is not None:
        page.save(verb.page, Path("docs/results"))
        return
    plan = simulation.Plan(
        dataset=verb.dataset,
        measure=verb.measure,
        seed=verb.seed,
        service=verb.service,
        entry=verb.entry,
        clients=verb.clients,
        home=verb.home or default_home(),
        data=_data(verb.data),
    )
    result = simulation.simulate(plan, simulation.record(plan))
    print(tables.tabulate(result))
    if verb.json is not None:
        tables.save(result, verb.json, _command())


def privacy(verb: Privacy) -> None:
    """Accounts for votes that somebody else recorded."""
    from experiments import privacy

    votes = privacy.read(verb.votes, verb.array, verb.teachers)
    found = privacy.account(
        votes,
        sigma=verb.sigma,
        delta=verb.delta,
        threshold=verb.threshold,
        sigma_threshold=verb.sigma_threshold,
    )
    print(privacy.as_json(found, _command()) if verb.json else privacy.table(found))


def strength(verb: Strength) -> None:
    """Measures how good the attacks are, or writes their pages."""
    from core.home import default_home
    from experiments import strength
    from experiments.strength import pages, tables
    from experiments.strength import paper as published
    from experiments.strength.cell import Place
    from experiments.strength.plan import bench

    paper = verb.results / tables.PAPER
    if verb.paper is not None:
        published.save(verb.paper, paper)
        return
    if verb.pages is not None:
        pages.save(verb.pages, verb.results)
        return
    chosen, data = bench(verb.dataset), _data(verb.data)
    plan = strength.Plan(
        bench=chosen,
        attacks=verb.attacks,
        seeds=verb.seeds,
        place=Place(home=(verb.home or default_home()).absolute(), data=data and data.absolute()),
        file=verb.results / f"strength-{chosen.short}.json",
    )
    found = strength.run(plan, _say)
    print(tables.table(found, chosen, published.read(paper)), end="")


def virtual_check(verb: VirtualCheck) -> None:
    """Holds virtual solving against real solving. Raises RunError where they disagree."""
    from core.home import default_home
    from experiments import bench, virtual_check
    from experiments.arm import RunError

    home = (verb.home or default_home()).absolute()
    found = virtual_check.measure(verb.scenarios, home=home, say=_say)
    print(virtual_check.table(found))
    if verb.json is not None:
        bench.save({"command": shlex.join(_command()), **found}, verb.json)
    if not found["agree"]:
        raise RunError(f"further apart than {virtual_check.TOLERANCE:.0%}")


def replay(verb: Replay) -> None:
    """Recomputes the paper's timelines."""
    from experiments import replay

    print(replay.table(replay.replay(verb.folder)))


@contextmanager
def _page(verb: Run) -> Iterator[Page | None]:
    """The page of a run while it lasts, if one is wanted."""
    if not verb.web and verb.web_port is None:
        yield None
        return

    from experiments.web import Page

    with Page(verb.web_port or 0) as page:
        print(f"live: {page.url}", flush=True)
        yield page


def _command() -> list[str]:
    return ["python", "-m", "experiments", *sys.argv[1:]]


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

    from experiments.columns import fitted
    from experiments.report import findings, sweep_findings, sweep_tables, tables

    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, 160))
    if summary["kind"] == "sweep":
        table = sweep_tables.terminal(summary)
        for part in fitted(table, console.width, keep=sweep_tables.labels(summary)):
            console.print(part)
        said = sweep_findings.sentences(summary)
    else:
        for arm in summary["arms"]:
            for table in tables.terminal(summary, arm, console.width):
                console.print(table)
        said = findings.sentences(summary)
    for sentence in said:
        console.print(sentence, highlight=False, markup=False)
    console.print(f"page: {folder / 'report.html'}", soft_wrap=True, markup=False)
