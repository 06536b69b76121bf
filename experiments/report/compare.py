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
from experiments.report.tables import (
    COLUMNS,
    NOTHING,
    Column,
    Row,
    by_policy,
    percent,
    ratio,
    terminal,
)
from experiments.summary import FORMAT, Summary
from experiments.terminal import console

MACHINE = ("host", "system", "cpu", "cores")
SOFTWARE = ("python", "packages")
EMPTY: tuple[Any, ...] = (None, "", {}, [])
MOMENTS = ("date", "measured", "provenance")  # when and by what, not what was found
TEXTS = (("A", "a"), ("B", "b"), ("A to B", "change"))
LONGEST = 44  # characters of a setting that are shown
SETTINGS = (Column("setting", "", "name"), Column("A", "", "a"), Column("B", "", "b"))
LINES = (
    Column("client", "of both runs", "client"),
    Column("quantity", "see the report of a run", "quantity"),
    *(
        Column(name, name, key, lambda text: str(text))
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
    found = compare(flags.a, flags.b)
    if flags.out is not None:
        flags.out.write_text(page(found), encoding="utf-8")
    screen = console(140)
    show(found, screen)
    if flags.out is not None:
        screen.print(f"page: {flags.out}", soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What there is to say of run A and run B."""

    origins: tuple[str, str]
    remarks: tuple[str, ...]  # read these first
    settings: tuple[Row, ...]  # of SETTINGS, that differ
    lines: tuple[Row, ...]  # of LINES, with the policy, and whether it is of a group's member


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
            lines=tuple(
                {**line, "policy": policy}
                for policy, arm in _arms(a).items()
                if policy in _arms(b)
                for line in _lines(arm, _arms(b)[policy])
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
    one, other = _revision(here), _revision(there)
    scale = [each["calibration"].get("fingerprint") for each in (a, b)]
    prices = any(_differences(a["calibration"], b["calibration"], ""))
    for doubtful, remark in (
        (
            any(here.get(key) != there.get(key) for key in MACHINE),
            "The machines differ: seconds, and the work that a price in seconds is turned into, say"
            " as much of them as of the gate.",
        ),
        (
            one != other,
            f"The revisions differ ({one} and {other}): the same name may stand for another price,"
            " attack or measure.",
        ),
        (one == other == "unknown", "The revision of neither run is known."),
        (
            one == other and here.get("git_modified"),
            "Both runs are of a revision with changes, perhaps not the same ones.",
        ),
        (
            any(here.get(key) != there.get(key) for key in SOFTWARE),
            "Versions of Python or of packages differ.",
        ),
        (
            scale[0] != scale[1],
            "The calibrations are of different victims or measures: costs have no common scale.",
        ),
        (
            scale[0] == scale[1] and prices,
            "The calibrations differ: the same query may have another price.",
        ),
        (any(_differences(a["scenario"], b["scenario"], "")), "The scenarios differ."),
    ):
        if doubtful:
            yield remark
    for name, mine, theirs in (("A", _arms(a), _arms(b)), ("B", _arms(b), _arms(a))):
        for policy, arm in mine.items():
            if policy not in theirs:
                yield f"Only in {name}: policy {policy}."
                continue
            known = {client["name"] for client in theirs[policy]["clients"]}
            alone = [client for client in arm["clients"] if client["name"] not in known]
            groups: dict[str, list[str]] = {}
            for client in alone:
                groups.setdefault(client.get("group") or "", []).append(client["name"])
            names = [n[0] if len(n) == 1 else f"{len(n)} of {g}" for g, n in groups.items() if g]
            names += groups.get("", [])
            if alone:
                yield f"Only in {name}, under {policy}: {', '.join(names)}."


def _arms(summary: Summary) -> dict[str, Summary]:
    return {arm["policy"]: arm for arm in summary["arms"]}


def _lines(left: Summary, right: Summary) -> Iterator[Row]:
    """Each quantity of the groups of several clients that are in both, then of all clients."""
    groups = [each.get("groups", ()) for each in (left, right)]  # format 1 has none
    crowds = [both for both in _both(*groups) if all(each["clients"] > 1 for each in both)]
    names = {group["name"] for group, _ in crowds}
    for a, b in (*crowds, *_both(left["clients"], right["clients"])):
        who = {"client": a["name"], "member": a.get("group") in names}
        if (a, b) in crowds:
            who = {"client": f"{a['name']}, all", "member": False}
        for column in COLUMNS[1:]:  # the first one is the name
            before, after = _read(column, a), _read(column, b)
            if before is not None or after is not None:
                texts = [NOTHING if v is None else column.form(v) for v in (before, after)]
                yield {
                    **who,
                    "quantity": column.heading,
                    "a": texts[0],
                    "b": texts[1],
                    "change": change(column, before, after),
                }


def _both(left: Iterable[Summary], right: Iterable[Summary]) -> list[tuple[Summary, Summary]]:
    there = {row["name"]: row for row in right}
    return [(row, there[row["name"]]) for row in left if row["name"] in there]


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
    """Prints which runs these are, what to know first, every quantity, and other differences.

    Of clients that belong to a group only the group is shown; the page has them, too.
    """
    for sentence in (*found.origins, *found.remarks):
        screen.print(sentence, highlight=False, soft_wrap=True, markup=False)
    shown = by_policy(line for line in found.lines if not line["member"])
    for policy, lines in shown.items():
        for part in terminal(LINES, lines, screen.width, title=f"policy {policy}", keep=2):
            screen.print(part)
    if found.settings:
        for part in terminal(SETTINGS, found.settings, screen.width, title="What else differs"):
            screen.print(part)


def page(found: Comparison) -> str:
    """The page as HTML."""
    return render("compare.html", found=found, lines=LINES, settings=SETTINGS)
