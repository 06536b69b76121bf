"""The verb `strength`: how good each attack is where answers cost nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.home import default_data, default_home
from experiments.terminal import say


@dataclass(frozen=True, slots=True)
class Flags:
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
    paper: Path | None = None
    """Run nothing: take the paper's accuracies from `pow` of its repository."""


def run(flags: Flags) -> None:
    """Measures how good the attacks are."""
    from experiments import strength  # with it comes torch
    from experiments.strength import paper, tables
    from experiments.strength.cell import Place
    from experiments.strength.plan import bench

    published = flags.results / tables.PAPER
    if flags.paper is not None:
        paper.save(flags.paper, published)
        return
    chosen, data = bench(flags.dataset), flags.data or default_data()
    plan = strength.Plan(
        bench=chosen,
        attacks=flags.attacks,
        seeds=flags.seeds,
        place=Place(home=(flags.home or default_home()).absolute(), data=data and data.absolute()),
        file=flags.results / f"strength-{chosen.short}.json",
    )
    found = strength.run(plan, say)
    print(tables.table(found, chosen, paper.read(published)), end="")
