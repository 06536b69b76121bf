"""The tables of docs/pricing.md, from the committed results of the price simulator."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.learning.artifacts import write_atomically
from experiments.pages import rewrite
from experiments.prices.tables import cell, line

TYPICALITY = "surprisal-typicality"
DATASETS = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST", "cifar10": "CIFAR-10"}
RIVALS = ("rate", "cost", "tail", "errors", "cusum")
MEASURES = {"heads": "`heads`", "surprisal-entropy-typicality": "`entropy+typicality`"}

Column = tuple[str, str, str]
"""Heading, results, policy."""


def save(page: Path, results: Path) -> None:
    """Rewrites the blocks of a page from a folder of results. Raises PageError, OSError."""
    text = page.read_text(encoding="utf-8")
    for name, block in blocks(results).items():
        text = rewrite(text, name, block, where=str(page))
    write_atomically(page, text.encode())


def blocks(results: Path) -> dict[str, str]:
    """Tables by the name of their marks."""
    paper_and_rate: list[Column] = [
        (f"{title} `{policy}`", f"{short}-{TYPICALITY}", policy)
        for short, title in DATASETS.items()
        for policy in ("paper", "rate")
    ]
    rivals: list[Column] = [
        (f"{DATASETS[short]} `{policy}`", f"{short}-{TYPICALITY}", policy)
        for short in ("mnist", "cifar10")
        for policy in RIVALS
    ]
    others: list[Column] = [
        (f"{DATASETS[short]} {title}", f"{short}-{measure}", "rate")
        for short in ("mnist", "cifar10")
        for measure, title in MEASURES.items()
    ]
    return {
        "goals": table(results, paper_and_rate),
        "rivals": table(results, rivals),
        "measures": table(results, others),
    }


def table(results: Path, columns: Sequence[Column]) -> str:
    """Goals down, columns across; missed goals in bold, - for what was not simulated."""
    contents: dict[str, Any] = {
        name: json.loads((results / f"prices-{name}.json").read_text(encoding="utf-8"))
        for name in {name for _, name, _ in columns}
    }
    goals = {
        goal["goal"]: goal["wanted"] for _, name, _ in columns for goal in contents[name]["goals"]
    }
    rows = [line("", "goal", *(heading for heading, _, _ in columns))]
    rows.append(line(*["---"] * (len(columns) + 2)))
    for goal, wanted in goals.items():
        cells = []
        for _, name, policy in columns:
            reached = {row["goal"]: row["reached"] for row in contents[name]["goals"]}
            value = reached.get(goal, {}).get(policy)
            cells.append("-" if value is None else _marked(value, wanted))
        rows.append(line(goal, wanted.replace("<=", "≤").replace(">=", "≥"), *cells))
    return "\n".join(rows)


def _marked(value: float, wanted: str) -> str:
    """The value, in bold where it misses what is wanted ("<= 2", ">= 30", "-")."""
    sign, _, bound = wanted.partition(" ")
    shown = cell(value)
    missed = (sign == "<=" and float(shown) > float(bound)) or (
        sign == ">=" and float(shown) < float(bound)
    )
    return f"**{shown}**" if missed else shown


def write_docs(docs: Path) -> None:
    """Writes the tables of the page; see `experiments.docs`."""
    save(docs / "pricing.md", docs / "results")
