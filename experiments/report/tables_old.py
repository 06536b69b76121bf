"""The table of a run: a row a group of clients under each policy, for terminal, page, Markdown.

A client that is alone is a group of one. Every column can be read off a client's summary, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable

from experiments.report.summary import as_planned

GAP = 3  # blanks between two columns of the terminal's table
NOTHING = "–"  # noqa: RUF001 - a dash says that there is no number, a zero would be one


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its heading, what it means, and how to read it off a client's summary."""

    heading: str
    meaning: str
    value: Callable[[Mapping[str, Any]], float | int | str | None]
    form: Callable[[Any], str]


def percent(value: float) -> str:
    """A share as a percentage."""
    return f"{100 * value:.1f} %"


def seconds(value: float) -> str:
    """Seconds to about three figures."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ratio(value: float) -> str:
    """A factor to about three figures."""
    text = f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
    return f"{text}×"  # noqa: RUF001 - the multiplication sign


def count(value: float) -> str:
    """A number of things, shortened from a hundred thousand on."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e5, "k")):
        if value >= size:
            return f"{value / (1e3 if unit == 'k' else size):#.3g}".rstrip(".") + f" {unit}"
    return f"{value:,.0f}"


def milliseconds(value: float) -> str:
    """Seconds as milliseconds, to about three figures."""
    return f"{1e3 * value:,.0f}" if value >= 0.1 else f"{1e3 * value:#.3g}".rstrip(".")


def duration(value: float) -> str:
    """Seconds in the unit that suits them, to about three figures."""
    for size, unit in ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms")):
        if value >= (2 * size if size > 1 else size):
            return f"{_three(value / size)} {unit}"
    return f"{_three(1e6 * value)} µs" if value else "0 s"


