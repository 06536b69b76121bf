"""The verb `docs`: makes the generated pages of docs/ again from the committed results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True, slots=True)
class Flags:
    """Make pages and figures of docs/ again from the results in docs/results. Runs nothing."""

    folder: tyro.conf.Positional[Path] = Path("docs")
    """The folder of the documentation."""


def run(flags: Flags) -> None:
    """Writes every generated page and figure."""
    from experiments.defences import page as defences
    from experiments.prices import page as prices
    from experiments.report import publish
    from experiments.strength import pages as strength

    results = flags.folder / "results"
    for summary in sorted(results.glob("*/summary.json")):
        publish.remake(summary.parent)
    strength.save(flags.folder / "attacks", results)
    defences.save(flags.folder / "defences.md", results)
    prices.save(flags.folder / "pricing.md", results)
