"""PATE accounting of votes from a file: epsilon of each query, and of all up to it.

The formulas are `core.privacy`'s. What they give depends on the votes, and so on private data: it
is for those who hold the data, not to be published as it is (Papernot et al., ICLR 2018, appendix
B).
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from core.learning import archives
from core.privacy.composition import Composition, compose
from core.privacy.pate import Reals, checked_votes
from experiments.report.tables import Column, markdown
from experiments.terminal import command_line

VOTES = "votes"
"""The array of an archive that is read where there are several."""

HEAD = 10
"""Queries that a table shows from the first on, besides the last."""

COLUMNS = (
    Column("query", "", "query"),
    Column("votes of the winner", "", "votes"),
    Column("epsilon by itself", "", "single", "{:.4g}".format),
    Column("added up", "", "added", "{:.4g}".format),
    Column("composed", "", "composed", "{:.4g}".format),
    Column("answered", "", "answered", "{:.4g}".format),
)


def read(path: Path, array: str | None, teachers: int | None) -> Reals:
    """Votes (n, k) of a file. Raises OSError, and ValueError that names the file."""
    try:
        if path.suffix == ".npz":
            name = _chosen(archives.headers(path), array)
            votes = archives.read(path, [name])[name]
        elif array is None:
            votes = archives.read_single(path)
        else:
            raise ValueError(f"has one array without a name; --array {array} is for an .npz")
        rows = checked_votes(votes, teachers)
        if not len(rows):
            raise ValueError("holds no query")
        fractions = rows[rows != np.rint(rows)]
        if len(fractions):
            raise ValueError(f"votes contain {fractions[0]:g}, expected whole numbers")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return rows


def table(votes: Reals, found: Composition, delta: float) -> str:
    """Markdown: the first queries and the last, and what they come to."""
    n, added = len(votes), np.cumsum(found.single)
    rows: list[dict[str, Any]] = [
        {
            "query": at + 1,
            "votes": f"{votes[at].max():g} of {votes[at].sum():g}",
            "single": found.single[at],
            "added": added[at],
            "composed": found.epsilon[at],
            "answered": found.answered[at],
        }
        for at in dict.fromkeys([*range(min(n, HEAD)), n - 1])
    ]
    if n > HEAD + 1:
        rows.insert(HEAD, {"query": "…"})
    many = "1 query costs" if n == 1 else f"{n:,} queries cost"
    return "\n".join(
        [
            markdown(COLUMNS, rows),
            f"{many} epsilon {found.epsilon[-1]:.4g} at delta {delta:g} (order"
            f" {found.order[-1]:.4g}); added up one by one, {added[-1]:.4g} at delta"
            f" {n * delta:g}.",
            "These numbers depend on the votes: they are not to be published as they are.",
        ]
    )


def _chosen(held: dict[str, archives.Header], array: str | None) -> str:
    wanted = array or (VOTES if len(held) != 1 else next(iter(held)))
    if wanted not in held:
        raise ValueError(f"holds {archives.listed(held)}; expected an array {wanted}")
    return wanted


@dataclass(frozen=True, slots=True)
class Flags:
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


def run(flags: Flags) -> None:
    """Accounts for votes that somebody else recorded."""
    names = ("sigma", "delta", "threshold", "sigma_threshold")
    given: dict[str, Any] = {name: getattr(flags, name) for name in names}
    votes = read(flags.votes, flags.array, flags.teachers)
    found = compose(votes, **given)
    if not flags.json:
        print(table(votes, found, flags.delta))
        return
    costs = {"single": found.single, "composed": found.epsilon, "added": np.cumsum(found.single)}
    arrays = {**costs, "order": found.order, "answered": found.answered}
    lists = {name: values.tolist() for name, values in arrays.items()}
    about = {"command": shlex.join(command_line()), **given, **lists}
    print(json.dumps(about, indent=1, allow_nan=False))
