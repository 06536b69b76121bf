"""Tables: one list of columns makes the table of a terminal, of a page and of Markdown.

A row is what the columns read: here a client or a group of a summary. A study has its own:

    COLUMNS = (
        Column("attack", "its name", "attack"),
        Column("accuracy", "on held-out images, the mean", "accuracy.mean", percent),
        Column("CPU (s)", "of one core", lambda row: sum(row["cpu"]), seconds),
    )
    text = markdown(present(COLUMNS, rows), rows)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from experiments.summary import Summary, as_planned

NOTHING = "–"  # noqa: RUF001 - a dash says that there is no number, a zero would be one
GAP = 3
"""Blanks between two columns of a terminal's table."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its heading, what it means, and where its value is found in a row."""

    heading: str
    meaning: str
    value: str | Callable[[Row], Any]  # dotted keys, or a function of the row; None is no value
    form: Callable[[Any], str] = str
    link: Callable[[Row], str | None] | None = None  # where it leads on a page
    code: bool = False  # the heading is the name of a field

    def read(self, row: Row) -> Any:
        """The value, None if the row has none: a stored summary may be older than the column."""
        if callable(self.value):
            return self.value(row)
        found: Any = row
        for key in self.value.split("."):
            found = None if found is None else found.get(key)
        return found

    def text(self, row: Row) -> str:
        """The value as it is shown."""
        value = self.read(row)
        return NOTHING if value is None else self.form(value)

    @property
    def words(self) -> bool:
        """Whether it holds words, which are aligned to the left."""
        return self.form is str


def present(columns: Iterable[Column], rows: Sequence[Row]) -> list[Column]:
    """The columns with a value in some row."""
    return [each for each in columns if any(each.read(row) is not None for row in rows)]


