"""Two runs side by side: what differs in how they were made, then each quantity of each client.

A run is a folder with a `summary.json`, a published one as well as a fresh one, or that file.
Clients are matched by policy and name; nothing is computed that the summaries do not say.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from core.documents import DocumentError, read_json
from experiments.records import FolderError
from experiments.report.page import render
from experiments.report.publish import committed
from experiments.report.tables import (
    COLUMNS,
    NOTHING,
    Column,
    Row,
    by_policy,
    percent,
    ratio,
    rows,
    terminal,
)
from experiments.summary import FORMAT, Summary
from experiments.terminal import console

MACHINE = ("host", "system", "cpu", "cores")
SOFTWARE = ("python", "packages")
EMPTY: tuple[Any, ...] = (None, "", {}, [])
MOMENTS = ("date", "measured", "provenance")  # when and by what, not what was found
LONGEST = 44  # characters of a setting that are shown
SETTINGS = (Column("setting", "", "name"), Column("A", "", "a"), Column("B", "", "b"))
LINES = (
    Column("client", "of both runs", "client"),
    Column("quantity", "see the report of a run", "quantity"),
    *(
        Column(name, name, key, lambda text: str(text))  # numbers, which stand to the right
        for name, key in (("A", "a"), ("B", "b"), ("A to B", "change"))
    ),
)
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
    found, screen = compare(flags.a, flags.b), console(140)
    show(found, screen)
    if flags.out is not None:
        flags.out.write_text(page(found), encoding="utf-8")
        screen.print(f"page: {flags.out}", soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What there is to say of run A and run B."""

    origins: tuple[str, str]
    remarks: tuple[str, ...]  # read these first
    settings: tuple[Row, ...]  # of SETTINGS, that differ
    lines: tuple[Row, ...]  # of LINES, with the policy


def load(path: Path) -> Summary:
    """The summary of a run, by its folder or its `summary.json`. Raises FolderError."""
    file = path / "summary.json" if path.is_dir() else path
    try:
        summary = read_json(file)
    except FileNotFoundError as error:
        hint = "; python -m experiments report makes it" * (path / "scenario.json").exists()
        raise FolderError(f"{path} is not the folder of a run: no summary.json{hint}") from error
    except DocumentError as error:
        raise FolderError(f"{file} cannot be read: {error}") from error
    found, kind = (
        summary.get(key) if isinstance(summary, dict) else None for key in ("format", "kind")
    )
    if (found, kind) != (FORMAT, "run"):
        raise FolderError(
            f"{file} has format {found!r} and kind {kind!r}, expected {FORMAT} and 'run'"
        )
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
            remarks=(*_remarks(a, b), *_alone("A", a, b), *_alone("B", b, a)) or (SAME,),
            settings=tuple(_settings(a, b)),
            lines=tuple(_lines(a, b)),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise FolderError(f"{left} or {right} holds half a summary: {error!r}") from error


def _origin(summary: Summary, path: Path) -> str:
    about = summary["provenance"]
    date = about.get("date") or "no date"
    return f"{path}: {summary['name']}, revision {_revision(about)}, {date}"


def _revision(about: Summary) -> str:
    revision = str(about.get("git_revision") or "unknown")[:7]
    return revision + (" with changes" if about.get("git_modified") else "")


def _remarks(a: Summary, b: Summary) -> Iterator[str]:
    """What a reader must know before believing a ratio."""
    here, there = a["provenance"], b["provenance"]
    one, other = _revision(here), _revision(there)
    if any(here.get(key) != there.get(key) for key in MACHINE):
        yield (
            "The machines differ: seconds, and the work that a price in seconds is turned into, say"
            " as much of them as of the gate."
        )
    if one != other:
        yield (
            f"The revisions differ ({one} and {other}): the same name may stand for another price,"
            " attack or measure."
        )
    elif one == "unknown":
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


def _alone(name: str, mine: Summary, theirs: Summary) -> Iterator[str]:
    """Policies and clients that are in one run only."""
    known = by_policy(rows(theirs))
    for policy, found in by_policy(rows(mine)).items():
        names = {row["name"] for row in known.get(policy, ())}
        if not names:
            yield f"Only in {name}: policy {policy}."
        elif alone := [row["name"] for row in found if row["name"] not in names]:
            yield f"Only in {name}, under {policy}: {', '.join(alone)}."


def _lines(a: Summary, b: Summary) -> Iterator[Row]:
    """Each quantity of the clients, or groups of processes alike, that are in both."""
    there = {(row["policy"], row["name"]): row for row in rows(b)}
    for row in rows(a):
        who = row["policy"], row["name"]
        for column in COLUMNS[1:] if who in there else ():  # the first one is the name
            before, after = column.read(row), column.read(there[who])
            if before is not None or after is not None:
                yield {
                    "policy": row["policy"],
                    "client": row["name"],
                    "quantity": column.heading,
                    "a": column.text(row),
                    "b": column.text(there[who]),
                    "change": change(column, before, after),
                }


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


def _settings(a: Summary, b: Summary) -> Iterator[Row]:
    """Everything that was given, resolved, calibrated or around otherwise, by its dotted name."""
    for part in ("provenance", "scenario", "calibration"):
        yield from _differences(a[part], b[part], part)
    loads = [
        {arm["policy"]: arm["load"]["mean"] for arm in each["arms"] if arm["load"]}
        for each in (a, b)
    ]
    yield from _differences(loads[0], loads[1], "load average")


def _differences(left: Any, right: Any, name: str) -> Iterator[Row]:
    """Values that differ in nested tables; those in a list go by their name, or their number.

    What one run does not have at all is taken for empty: an older revision may not have known it.
    """
    left, right = _table(left), _table(right)
    if isinstance(left, dict) and isinstance(right, dict):
        for key in {**left, **right}:
            if key not in MOMENTS:
                yield from _differences(left.get(key), right.get(key), f"{name}.{key}")
    elif left != right and not (left in EMPTY and right in EMPTY):
        yield {"name": name, "a": _short(left), "b": _short(right)}


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
    """Prints which runs these are, what to know first, every quantity, and other differences."""
    for sentence in (*found.origins, *found.remarks):
        screen.print(sentence, highlight=False, soft_wrap=True, markup=False)
    for policy, lines in by_policy(found.lines).items():
        for part in terminal(LINES, lines, screen.width, title=f"policy {policy}", keep=2):
            screen.print(part)
    if found.settings:
        for part in terminal(SETTINGS, found.settings, screen.width, title="What else differs"):
            screen.print(part)


def page(found: Comparison) -> str:
    """The page as HTML."""
    return render("compare.html", found=found, lines=LINES, settings=SETTINGS)
