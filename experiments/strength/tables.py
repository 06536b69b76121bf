"""What `strength` found, as Markdown: the table of a dataset and the page of each attack.

Pure functions of the committed files. An accuracy over several seeds is their mean and half the
width of its 95 % interval (Student's t; the seed is the thief's, the victim is one). The paper's
accuracy is that of its own record at as many queries, or at its end where it asked no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from experiments.strength.plan import Bench, Trial

PAPER = "strength-paper.json"
NOTHING = "–"  # noqa: RUF001 - a dash says that there is no number, a zero would be one

Content = Mapping[str, Any]
Points = Sequence[tuple[float, float]]
Paper = Mapping[str, Mapping[str, Points]]
"""Short name of a dataset -> the paper's name of an attack -> (queries, accuracy)."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds, and half the width of its 95 % interval; None with one seed."""

    mean: float
    half: float | None

    def percent(self) -> str:
        """Per cent, to a hundredth."""
        half = "" if self.half is None else f" ± {100 * self.half:.2f}"
        return f"{100 * self.mean:.2f}{half}"


@dataclass(frozen=True, slots=True)
class Result:
    """All seeds of one trial as it stands in the plan."""

    trial: Trial
    cells: tuple[Mapping[str, Any], ...]

    @property
    def queries(self) -> list[int]:
        """Queries at which every seed has a surrogate, in order."""
        shared = set.intersection(*({row[0] for row in cell["curve"]} for cell in self.cells))
        return sorted(shared)

    def accuracy(self, queries: float) -> Estimate:
        """Accuracy on held-out images, between two surrogates on the line through both."""
        return estimate([_at(cell["curve"], queries, 1) for cell in self.cells])

    def fidelity(self, queries: float) -> Estimate:
        """The share of held-out images on which surrogate and victim agree."""
        return estimate([_at(cell["curve"], queries, 2) for cell in self.cells])

    def mean(self, key: str) -> float:
        """The mean over seeds of a number that each cell has."""
        return float(np.mean([cell[key] for cell in self.cells]))


def estimate(values: Sequence[float]) -> Estimate:
    """The mean, and half the width of Student's interval (95 %) where there are several values."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return Estimate(mean, None)
    spread = float(np.std(values, ddof=1)) / len(values) ** 0.5
    return Estimate(mean, float(stats.t.ppf(0.975, len(values) - 1)) * spread)


def results(content: Content, bench: Bench) -> list[Result]:
    """The trials of the plan that the file has cells of, made with the settings of the plan."""
    found = []
    for trial in bench.trials:
        cells = tuple(
            cell
            for cell in content["cells"]
            if (cell["attack"], cell["variant"]) == (trial.attack, trial.variant)
            and cell["setting"] == trial.setting()
        )
        if cells:
            found.append(Result(trial, cells))
    return found


def table(content: Content, bench: Bench, paper: Paper) -> str:
    """Markdown, a row for each trial, where it ended."""
    found = results(content, bench)
    head = ["attack", "pool", "queries", "seeds", "accuracy %", "fidelity %", "of the victim's %"]
    head += ["paper %", "goal", "", "CPU s", "overhead ms"]
    rows = [head, ["---", "---", *["--:"] * 6, "---", "---", "--:", "--:"]]
    for result in found:
        trial, queries = result.trial, result.queries[-1]
        accuracy = result.accuracy(queries)
        wanted, met = goal(result, found)
        rows.append(
            [
                trial.name,
                pool(trial),
                f"{queries:,}",
                f"{len(result.cells)}",
                accuracy.percent(),
                result.fidelity(queries).percent(),
                f"{100 * accuracy.mean / content['victim']['accuracy']:.1f}",
                published(paper, bench, trial, queries),
                wanted,
                met,
                f"{result.mean('cpu_seconds'):.0f}",
                f"{result.mean('overhead_ms'):.1f}",
            ]
        )
    return lines(rows)


def pool(trial: Trial) -> str:
    """The pool's name without what says where it is kept."""
    names = [
        name.removeprefix("npz:").removesuffix(".npz").removeprefix("ood_")
        for name in (trial.pool, trial.inside)
        if name
    ]
    return " and ".join(names) or NOTHING


def baseline(trial: Trial, found: Sequence[Result]) -> Result | None:
    """The random queries that a trial should be better than, if any."""
    alike = ("random", trial.variant)
    same = (other for other in found if (other.trial.attack, other.trial.variant) == alike)
    return next(same, None) if trial.above else None


def goal(result: Result, found: Sequence[Result]) -> tuple[str, str]:
    """What was wanted of a trial, and whether it was met."""
    trial, wanted, met = result.trial, [], []
    if trial.goal is not None:
        wanted.append(f"≥ {100 * trial.goal:.1f}")
        met.append(result.accuracy(result.queries[-1]).mean >= trial.goal)
    rival = baseline(trial, found)
    if rival is not None:
        wanted.append(f"above random at {'; '.join(f'{n:,}' for n in trial.above)}")
        met += [result.accuracy(n).mean > rival.accuracy(n).mean for n in trial.above]
    if not wanted:
        return NOTHING, ""
    count = f" ({sum(met)} of {len(met)})" if len(met) > 1 else ""
    return "; ".join(wanted), ("met" if all(met) else "missed") + count


def published(paper: Paper, bench: Bench, trial: Trial, queries: float) -> str:
    """The paper's accuracy after so many queries, in per cent, by its last record until then."""
    points = paper.get(bench.short, {}).get(trial.paper, ())
    until = [accuracy for asked, accuracy in points if asked <= queries]
    return f"{until[-1]:.1f}" if len(until) > 1 else NOTHING  # the first is before any query


def _at(curve: Sequence[Sequence[float]], queries: float, column: int) -> float:
    return float(np.interp(queries, [row[0] for row in curve], [row[column] for row in curve]))


def lines(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its lines ended."""
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
