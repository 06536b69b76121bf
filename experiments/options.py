"""The flags of `python -m experiments`: plain dataclasses, cheap to import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from server.options import DEFAULT_MEASURE


@dataclass(frozen=True, slots=True)
class Run:
    """Run a scenario with real processes; leaves one folder with records, table and report.

    Of a scenario with a [sweep], a folder with one such folder for each combination.
    """

    scenario: tyro.conf.Positional[str]
    """A TOML file, or the name of a scenario that comes along (demo, smoke)."""
    out: Path | None = None
    """The folder to make (default: runs/NAME-DATE-TIME-CODE). A sweep that is there goes on."""
    home: Path | None = None
    """Where victims and data are kept (default: the user's cache folder)."""
    cluster: str | None = None
    """On the workers of a Ray: auto, HOST:PORT, ray://HOST:PORT, or local for one of its own."""
    web: bool = False
    """Also show the run as a page on 127.0.0.1 while it lasts."""
    web_port: int | None = None
    """Show it there on this port (default: one that is free)."""


@dataclass(frozen=True, slots=True)
class Report:
    """Make summary, figures and page of a run or a sweep again, from its records."""

    folder: tyro.conf.Positional[Path]
    """The folder of a run, or of a sweep."""


@dataclass(frozen=True, slots=True)
class Publish:
    """Write what is committed of a run or a sweep: a small summary, a page, figures."""

    run: tyro.conf.Positional[Path | None] = None
    """The folder of a run or of a sweep that came to its end, from a clean revision."""
    folder: tyro.conf.Positional[Path | None] = None
    """The folder to write: docs/results/NAME."""
    title: str = ""
    """Of the page (default: the scenario's name)."""
    modified: bool = False
    """Take what was run from a modified tree, too; the page says so."""
    page: Path | None = None
    """Publish nothing; make page and figures of this folder again from its summary.json."""


@dataclass(frozen=True, slots=True)
class Compare:
    """Show two runs side by side: what differs in how they were made, then every client in both."""

    a: tyro.conf.Positional[Path]
    """The folder of a run, fresh or published."""
    b: tyro.conf.Positional[Path]
    """Another one."""
    out: Path | None = None
    """Also write one self-contained page to this file."""


@dataclass(frozen=True, slots=True)
class Story:
    """Draw the README's figure: what a thief gets for his seconds, and what a user waits."""

    folder: tyro.conf.Positional[Path] = Path("docs/results/demo")
    """The folder of a run, fresh or published; the figure is its story.svg."""
    thief: str = "copycat"
    user: str = "honest"
    policy: str = "rate"
    """Held against policy none."""


@dataclass(frozen=True, slots=True)
class Bench:
    """Measure the gate itself: its steps, its ledger, and whole queries over loopback."""

    json: Path | None = None
    """Also write the result to this file, with every round and where it was measured."""
    home: Path | None = None
    """Serve mnist5k of this folder (default: an untrained model of the same size)."""
    rounds: int = 15
    """Measurements of each quantity; the median is reported."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Write what each image of a thief's pool costs, for the attack worstcase (--costs)."""

    model: str
    """A prepared model."""
    pool: str
    """The thief's pool."""
    out: Path
    """The file to write."""
    size: int = 10_000
    """The thief's --pool-size."""
    seed: int = 0
    """The thief's --seed."""
    measure: str = DEFAULT_MEASURE
    home: Path | None = None
    """Where models are kept (default: the user's cache folder)."""
    data: Path | None = None
    """Folder with image data that does not come with a package."""


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Score the surrogates of a run as they appear, until it ends; `run` does this."""

    folder: tyro.conf.Positional[Path]
    """The folder of a run."""
    victim: Path
    """The victim's weights."""
    home: Path | None = None
    """Where data are kept (default: the user's cache folder)."""


@dataclass(frozen=True, slots=True)
class Flood:
    """Measure what a client can do to the gate by redeeming without pause, under argon2id."""

    json: Path | None = None
    """Also write the result to this file."""
    seconds: float = 10.0
    """How long each kind of flood lasts."""


@dataclass(frozen=True, slots=True)
class Measures:
    """Compare the privacy measures on honest and foreign images; goes on where it stopped."""

    dataset: str = "mnist5k"
    """The victim's data, as `python -m server prepare` names it."""
    network: str | None = None
    """The victim (default: lenet for grey images, resnet10-thin for colour)."""
    measures: tuple[str, ...] = ()
    """Measures to compare (default: all, and some surprisals)."""
    seeds: tuple[int, ...] = (0,)
    """One victim and one set of measures for each."""
    images: int = 2_000
    """Images of each source, at most."""
    json: Path | None = None
    """Also write the results to this file after each measure; others in it are kept."""
    home: Path | None = None
    """Where victims, measures and costs are kept (default: the user's cache folder)."""
    data: Path | None = None
    """Folder of image archives (default: POWGATE_DATA)."""


@dataclass(frozen=True, slots=True)
class MeasuresSpeed:
    """Time the privacy measures on one thread, at full size, with random weights."""

    json: Path | None = None
    """Also write the figures to this file."""
    rounds: int = 30
    """Measurements of each; median and least are reported."""


@dataclass(frozen=True, slots=True)
class Defences:
    """Compare defences that perturb answers, with thieves at them; goes on where it stopped."""

    dataset: str = "npz:mnist.npz"
    """The victim's data: npz:mnist.npz, npz:cifar10.npz, or digits for a quick look."""
    defences: tuple[str, ...] = ()
    """Defences to try (default: all that are planned)."""
    seeds: tuple[int, ...] = ()
    """Of thieves and of the server's surrogates (default: those planned)."""
    wire: bool = False
    """Run the cells with and without proof of work instead, over loopback."""
    learning: bool = False
    """Run gradient redirection by what its surrogates have learnt instead."""
    json: Path | None = None
    """The file of results (default: docs/results/defences-DATASET.json)."""
    page: Path | None = None
    """Run nothing; write the tables of all results beside that file's into this page."""
    home: Path | None = None
    """Where victims and surrogates are kept (default: the user's cache folder)."""
    data: Path | None = None
    """Folder of image archives (default: POWGATE_DATA)."""


@dataclass(frozen=True, slots=True)
class DefencesSpeed:
    """Time the defences on one thread, beside plain ways to compute the same."""

    json: Path | None = None
    """Also write the figures to this file."""
    rounds: int = 30
    """Measurements of each; median and least are reported."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Simulate what honest clients and thieves pay, from costs that `measures` recorded."""

    dataset: str = "mnist5k"
    """The victim's data, as given to `measures`."""
    measure: str = DEFAULT_MEASURE
    """The measure whose costs are priced."""
    seed: int = 0
    """The victim's, and that of what is drawn."""
    service: float = 0.008
    """Seconds a client waits for 64 images without work; only `paper` depends on it."""
    entry: float = 500.0
    """Entry work of an account, in prices of one honest query."""
    clients: int = 100
    """Honest clients of each kind."""
    json: Path | None = None
    """Also write the result to this file."""
    page: Path | None = None
    """Simulate nothing; write the tables of docs/results into this page."""
    home: Path | None = None
    """Where `measures` kept its costs (default: the user's cache folder)."""
    data: Path | None = None
    """Folder of image archives (default: POWGATE_DATA)."""


@dataclass(frozen=True, slots=True)
class Strength:
    """How good each attack is where answers cost nothing; goes on where it stopped."""

    dataset: str = "npz:mnist.npz"
    """The victim's data: npz:mnist.npz, npz:cifar10.npz, or digits for a quick look."""
    attacks: tuple[str, ...] = ()
    """Attacks to run (default: all that are tried on this dataset)."""
    seeds: tuple[int, ...] = ()
    """Seeds of the thieves (default: those of each trial)."""
    results: Path = Path("docs/results")
    """Folder of the results: strength-NAME.json for each dataset."""
    home: Path | None = None
    """Where victims are kept (default: the user's cache folder)."""
    data: Path | None = None
    """Folder of image archives (default: POWGATE_DATA)."""
    pages: Path | None = None
    """Run nothing: write figures, and the blocks of strength.md and of this folder beside it."""
    paper: Path | None = None
    """Run nothing: take the paper's accuracies from `pow` of its repository."""


@dataclass(frozen=True, slots=True)
class Replay:
    """Recompute the timelines of the calibrated-PoW paper from the records it published."""

    folder: tyro.conf.Positional[Path]
    """The folder `pow` of its repository: time_privacy_cost_*.csv and the attacks' records."""


@dataclass(frozen=True, slots=True)
class VirtualCheck:
    """Run scenarios for real and virtually: do they take as long? Wants an idle machine."""

    scenarios: tyro.conf.Positional[tuple[str, ...]] = (
        "virtual-thief",
        "virtual-sybil",
        "virtual-mixed",
    )
    """Files or names; of each, the last policy is run."""
    json: Path | None = None
    """Also write the result to this file."""
    home: Path | None = None
    """Where victims are kept (default: the user's cache folder)."""


@dataclass(frozen=True, slots=True)
class Privacy:
    """PATE accounting of your own votes: what each query costs in epsilon, and all together.

    For answers by GNMax, or with --threshold by Confident GNMax (Papernot et al., ICLR 2018).
    """

    votes: tyro.conf.Positional[Path]
    """A .npy or .npz file: how many teachers voted for each class (k), query by query (n, k)."""
    sigma: float
    """Standard deviation of the noise on each count."""
    delta: float = 1e-5
    """The delta that epsilon is for."""
    threshold: float = 0.0
    """Queries are answered where the largest count, with noise, reaches this."""
    sigma_threshold: float = 0.0
    """Standard deviation of that noise."""
    teachers: int | None = None
    """How many votes each query has to have (default: not looked at)."""
    array: str | None = None
    """Which array of an .npz (default: `votes`, or the only one)."""
    json: bool = False
    """Print all of it as JSON instead of a table."""


Verb = (
    Annotated[Run, tyro.conf.subcommand("run")]
    | Annotated[Report, tyro.conf.subcommand("report")]
    | Annotated[Publish, tyro.conf.subcommand("publish")]
    | Annotated[Compare, tyro.conf.subcommand("compare")]
    | Annotated[Story, tyro.conf.subcommand("story")]
    | Annotated[Bench, tyro.conf.subcommand("bench")]
    | Annotated[Costs, tyro.conf.subcommand("costs")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Flood, tyro.conf.subcommand("flood")]
    | Annotated[Measures, tyro.conf.subcommand("measures")]
    | Annotated[MeasuresSpeed, tyro.conf.subcommand("measures-speed")]
    | Annotated[Defences, tyro.conf.subcommand("defences")]
    | Annotated[DefencesSpeed, tyro.conf.subcommand("defences-speed")]
    | Annotated[Prices, tyro.conf.subcommand("prices")]
    | Annotated[Privacy, tyro.conf.subcommand("privacy")]
    | Annotated[Strength, tyro.conf.subcommand("strength")]
    | Annotated[VirtualCheck, tyro.conf.subcommand("virtual-check")]
    | Annotated[Replay, tyro.conf.subcommand("replay")]
)
