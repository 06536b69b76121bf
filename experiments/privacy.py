"""PATE accounting of votes from a file: epsilon of each query, and of all up to it.

The formulas are `core.privacy`'s. What they give depends on the votes, and so on private data: it
is for those who hold the data, not to be published as it is (Papernot et al., ICLR 2018, appendix
B).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tyro

from core.learning import archives
from core.privacy.composition import compose
from core.privacy.pate import Reals, checked_votes
from experiments.terminal import command_line

VOTES = "votes"
"""The array of an archive that is read where there are several."""

HEAD = 10
"""Queries that a table shows from the first on, besides the last."""


@dataclass(frozen=True, slots=True, eq=False)
class Account:
    """What a sequence of n queries costs."""

    votes: Reals  # (n, k)
    sigma: float
    delta: float
    threshold: float
    sigma_threshold: float
    single: Reals  # (n,) epsilon at delta of each query by itself
    composed: Reals  # (n,) epsilon at delta of the queries so far, by Renyi DP
    order: Reals  # (n,) that attains it
    answered: Reals  # (n,) queries so far that are expected to pass the threshold


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


def account(
    votes: Reals,
    *,
    sigma: float,
    delta: float,
    threshold: float = 0.0,
    sigma_threshold: float = 0.0,
) -> Account:
    """Accounts for votes (n, k). Raises ValueError for numbers that make no sense."""
    found = compose(votes, sigma, delta, threshold=threshold, sigma_threshold=sigma_threshold)
    numbers = found.single, found.epsilon, found.order, found.answered
    return Account(votes, sigma, delta, threshold, sigma_threshold, *numbers)


def table(found: Account) -> str:
    """Markdown: the first queries and the last, and what they come to."""
    n = len(found.single)
    shown = [*range(min(n, HEAD)), *([n - 1] if n > HEAD else [])]
    added = np.cumsum(found.single)
    lines = [
        "| query | votes of the winner | epsilon by itself | added up | composed | answered |",
        "| --: | --: | --: | --: | --: | --: |",
    ]
    for at in shown:
        if at == n - 1 and n > HEAD + 1:
            lines.append("| … | | | | | |")
        row = found.votes[at]
        cells = (
            f"{at + 1}",
            f"{row.max():g} of {row.sum():g}",
            f"{found.single[at]:.4g}",
            f"{added[at]:.4g}",
            f"{found.composed[at]:.4g}",
            f"{found.answered[at]:.4g}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    many = "1 query costs" if n == 1 else f"{n:,} queries cost"
    lines += [
        "",
        f"{many} epsilon {found.composed[-1]:.4g} at delta {found.delta:g} (order"
        f" {found.order[-1]:.4g}); added up one by one, {added[-1]:.4g} at delta"
        f" {n * found.delta:g}.",
        "These numbers depend on the votes: they are not to be published as they are.",
    ]
    return "\n".join(lines)


def as_json(found: Account, command: Sequence[str]) -> str:
    """All of it but the votes."""
    content = {
        key: value.tolist() if isinstance(value, np.ndarray) else value
        for key, value in asdict(found).items()
        if key != "votes"
    }
    content["added"] = np.cumsum(found.single).tolist()
    return json.dumps({"command": shlex.join(command), **content}, indent=1, allow_nan=False)


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
    votes = read(flags.votes, flags.array, flags.teachers)
    found = account(
        votes,
        sigma=flags.sigma,
        delta=flags.delta,
        threshold=flags.threshold,
        sigma_threshold=flags.sigma_threshold,
    )
    print(as_json(found, command_line()) if flags.json else table(found))