def _three(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"


def _part(name: str) -> Callable[[Mapping[str, Any]], float | None]:
    return lambda client: client["seconds"][name] if client["images"] else None


def _training(client: Mapping[str, Any]) -> float | None:
    return client["seconds"]["training"] or None  # who trains nothing has no surrogate


def _latency(part: str, level: str) -> Callable[[Mapping[str, Any]], float | None]:
    return lambda client: client["latency"][part][level] if client["latency"] else None


def _clients(client: Mapping[str, Any]) -> int | None:
    many: int = client.get("clients", 1)  # what has no number is a client
    return many if many > 1 else None


def _accounts(client: Mapping[str, Any]) -> int | None:
    many: int = client["accounts"]
    return many if many > client.get("clients", 1) else None


def _status(client: Mapping[str, Any]) -> str | None:
    """Said only of those that did not come to the end they were meant to have."""
    return None if as_planned(client) else client["status"]


def _p99(name: str) -> Callable[[Mapping[str, Any]], float | None]:
    """Of a group; for a client alone it would be what stands beside it."""
    return lambda client: client["p99"][name] if client.get("clients", 1) > 1 else None


COLUMNS = (
    Column("client", "the process, or the group of processes alike", lambda c: c["name"], str),
    Column("clients", "processes of the group", _clients, lambda v: f"{v:,}"),
    Column("status", "how it ended, if not as planned", _status, str),
    Column(
        "accounts",
        "among which the batches were dealt, if more than one a client",
        _accounts,
        lambda v: f"{v:,}",
    ),
    Column(
        "images",
        "images answered, of a group by all its clients",
        lambda c: c["images"],
        lambda v: f"{v:,}",
    ),
    Column(
        "accuracy",
        "of the last surrogate on held-out images; of a group the median",
        lambda c: c["accuracy"],
        percent,
    ),
    Column(
        "fidelity",
        "share of held-out images on which the surrogate's class is the victim's",
        lambda c: c["fidelity"],
        percent,
    ),
    Column(
        "cost/image",
        "mean privacy cost of an image, by the server's records",
        lambda c: c["cost_per_image"],
        lambda v: f"{v:#.3g}",
    ),
    Column("work", "expected hashes asked for", lambda c: c["work"], count),
    Column("work/image", "expected hashes for an image", lambda c: c["work_per_image"], count),
    Column("hashes", "hashes computed", lambda c: c["hashes"], count),
    Column("solving (s)", "seconds spent on puzzles", _part("solve"), seconds),
    Column("serving (s)", "seconds the server spent", _part("server"), seconds),
    Column("total (s)", "seconds of predict(), pauses excluded", _part("total"), seconds),
    Column("training (s)", "seconds spent on surrogates", _training, seconds),
    Column(
        "latency p50 (ms)",
        "of a request: predict() without solving and opening, the median",
        _latency("ask", "p50"),
        milliseconds,
    ),
    Column(
        "latency p99 (ms)",
        "of a request: predict() without solving and opening, 99 of 100 took no longer",
        _latency("ask", "p99"),
        milliseconds,
    ),
    Column(
        "answer p50 (ms)",
        "the whole of predict(), solving included, the median of the requests",
        _latency("total", "p50"),
        milliseconds,
    ),
    Column(
        "answer p99 (ms)",
        "the whole of predict(), solving included, 99 of 100 requests took no longer",
        _latency("total", "p99"),
        milliseconds,
    ),
    Column(
        "overhead",
        "(service + work) / service: the work of an image at the calibrated rate beside the seconds"
        " of predict() under policy none; of a group the median",
        lambda c: c["overhead"],
        ratio,
    ),
    Column("overhead p99", "of the clients of a group", _p99("overhead"), ratio),
    Column(
        "slowdown",
        "seconds of predict() an image, against the same client under policy none; of a group the"
        " median",
        lambda c: c["slowdown"],
        ratio,
    ),
    Column("slowdown p99", "of the clients of a group", _p99("slowdown"), ratio),
    Column(
        "price ratio",
        "work for an image, against the median of honest requests; of a group the median",
        lambda c: c["price_ratio"],
        ratio,
    ),
    Column("price ratio p99", "of the clients of a group", _p99("price_ratio"), ratio),
)


DETAIL = {
    *("hashes", "solving (s)", "serving (s)", "training (s)", "answer p50 (ms)"),
    "price ratio p99",
}
"""Headings of columns that stand in the page of a run only."""


def cell(column: Column, client: Mapping[str, Any]) -> str:
    """The text of one cell."""
    value = column.value(client)
    return NOTHING if value is None else column.form(value)


def shown(summary: Mapping[str, Any], of: str = "groups", *, detail: bool = False) -> list[Column]:
    """The columns with something in them, for the "groups" or the "clients" of this run."""
    rows = [row for arm in summary["arms"] for row in arm[of]]
    return [
        column
        for column in COLUMNS
        if (detail or column.heading not in DETAIL)
        and any(column.value(row) is not None for row in rows)
    ]


def terminal(summary: Mapping[str, Any], arm: Mapping[str, Any], width: int) -> list[RichTable]:
    """One arm as a table, or as several that repeat the first column where one is too wide."""
    first, *rest = shown(summary)
    wide = {column.heading: _width(column, arm) + GAP for column in (first, *rest)}
    for parts in range(1, len(rest) + 1):
        size = -(-len(rest) // parts)
        tables = [[first, *rest[at : at + size]] for at in range(0, len(rest), size)]
        if all(sum(wide[c.heading] for c in table) <= width - 2 for table in tables):
            break
    title = f"{summary['name']}: policy {arm['policy']}"
    return [_table(part, arm, title if index == 0 else None) for index, part in enumerate(tables)]


def _table(columns: Sequence[Column], arm: Mapping[str, Any], title: str | None) -> RichTable:
    table = RichTable(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    table.pad_edge = False
    for column in columns:
        text = column.heading in ("client", "status")
        table.add_column(folded(column), justify="left" if text else "right", no_wrap=True)
    for group in arm["groups"]:
        table.add_row(*(cell(column, group) for column in columns))
    return table


def folded(column: Column) -> str:
    """A heading for a narrow column: a word a line."""
    return column.heading.replace(" ", "\n").replace("/", "/\n")


def _width(column: Column, arm: Mapping[str, Any]) -> int:
    cells = [cell(column, group) for group in arm["groups"]]
    return max(map(len, (*folded(column).split("\n"), *cells)))


def markdown(summary: Mapping[str, Any], arm: Mapping[str, Any]) -> str:
    """One arm as a Markdown table."""
    columns = shown(summary)
    rows = [
        [column.heading for column in columns],
        ["---" if column.form is str else "--:" for column in columns],
        *([cell(column, group) for column in columns] for group in arm["groups"]),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"
