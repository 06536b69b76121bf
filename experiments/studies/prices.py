"""The verb `prices`: what honest clients and attackers would pay, from costs that were recorded.

`experiments.studies.price_simulation` plays them; here are the goals, and the tables of
docs/pricing.md, which are functions of its rows. A row is one figure of a behaviour, by policy, in
service times (queries where it says so): behaviour, accounts ("10 of 1000" are 10 accounts of 1000
queries), figure, values.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from core.documents import read_json
from core.home import default_data, default_home
from experiments.docs import write_block
from experiments.report.tables import Column, markdown
from experiments.studies import INSIDE, NATURAL, NEAR, NOISE
from experiments.studies.measures import rounded, write
from server import measures
from server.options import DEFAULT_MEASURE

TABLE = f"""
honest iid, median                                     | <= 1.25 | honest iid           | median
honest iid, p99                                        | <= 2    | honest iid           | p99
honest skewed, p99                                     | <= 2    | honest skewed        | p99
honest, levels apart by 10 %, p99                      | <= 2    | honest varied        | p99
honest tilted, p99                                     | <= 2    | honest tilted        | p99
honest dimmed, p99                                     | <= 2    | honest dimmed        | p99
honest blurred, p99                                    | <= 2    | honest blurred       | p99
honest repeated image, p99                             | <= 2    | honest repeated*     | p99
honest iid of 640, entry included, p99 of clients      | <= 2    | honest iid, 1 of 640 | p99 over*
queries to recover from a bad batch of 64, p99         | <= 2000 | bad batch of 64*     | *
natural pool, 1 account                                | >= 1000 | {NATURAL}, 1 of *    | *
natural pool, 100 accounts                             | >= 300  | {NATURAL}, 100 of *  | *
natural pool, accounts of 1 to 64, entry work included | >= 30   | {NATURAL}, many of * | *
natural pool, after 50000 honest queries               | >= 300  | {NATURAL}, after *   | *
near pool, 1 account                                   | >= 50   | {NEAR}, 1 of *       | *
near pool, 100 accounts                                | >= 20   | {NEAR}, 100 of *     | *
noise, 1 account                                       | >= 100  | {NOISE}, 1 of *      | *
noise, 100 accounts                                    | >= 30   | {NOISE}, 100 of *    | *
natural pool, per useful query: best paid filler       | >= 3    | {NATURAL}, filler*   | per*
natural pool, per useful query: steering               | >= 3    | {NATURAL}, steering* | per*
natural pool, per useful query: hoarding               | >= 3    | {NATURAL}, hoarding* | per*
unpaid filler, against none                            | >= 1    | *                    | unpaid*
retries, against none                                  | >= 1    | *                    | retried*
hoarding, against asking at once                       | >= 1    | *                    | hoarded*
attacker with the right data, 1 account                | -       | {INSIDE}, 1 of *     | *
"""
"""Goals, what is wanted, and patterns of the rows that each is about, of which the worst counts.

The first pattern is of the behaviour, and of its accounts after a comma where it names some.
"""

GOALS = [[cell.strip() for cell in line.split("|")] for line in TABLE.strip().splitlines()]


def goals(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The goals, and what each policy reached; only those whose sources were recorded."""
    found, kept = [], list(rows)
    for name, wanted, behaviour, figure in GOALS:
        chosen = [
            row["values"]
            for row in kept
            if fnmatchcase(row["figure"], figure)
            and (
                fnmatchcase(row["behaviour"], behaviour)
                or fnmatchcase(f"{row['behaviour']}, {row['accounts']}", behaviour)
            )
        ]
        worst = min if wanted.startswith(">") else max
        if chosen:
            reached = {policy: worst(each[policy] for each in chosen) for policy in chosen[0]}
            found.append({"goal": name, "wanted": wanted, "reached": reached})
    return found


