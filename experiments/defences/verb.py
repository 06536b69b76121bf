"""The verb `defences`: compares defences."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from core.home import default_data, default_home
from experiments.terminal import say


@dataclass(frozen=True, slots=True)
class Flags:
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
    home: Path | None = None
    """Where victims and surrogates are kept (default: the user's cache folder)."""
    data: Path | None = None
    """Folder of image archives (default: POWGATE_DATA)."""


def run(flags: Flags) -> None:
    """Compares defences."""
    from experiments import defences  # with it comes torch
    from experiments.defences import page
    from experiments.defences.cell import Place
    from experiments.defences.plan import bench

    chosen = bench(flags.dataset)
    file = flags.json or Path("docs/results") / f"defences-{chosen.short}.json"
    plan = defences.Plan(
        bench=chosen,
        defences=flags.defences,
        seeds=flags.seeds,
        wire=flags.wire,
        learning=flags.learning,
        place=Place(flags.home or default_home(), flags.data or default_data()),
        file=file,
    )
    command = ["python", "-m", "experiments", "defences", "--dataset", chosen.dataset]
    if flags.wire:
        command.append("--wire")
    if flags.learning:
        command.append("--learning")
    defences.run(plan, command=shlex.join(command), say=say)
    print(page.block(file.parent))
