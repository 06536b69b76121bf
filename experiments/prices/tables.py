"""The goals of the prices, what was reached, and the whole table: functions of the rows alone."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import records
from core.learning import artifacts
from core.learning.drift import DRIFTS

BUDGET = 10_000
"""Queries of a thief, over all its accounts."""

ACCOUNTS = (1, 10, 50, 100)
TINY = (1, 4, 16, 64)
"""Queries of an account, for thieves who open many."""

LONG = 50_000
NATURAL, NEAR, NOISE, INSIDE = "tinyimagenet", "emnist", "noise", "pool"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of a behaviour, in service times (queries where it says so), by policy.

    A policy that no gate can charge by lacks what is played against a ledger.
    """

    behaviour: str
    accounts: str
    figure: str
    values: dict[str, float]


def goals(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The goals, and what each policy reached; only those whose sources were recorded."""

    def worst(pick: Callable[[Row], bool], how: Callable[[list[float]], float]) -> dict[str, float]:
        chosen = [row for row in rows if pick(row)]
        if not chosen:
            return {}
        return {name: how([row.values[name] for row in chosen]) for name in chosen[0].values}

    def thief(source: str, *accounts: str) -> Callable[[Row], bool]:
        return lambda row: row.behaviour == source and row.accounts in accounts

    def honest(figure: str, *kinds: str) -> Callable[[Row], bool]:
        return lambda row: row.figure == figure and row.behaviour in kinds

    def tricks(word: str) -> Callable[[Row], bool]:
        return lambda row: word in row.behaviour and row.figure.startswith("per useful")

    table: list[tuple[str, str, Callable[[Row], bool], Callable[[list[float]], float]]] = [
        ("honest iid, median", "<= 1.25", honest("median", "honest iid"), max),
        ("honest iid, p99", "<= 2", honest("p99", "honest iid"), max),
        ("honest skewed, p99", "<= 2", honest("p99", "honest skewed"), max),
        ("honest, levels apart by 10 %, p99", "<= 2", honest("p99", "honest varied"), max),
        *(
            (f"honest {drift}, p99", "<= 2", honest("p99", f"honest {drift}"), max)
            for drift in DRIFTS
        ),
        ("honest repeated image, p99", "<= 2", honest("p99", "honest repeated image"), max),
        (
            "honest iid of 640, entry included, p99 of clients",
            "<= 2",
            lambda row: (
                (row.behaviour, row.accounts) == ("honest iid", "1 of 640")
                and row.figure == "p99 over clients, entry included"
            ),
            max,
        ),
        (
            "queries to recover from a bad batch of 64, p99",
            "<= 2000",
            lambda row: row.behaviour.startswith("bad batch of 64"),
            max,
        ),
        ("natural pool, 1 account", ">= 1000", thief(NATURAL, f"1 of {BUDGET}"), min),
        ("natural pool, 100 accounts", ">= 300", thief(NATURAL, "100 of 100"), min),
        (
            "natural pool, accounts of 1 to 64, entry work included",
            ">= 30",
            thief(NATURAL, *(f"many of {queries}" for queries in TINY)),
            min,
        ),
        (
            f"natural pool, after {LONG} honest queries",
            ">= 300",
            thief(f"{NATURAL}, after {LONG} honest", "1"),
            min,
        ),
        ("near pool, 1 account", ">= 50", thief(NEAR, f"1 of {BUDGET}"), min),
        ("near pool, 100 accounts", ">= 20", thief(NEAR, "100 of 100"), min),
        ("noise, 1 account", ">= 100", thief(NOISE, f"1 of {BUDGET}"), min),
        ("noise, 100 accounts", ">= 30", thief(NOISE, "100 of 100"), min),
        (
            "natural pool, per useful query: best paid filler",
            ">= 3",
            tricks(f"{NATURAL}, filler"),
            min,
        ),
        ("natural pool, per useful query: steering", ">= 3", tricks(f"{NATURAL}, steering"), min),
        ("natural pool, per useful query: hoarding", ">= 3", tricks(f"{NATURAL}, hoarding"), min),
        ("unpaid filler, against none", ">= 1", lambda row: row.figure == "unpaid, ratio", min),
        ("retries, against none", ">= 1", lambda row: row.figure == "retried, ratio", min),
        ("hoarding, against asking at once", ">= 1", lambda r: r.figure == "hoarded, ratio", min),
        ("thief with the right data, 1 account", "-", thief(INSIDE, f"1 of {BUDGET}"), max),
    ]
    found = [
        {"goal": name, "wanted": wanted, "reached": worst(pick, how)}
        for name, wanted, pick, how in table
    ]
    return [goal for goal in found if goal["reached"]]


def tabulate(result: Mapping[str, Any]) -> str:
    """Markdown: the goals, then every row, a column for each policy."""
    names = list(result["policies"])
    lines = [f"## {result['dataset']}, {result['measure']}, seed {result['seed']}", ""]
    lines += [line("goal", "wanted", *names), line(*["---"] * (len(names) + 2))]
    for goal in result["goals"]:
        cells = (_known(goal["reached"], name) for name in names)
        lines.append(line(goal["goal"], goal["wanted"], *cells))
    lines += ["", line("behaviour", "accounts", "figure", *names)]
    lines.append(line(*["---"] * (len(names) + 3)))
    for row in result["rows"]:
        cells = (_known(row["values"], name) for name in names)
        lines.append(line(row["behaviour"], row["accounts"], row["figure"], *cells))
    return "\n".join(lines)


def save(result: Mapping[str, Any], file: Path, command: Sequence[str]) -> None:
    """Writes the result with how to get it again. Raises ArtifactError."""
    content = {
        "command": shlex.join(command),
        "provenance": records.provenance(result["seed"]),
        **result,
    }
    text = json.dumps(_rounded(content), indent=1, allow_nan=False)
    artifacts.write_atomically(file, (text + "\n").encode())


def line(*cells: str) -> str:
    """One row of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def cell(value: float) -> str:
    """Three digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _known(values: Mapping[str, float], name: str) -> str:
    """What a policy reached, - where it was not tried."""
    return cell(values[name]) if name in values else "-"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value
