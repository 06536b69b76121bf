"""The verb `measures`: compares the privacy measures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.home import default_data, default_home
from experiments.terminal import command_line, say


@dataclass(frozen=True, slots=True)
class Flags:
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


def run(flags: Flags) -> None:
    """Compares privacy measures."""
    from experiments import measures  # with it comes torch

    plan = measures.Plan(
        dataset=flags.dataset,
        network=flags.network,
        measures=flags.measures or measures.MEASURES,
        seeds=flags.seeds,
        images=flags.images,
        home=flags.home or default_home(),
        data=flags.data or default_data(),
    )
    print(measures.table(measures.run(plan, command=command_line(), file=flags.json, say=say)))