def shown(value: float) -> str:
    """Three digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def tabulate(result: Mapping[str, Any]) -> str:
    """Markdown: the goals, then every row, a column for each policy."""
    parts = [f"## {result['dataset']}, {result['measure']}, seed {result['seed']}\n"]
    for part, values, about in (
        ("goals", "reached", ("goal", "wanted")),
        ("rows", "values", ("behaviour", "accounts", "figure")),
    ):
        columns = [Column(name, "", name) for name in about]
        columns += [Column(name, "", f"{values}.{name}", shown) for name in result["policies"]]
        parts.append(markdown(columns, result[part]))
    return "\n".join(parts)


# ── the page ─────────────────────────────────────────────────────────────────────────────────────

TYPICALITY = "surprisal-typicality"
DATASETS = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST", "cifar10": "CIFAR-10"}
RIVALS = ("rate", "cost", "tail", "errors", "cusum")
"""Of the committed results; `errors` and `cusum` are no longer simulated."""

MEASURES = {"heads": "`heads`", "surprisal-entropy-typicality": "`entropy+typicality`"}
OLD_NAMES = {"thief with the right data, 1 account": GOALS[-1][0]}
"""What goals were called when the committed results were made."""

Source = tuple[str, str, str]
"""Heading of a column, results, policy."""


def write_docs(docs: Path) -> None:
    """Writes the tables of the page on prices."""
    everywhere, both = tuple(DATASETS), ("mnist", "cifar10")
    blocks = {
        "goals": (everywhere, [(f"`{each}`", TYPICALITY, each) for each in ("paper", "rate")]),
        "rivals": (both, [(f"`{each}`", TYPICALITY, each) for each in RIVALS]),
        "measures": (both, [(title, each, "rate") for each, title in MEASURES.items()]),
    }
    for name, (datasets, compared) in blocks.items():
        sources = [
            (f"{DATASETS[short]} {what}", f"{short}-{measure}", policy)
            for short in datasets
            for what, measure, policy in compared
        ]
        write_block(docs / "pricing.md", name, table(docs / "results", sources))


def table(results: Path, sources: Sequence[Source]) -> str:
    """Goals down, sources across; missed goals in bold."""
    signs = str.maketrans({"<": "≤", ">": "≥", "=": ""})
    rows: dict[str, dict[str, str]] = {}
    for heading, name, policy in sources:
        for goal in read_json(results / f"prices-{name}.json")["goals"]:
            title = OLD_NAMES.get(goal["goal"], goal["goal"])
            row = rows.setdefault(title, {"": title, "goal": goal["wanted"].translate(signs)})
            if policy in goal["reached"]:
                row[heading] = _marked(goal["reached"][policy], goal["wanted"])
    headings = ["", "goal", *(heading for heading, _, _ in sources)]
    filled = [dict.fromkeys(headings, "-") | row for row in rows.values()]
    return markdown([Column(heading, "", heading) for heading in headings], filled)


def _marked(value: float, wanted: str) -> str:
    """The value, in bold where it misses what is wanted ("<= 2", ">= 30", "-")."""
    sign, _, bound = wanted.partition(" ")
    text = shown(value)
    missed = (sign == "<=" and float(text) > float(bound)) or (
        sign == ">=" and float(text) < float(bound)
    )
    return f"**{text}**" if missed else text


# ── the verb ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Flags:
    """Simulate what honest clients and attackers pay, from costs that `measures` recorded."""

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
    home: Path | None = None
    """Where `measures` kept its costs (default: the user's cache folder)."""
    data: Path | None = None
    """Folder of image archives (default: POWGATE_DATA)."""


def check(flags: Flags) -> None:
    """Raises ValueError for what cannot be simulated."""
    measures.parse(flags.measure)
    if not (math.isfinite(flags.service) and flags.service > 0):
        raise ValueError(f"--service is {flags.service}; expected a finite number above 0")
    if not (math.isfinite(flags.entry) and flags.entry >= 0):
        raise ValueError(f"--entry is {flags.entry}; expected a finite number from 0")
    if flags.clients < 10:
        raise ValueError(f"--clients is {flags.clients}; expected at least 10")
    if flags.seed < 0:
        raise ValueError(f"--seed is {flags.seed}; expected a number from 0")


def run(flags: Flags) -> None:
    """Simulates prices."""
    check(flags)
    from experiments.studies import price_simulation  # with it comes torch
    from server.calibration.make import CAP, SERVICE_SHARE
    from server.pricing.vectorised import Terms

    home, data = flags.home or default_home(), flags.data or default_data()
    costs = price_simulation.record(flags.dataset, flags.measure, flags.seed, home, data)
    t_min = SERVICE_SHARE * flags.service
    policies, rows = price_simulation.simulate(
        costs,
        Terms(flags.service, t_min, CAP * t_min),
        entry=flags.entry * SERVICE_SHARE,
        clients=flags.clients,
        seed=flags.seed,
        scale=price_simulation.Scale(),
    )
    names = ("dataset", "measure", "seed", "entry", "service")
    result = {name: getattr(flags, name) for name in names}
    result |= {"policies": policies, "goals": goals(rows), "rows": rows}
    print(tabulate(result), end="")
    if flags.json is not None:
        write(flags.json, rounded(result, 4), flags.seed)