def markdown(columns: Sequence[Column], rows: Iterable[Row]) -> str:
    """The table in Markdown."""
    lines = [
        [f"`{each.heading}`" if each.code else each.heading for each in columns],
        ["---" if each.words else "--:" for each in columns],
        *([each.text(row) for each in columns] for row in rows),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def terminal(
    columns: Sequence[Column], rows: Sequence[Row], width: int, *, title: str = "", keep: int = 1
) -> Iterator[Table]:
    """The table in parts that fit into `width`; each begins with the first `keep` columns."""
    heads = [each.heading.replace(" ", "\n").replace("/", "/\n") for each in columns]
    cells = [[each.text(row) for row in rows] for each in columns]
    wide = [
        max(map(cell_len, (*head.split("\n"), *column))) + GAP
        for head, column in zip(heads, cells, strict=True)
    ]
    room = width - 2 - sum(wide[:keep])
    parts: list[list[int]] = [[]]
    for at in range(keep, len(columns)):
        if parts[-1] and sum(wide[each] for each in parts[-1]) + wide[at] > room:
            parts.append([])
        parts[-1].append(at)
    for number, part in enumerate(parts):
        chosen = [*range(min(keep, len(columns))), *part]
        table = Table(
            title=Text(title, "bold") if title and not number else None,
            title_justify="left",
            box=SIMPLE_HEAD,
            pad_edge=False,
        )
        for at in chosen:
            words = columns[at].words
            side: JustifyMethod = "left" if words else "right"
            table.add_column(Text(heads[at]), justify=side, overflow="fold", no_wrap=not words)
        for line in zip(*(cells[at] for at in chosen), strict=True):
            table.add_row(*map(Text, line))
        yield table


# ── how numbers are shown ────────────────────────────────────────────────────────────────────────


def percent(value: float) -> str:
    """A share as a percentage."""
    return f"{100 * value:.1f} %"


def seconds(value: float) -> str:
    """Seconds to about three figures."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ratio(value: float) -> str:
    """A factor to about three figures."""
    return f"{value:,.0f}×" if value >= 100 else f"{seconds(value)}×"  # noqa: RUF001 - times


def count(value: float) -> str:
    """A number of things, shortened from a hundred thousand on."""
    for least, size, unit in ((1e12, 1e12, "T"), (1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e5, 1e3, "k")):
        if value >= least:
            return f"{_three(value / size)} {unit}"
    return f"{value:,.0f}"


def whole(value: int) -> str:
    """All digits of a number of things."""
    return f"{value:,}"


def milliseconds(value: float) -> str:
    """Seconds as milliseconds, to about three figures."""
    return _three(1e3 * value)


def duration(value: float) -> str:
    """Seconds in the unit that suits them, to about three figures."""
    for size, unit in ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms")):
        if value >= (2 * size if size > 1 else size):
            return f"{_three(value / size)} {unit}"
    return f"{_three(1e6 * value)} µs" if value else "0 s"


def _three(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}".rstrip(".")


# ── the columns of a run ─────────────────────────────────────────────────────────────────────────


def _part(key: str) -> Callable[[Row], Any]:
    """Seconds, unless nothing was answered."""
    return lambda row: row["seconds"][key] if row["images"] else None


def _clients(row: Row) -> int | None:
    return row["clients"] if row.get("clients", 1) > 1 else None


def _accounts(row: Row) -> int | None:
    return row["accounts"] if row.get("accounts", 1) > row.get("clients", 1) else None


def _latencies(name: str, part: str, what: str) -> Iterator[Column]:
    for at, level in (
        ("p50", "the median of the requests"),
        ("p99", "99 of 100 requests took no longer"),
    ):
        yield Column(f"{name} {at} (ms)", f"{what} {level}", f"latency.{part}.{at}", milliseconds)


def _ratios(name: str, what: str) -> Iterator[Column]:
    """Of a client or the median of a group, and the p99 over a group."""
    key = name.replace(" ", "_")
    yield Column(name, f"{what}; of a group the median", key, ratio)
    yield Column(
        f"{name} p99",
        "of the clients of a group",
        lambda row: row["p99"][key] if _clients(row) else None,
        ratio,
    )


COLUMNS = (
    Column("client", "the process, or the group of processes alike", "name"),
    Column("clients", "processes of the group", _clients, whole),
    Column(
        "status",
        "how it ended, if not as planned",
        lambda row: None if as_planned(row) else row["status"],
    ),
    Column("accounts", "that its batches were dealt to, if more than clients", _accounts, whole),
    Column("images", "images answered, of a group by all its clients", "images", whole),
    Column("accuracy", "of the last surrogate on held-out images", "accuracy", percent),
    Column("fidelity", "share of them with the victim's class", "fidelity", percent),
    Column("cost/image", "mean privacy cost of an image", "cost_per_image", "{:#.3g}".format),
    Column("work", "expected hashes asked for", "work", count),
    Column("work/image", "expected hashes for an image", "work_per_image", count),
    Column("hashes", "hashes computed", "hashes", count),
    Column("solving (s)", "seconds spent on puzzles", _part("solve"), seconds),
    Column("serving (s)", "seconds the server spent", _part("server"), seconds),
    Column("total (s)", "seconds of predict(), pauses excluded", _part("total"), seconds),
    Column(
        "training (s)",
        "seconds spent on surrogates",
        lambda row: row["seconds"]["training"] or None,
        seconds,
    ),
    *_latencies("latency", "ask", "of a request: predict() without solving and opening,"),
    *_latencies("answer", "total", "the whole of predict(), solving included,"),
    *_ratios(
        "overhead",
        "(service + work) / service: the work of an image at the calibrated rate beside the seconds"
        " of predict() under policy none",
    ),
    *_ratios(
        "slowdown", "seconds of predict() an image, against the same client under policy none"
    ),
    *_ratios("price ratio", "work for an image, against the median of honest requests"),
)
POLICY = Column("policy", "of the server", "policy")
DETAIL = {
    *("hashes", "solving (s)", "serving (s)", "training (s)", "answer p50 (ms)"),
    "price ratio p99",
}
"""Headings of columns that only the page of a run shows."""
RUNS = {*DETAIL, "cost/image", "slowdown p99"}
"""Headings of columns that a sweep does not show."""


def column(heading: str) -> Column:
    """The column of a run with that heading."""
    return next(each for each in COLUMNS if each.heading == heading)


def rows(summary: Summary, of: str = "groups") -> list[Row]:
    """The "groups" or "clients" of a run under each policy, of a sweep the groups in each cell."""
    cells = summary["cells"] if summary["kind"] == "sweep" else [summary]
    return [
        {**each, "policy": arm["policy"], "cell": cell}
        for cell in cells
        for arm in cell["arms"]
        for each in arm[of]
    ]


def by_policy(found: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows by the policy of the server, in their order."""
    return {name: list(some) for name, some in groupby(found, lambda row: str(row["policy"]))}


def columns(summary: Summary, of: str = "groups", *, detail: bool = False) -> list[Column]:
    """The columns of these rows: swept fields, policy, client, then those with a value."""
    fields = short(summary)
    swept = [
        Column(
            word,
            field,
            lambda row, field=field: shown(row["cell"]["changes"][field]),  # type: ignore[misc]
            link=lambda row: f"{row['cell']['name']}/report.html",
            code=True,
        )
        for field, word in fields.items()
    ]
    hidden = set() if detail else RUNS if swept else DETAIL
    name, *others = COLUMNS
    kept = [each for each in others if each.heading not in hidden]
    return [*swept, POLICY, name, *present(kept, rows(summary, of))]


def short(summary: Summary) -> dict[str, str]:
    """The name of each swept field: its last word, or all where that is not enough."""
    fields = summary.get("fields", [])
    last = [field.split(".")[-1] for field in fields]
    return {
        field: word if last.count(word) == 1 else field
        for field, word in zip(fields, last, strict=True)
    }


def shown(given: Any) -> str:
    """A swept value as text: tables and lists as in TOML, on one line."""
    if isinstance(given, Mapping):
        return ", ".join(f"{key} = {shown(each)}" for key, each in given.items())
    return given if isinstance(given, str) else json.dumps(given)


def label(summary: Summary, cell: Summary) -> str:
    """What makes a cell differ from the others."""
    names = short(summary)
    return ", ".join(
        shown(change) if isinstance(change, Mapping) else f"{names[field]} = {shown(change)}"
        for field, change in cell["changes"].items()
    )
