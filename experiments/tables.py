"""The table of a run: one row a client under each policy, for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable

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


def _part(name: str) -> Callable[[Mapping[str, Any]], float | None]:
    return lambda client: client["seconds"][name] if client["images"] else None


def _training(client: Mapping[str, Any]) -> float | None:
    return client["seconds"]["training"] if client["checkpoints"] else None


def _accounts(client: Mapping[str, Any]) -> int | None:
    many: int = client.get("accounts", 1)  # summaries of before there were several have none
    return many if many > 1 else None


COLUMNS = (
    Column("client", "the process", lambda c: c["name"], str),
    Column("status", "how it ended", lambda c: c["status"], str),
    Column("accounts", "among which he dealt his batches", _accounts, lambda v: f"{v:,}"),
    Column("images", "images answered", lambda c: c["images"], lambda v: f"{v:,}"),
    Column(
        "accuracy",
        "of the last surrogate on held-out images",
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
    Column("training (s)", "seconds spent on the surrogate", _training, seconds),
    Column(
        "slowdown",
        "seconds of predict() an image, against the same client under policy none",
        lambda c: c["slowdown"],
        ratio,
    ),
    Column(
        "price ratio",
        "work for an image, against the median of honest requests",
        lambda c: c["price_ratio"],
        ratio,
    ),
)


def cell(column: Column, client: Mapping[str, Any]) -> str:
    """The text of one cell."""
    value = column.value(client)
    return NOTHING if value is None else column.form(value)


def shown(summary: Mapping[str, Any]) -> list[Column]:
    """The columns with something in them, for this run."""
    clients = [client for arm in summary["arms"] for client in arm["clients"]]
    return [column for column in COLUMNS if any(column.value(c) is not None for c in clients)]


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
        table.add_column(_folded(column), justify="left" if text else "right", no_wrap=True)
    for client in arm["clients"]:
        table.add_row(*(cell(column, client) for column in columns))
    return table


def _folded(column: Column) -> str:
    return column.heading.replace(" ", "\n").replace("/", "/\n")


def _width(column: Column, arm: Mapping[str, Any]) -> int:
    cells = [cell(column, client) for client in arm["clients"]]
    return max(map(len, (*_folded(column).split("\n"), *cells)))


def markdown(summary: Mapping[str, Any], arm: Mapping[str, Any]) -> str:
    """One arm as a Markdown table."""
    columns = shown(summary)
    rows = [
        [column.heading for column in columns],
        ["---" if column.form is str else "--:" for column in columns],
        *([cell(column, client) for column in columns] for client in arm["clients"]),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"
