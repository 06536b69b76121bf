"""Two runs side by side: what differs in how they were made, then each quantity of each client.

A run is a folder with a `summary.json`, a published one as well as a fresh one, or that file.
Clients are matched by policy and name; nothing is computed that the summaries do not say.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from core.documents import DocumentError, read_json
from experiments.records import SWEEP_FILE, FolderError
from experiments.report.page import render
from experiments.report.publish import committed
from experiments.report.tables import COLUMNS, NOTHING, Column, percent, ratio, terminal
from experiments.summary import FORMAT, Summary
from experiments.terminal import console

MACHINE = ("host", "system", "cpu", "cores")
SOFTWARE = ("python", "packages")
EMPTY: tuple[Any, ...] = (None, "", {}, [])
MOMENTS = ("date", "measured", "provenance")  # when and by what, not what was found
LONGEST = 44  # characters of a setting that are shown
SAME = "Scenario, revision, machine and calibration are the same."


@dataclass(frozen=True, slots=True)
class Flags:
    """Show two runs side by side: what differs in how they were made, then every client in both."""

    a: tyro.conf.Positional[Path]
    """The folder of a run, fresh or published."""
    b: tyro.conf.Positional[Path]
    """Another one."""
    out: Path | None = None
    """Also write one self-contained page to this file."""


def run(flags: Flags) -> None:
    """Shows two runs side by side."""
    found = compare(flags.a, flags.b)
    if flags.out is not None:
        flags.out.write_text(page(found), encoding="utf-8")
    screen = console(140)
    show(found, screen)
    if flags.out is not None:
        screen.print(f"page: {flags.out}", soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Line:
    """One quantity of one client: its text in both runs, and the change from A to B."""

    quantity: str
    meaning: str
    a: str
    b: str
    change: str


@dataclass(frozen=True, slots=True)
class Pair:
    """One client, or one group of several, that is in both runs under one policy."""

    name: str
    lines: tuple[Line, ...]
    member: bool = False  # of a group that is compared, too


@dataclass(frozen=True, slots=True)
class Comparison:
    """What there is to say of run A and run B."""

    origins: tuple[str, str]
    remarks: tuple[str, ...]  # read these first
    settings: tuple[tuple[str, str, str], ...]  # what differs: name, in A, in B
    policies: tuple[tuple[str, tuple[Pair, ...]], ...]  # policy -> groups, clients


def load(path: Path) -> Summary:
    """The summary of a run, by its folder or its `summary.json`. Raises FolderError."""
    file = path / "summary.json" if path.is_dir() else path
    if (path / SWEEP_FILE).exists():
        runs = sorted(each.parent for each in path.glob("*/summary.json"))
        hint = (
            f"give one of its runs, such as {runs[0]}" if runs else "none of its runs is finished"
        )
        raise FolderError(f"{path} is the folder of a sweep: {hint}")
    try:
        summary = read_json(file)
    except FileNotFoundError as error:
        if (path / "scenario.json").exists():
            raise FolderError(
                f"{path} has no summary.json yet: python -m experiments report {path}"
            ) from error
        raise FolderError(f"{path} is not the folder of a run: no summary.json") from error
    except DocumentError as error:
        raise FolderError(f"{file} cannot be read: {error}") from error
    found = summary.get("format") if isinstance(summary, dict) else None
    if not isinstance(found, int) or not 1 <= found <= FORMAT:
        raise FolderError(f"{file} has format {found!r}, expected the summary of a run: {FORMAT}")
    if summary.get("kind") == "sweep":  # published: its runs are not beside it
        raise FolderError(f"{file} is the summary of a sweep, expected that of one of its runs")
    known: Summary = committed(summary)  # a fresh run equals what was published of it then
    return known


def compare(left: Path, right: Path) -> Comparison:
    """Reads two runs and compares them. Raises FolderError."""
    a, b = load(left), load(right)
    files = {(path / "summary.json" if path.is_dir() else path).resolve() for path in (left, right)}
    if len(files) == 1:
        raise FolderError(f"{left} is given twice, expected two runs")
    try:
        return Comparison(
            origins=(f"A  {_origin(a, left)}", f"B  {_origin(b, right)}"),
            remarks=tuple(_remarks(a, b)) or (SAME,),
            settings=tuple(_settings(a, b)),
            policies=tuple(
                (policy, tuple(_pairs(arm, _arms(b)[policy])))
                for policy, arm in _arms(a).items()
                if policy in _arms(b)
            ),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise FolderError(f"{left} or {right} holds half a summary: {error!r}") from error


def _origin(summary: Summary, path: Path) -> str:
    about = summary["provenance"]
    return (
        f"{path}: {summary['name']}, revision {_revision(about)}, {about.get('date') or 'no date'}"
    )


def _revision(about: Summary) -> str:
    revision = str(about.get("git_revision") or "unknown")[:7]
    return revision + (" with changes" if about.get("git_modified") else "")


def _remarks(a: Summary, b: Summary) -> Iterator[str]:
    """What a reader must know before believing a ratio."""
    here, there = a["provenance"], b["provenance"]
    if any(here.get(key) != there.get(key) for key in MACHINE):
        yield (
            "The machines differ: seconds, and the work that a price in seconds is turned into,"
            " say as much of them as of the gate."
        )
    if _revision(here) != _revision(there):
        yield (
            f"The revisions differ ({_revision(here)} and {_revision(there)}): the same name may"
            " stand for another price, attack or measure."
        )
    elif not here.get("git_revision"):
        yield "The revision of neither run is known."
    elif here.get("git_modified"):
        yield "Both runs are of a revision with changes, perhaps not the same ones."
    if any(here.get(key) != there.get(key) for key in SOFTWARE):
        yield "Versions of Python or of packages differ."
    if a["calibration"].get("fingerprint") != b["calibration"].get("fingerprint"):
        yield "The calibrations are of different victims or measures: costs have no common scale."
    elif any(_differences(a["calibration"], b["calibration"], "")):
        yield "The calibrations differ: the same query may have another price."
    if any(_differences(a["scenario"], b["scenario"], "")):
        yield "The scenarios differ."
    for name, mine, other in (("A", _arms(a), _arms(b)), ("B", _arms(b), _arms(a))):
        for policy, arm in mine.items():
            if policy not in other:
                yield f"Only in {name}: policy {policy}."
                continue
            known = {client["name"] for client in other[policy]["clients"]}
            alone: dict[str, list[str]] = {}
            for client in arm["clients"]:
                if client["name"] not in known:
                    group = client.get("group") or client["name"]
                    alone.setdefault(group, []).append(client["name"])
            if alone:
                names = (
                    each[0] if len(each) == 1 else f"{len(each)} of {group}"
                    for group, each in alone.items()
                )
                yield f"Only in {name}, under {policy}: {', '.join(names)}."


def _arms(summary: Summary) -> dict[str, Summary]:
    return {arm["policy"]: arm for arm in summary["arms"]}


def _pairs(left: Summary, right: Summary) -> Iterator[Pair]:
    """Groups of several clients that are in both runs, then all clients that are."""
    crowds = set()
    for name, a, b in _both(left.get("groups", ()), right.get("groups", ())):  # format 1 has none
        if a["clients"] > 1 and b["clients"] > 1:
            crowds.add(name)
            yield Pair(f"{name}, all", tuple(_lines(a, b)))
    for name, a, b in _both(left["clients"], right["clients"]):
        yield Pair(name, tuple(_lines(a, b)), member=a.get("group") in crowds)


def _both(left: Iterable[Summary], right: Iterable[Summary]) -> list[tuple[str, Summary, Summary]]:
    there = {row["name"]: row for row in right}
    return [(row["name"], row, there[row["name"]]) for row in left if row["name"] in there]


def _lines(left: Summary, right: Summary) -> Iterator[Line]:
    for column in COLUMNS[1:]:  # the first one is the name
        before, after = _read(column, left), _read(column, right)
        if before is not None or after is not None:
            a, b = (NOTHING if v is None else column.form(v) for v in (before, after))
            yield Line(column.heading, column.meaning, a, b, change(column, before, after))


def _read(column: Column, row: Summary) -> Any:
    """None, too, where a summary is older than the column."""
    try:
        return column.read(row)
    except KeyError:
        return None


def change(column: Column, before: Any, after: Any) -> str:
    """The change of a value: a factor, points for a share, a difference where there is a zero.

    A value that would be shown as zero counts as zero: a ratio of such seconds is one of noise.
    """
    if before is None or after is None:
        return NOTHING
    if isinstance(before, str) or isinstance(after, str):
        return "same" if before == after else "differs"
    if before == after:
        return "same"
    sign = "+" if after > before else "-"
    if column.form is percent:
        return f"{sign}{100 * abs(after - before):.1f} points"
    zero = column.form(0)
    if not before or not after or zero in (column.form(before), column.form(after)):
        text = column.form(abs(after - before))
        return "same" if text == zero else sign + text
    factor = after / before
    return ratio(factor) if factor >= 0.1 else f"{factor:.2g}×"  # noqa: RUF001


def _settings(a: Summary, b: Summary) -> Iterator[tuple[str, str, str]]:
    """Everything that was given, resolved, calibrated or around otherwise, by its dotted name."""
    for part in ("provenance", "scenario", "calibration"):
        yield from _differences(a[part], b[part], part)
    loads = [
        {arm["policy"]: arm["load"]["mean"] for arm in each["arms"] if arm["load"]}
        for each in (a, b)
    ]
    yield from _differences(loads[0], loads[1], "load average")


def _differences(left: Any, right: Any, name: str) -> Iterator[tuple[str, str, str]]:
    """Values that differ in nested tables; those in a list go by their name, or their number.

    What one run does not have at all is taken for empty: an older revision may not have known it.
    """
    left, right = _table(left), _table(right)
    if isinstance(left, dict) and isinstance(right, dict):
        for key in {**left, **right}:
            if key not in MOMENTS:
                yield from _differences(left.get(key), right.get(key), f"{name}.{key}")
    elif left != right and not (left in EMPTY and right in EMPTY):
        yield name, _short(left), _short(right)


def _table(value: Any) -> Any:
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        return {str(each.get("name", at)): each for at, each in enumerate(value)}
    return value


def _short(value: Any) -> str:
    if value is None:
        return NOTHING
    if isinstance(value, float):
        return f"{value:.4g}"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def show(found: Comparison, screen: Console) -> None:
    """Prints which runs these are, what to know first, every quantity, and other differences.

    Of clients that belong to a group only the group is shown; the page has them, too.
    """
    for sentence in (*found.origins, *found.remarks):
        screen.print(sentence, highlight=False, soft_wrap=True, markup=False)
    columns = [Column("client", "", "client"), Column("quantity", "", "quantity")]
    columns += [Column(name, "", key, lambda v: str(v)) for name, key in CHANGES]
    for policy, pairs in found.policies:
        rows = [
            {"client": "" if at else pair.name, **{k: getattr(line, k) for k in line.__slots__}}
            for pair in pairs
            if not pair.member
            for at, line in enumerate(pair.lines)
        ]
        for part in terminal(columns, rows, screen.width, title=f"policy {policy}", keep=2):
            screen.print(part)
    if found.settings:
        settings = [dict(zip(("name", "a", "b"), each, strict=True)) for each in found.settings]
        columns = [Column("", "", "name"), Column("A", "", "a"), Column("B", "", "b")]
        for part in terminal(columns, settings, screen.width, title="What else differs"):
            screen.print(part)


CHANGES = (("A", "a"), ("B", "b"), ("A to B", "change"))


def page(found: Comparison) -> str:
    """The page as HTML."""
    return render("compare.html", found=found)
