"""Two runs side by side: what differs in how they were made, then each quantity of each client.

A run is a folder with a `summary.json`, a published one as well as a fresh one, or that file.
Clients are matched by policy and name; nothing is computed that the summaries do not say.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.documents import DocumentError, read_json
from experiments.folder import SWEEP_FILE, FolderError
from experiments.report import tables_old as tables
from experiments.report.publish import committed
from experiments.report.summary import FORMAT

Summary = Mapping[str, Any]

SHARES = ("accuracy", "fidelity")  # compared by their difference, in points
MACHINE = ("host", "system", "cpu", "cores")
SOFTWARE = ("python", "packages")
EMPTY: tuple[Any, ...] = (None, "", {}, [])
MOMENTS = ("date", "measured", "provenance")  # when and by what, not what was found
LONGEST = 44  # characters of a setting that are shown


@dataclass(frozen=True, slots=True)
class Line:
    """One quantity of one client: its text in both runs, and what became of it from A to B."""

    quantity: str
    meaning: str
    left: str
    right: str
    change: str


@dataclass(frozen=True, slots=True)
class Pair:
    """One client, or one group of several, that is in both runs under one policy."""

    name: str
    lines: tuple[Line, ...]
    member: bool = False  # of a group that is compared, too


@dataclass(frozen=True, slots=True)
class Comparison:
    """Run A, run B, and what there is to say of both."""

    left: Summary
    right: Summary
    paths: tuple[str, str]
    remarks: tuple[str, ...]  # read these first
    settings: tuple[tuple[str, str, str], ...]  # what differs: name, in A, in B
    arms: tuple[tuple[str, tuple[Pair, ...]], ...]  # policy -> groups, clients


def load(path: Path) -> Summary:
    """The summary of a run, by its folder or its `summary.json`. Raises FolderError."""
    file = _file(path)
    if (path / SWEEP_FILE).exists():
        raise FolderError(_sweep(path))
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


def _file(path: Path) -> Path:
    return path / "summary.json" if path.is_dir() else path


def _sweep(path: Path) -> str:
    runs = sorted(file.parent for file in path.glob("*/summary.json"))
    given = f"give one of its runs, such as {runs[0]}" if runs else "none of its runs is finished"
    return f"{path} is the folder of a sweep: {given}"


def compare(left: Path, right: Path) -> Comparison:
    """Reads two runs and holds them against each other. Raises FolderError."""
    a, b = load(left), load(right)
    if _file(left).resolve() == _file(right).resolve():
        raise FolderError(f"{left} is given twice, expected two runs")
    try:
        return Comparison(
            left=a,
            right=b,
            paths=(str(left), str(right)),
            remarks=tuple(_remarks(a, b)),
            settings=tuple(_settings(a, b)),
            arms=tuple(
                (policy, tuple(_pairs(arm, _arms(b)[policy])))
                for policy, arm in _arms(a).items()
                if policy in _arms(b)
            ),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise FolderError(f"{left} or {right} holds half a summary: {error!r}") from error


def origin(summary: Summary, path: str) -> str:
    """Which run that is, in a line."""
    about = summary["provenance"]
    when = about.get("date") or "no date"
    return f"{path}: {summary['name']}, revision {_revision(about)}, {when}"


def _revision(about: Summary) -> str:
    revision = about.get("git_revision")
    if not revision:
        return "unknown"
    return str(revision)[:7] + (" with changes" if about.get("git_modified") else "")


def _remarks(a: Summary, b: Summary) -> Iterator[str]:
    """What a reader must know before he believes a ratio."""
    here, there = a["provenance"], b["provenance"]
    if _some(here, MACHINE) != _some(there, MACHINE):
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
    if _some(here, SOFTWARE) != _some(there, SOFTWARE):
        yield "Versions of Python or of packages differ."
    if a["calibration"].get("fingerprint") != b["calibration"].get("fingerprint"):
        yield "The calibrations are of different victims or measures: costs have no common scale."
    elif not _same(a["calibration"], b["calibration"]):
        yield "The calibrations differ: the same query may have another price."
    if not _same(a["scenario"], b["scenario"]):
        yield "The scenarios differ."
    yield from _alone(a, b)


def _alone(a: Summary, b: Summary) -> Iterator[str]:
    """Policies and clients of one run only."""
    for run, mine, other in (("A", _arms(a), _arms(b)), ("B", _arms(b), _arms(a))):
        for policy, arm in mine.items():
            if policy not in other:
                yield f"Only in {run}: policy {policy}."
                continue
            known = _by_name(other[policy]["clients"])
            alone = [client for client in arm["clients"] if client["name"] not in known]
            if alone:
                yield f"Only in {run}, under {policy}: {_listed(alone)}."


def _listed(clients: list[Summary]) -> str:
    """Names of clients; several of one group in a word."""
    groups: dict[str, list[str]] = {}
    for client in clients:
        groups.setdefault(client.get("group") or client["name"], []).append(client["name"])
    return ", ".join(
        names[0] if len(names) == 1 else f"{len(names)} of {group}"
        for group, names in groups.items()
    )


def _arms(summary: Summary) -> dict[str, Summary]:
    return {arm["policy"]: arm for arm in summary["arms"]}


def _by_name(rows: Iterable[Summary]) -> dict[str, Summary]:
    return {row["name"]: row for row in rows}


def _pairs(left: Summary, right: Summary) -> Iterator[Pair]:
    """Groups of several clients that are in both arms, then all clients that are."""
    groups = _both(_groups(left), _groups(right))
    for name, a, b in groups:
        yield Pair(f"{name}, all", tuple(_lines(a, b)))
    crowds = {name for name, _, _ in groups}
    for name, a, b in _both(left["clients"], right["clients"]):
        yield Pair(name, tuple(_lines(a, b)), member=a.get("group") in crowds)


def _groups(arm: Summary) -> list[Summary]:
    """Those that are more than one client; summaries of before there were groups have none."""
    return [group for group in arm.get("groups", ()) if group["clients"] > 1]


def _both(left: Iterable[Summary], right: Iterable[Summary]) -> list[tuple[str, Summary, Summary]]:
    there = _by_name(right)
    return [(n, row, there[n]) for n, row in _by_name(left).items() if n in there]


def _lines(left: Summary, right: Summary) -> Iterator[Line]:
    for column in tables.COLUMNS[1:]:  # the first one is the name
        before, after = _value(column, left), _value(column, right)
        if before is None and after is None:
            continue
        a, b = (tables.NOTHING if v is None else column.form(v) for v in (before, after))
        yield Line(column.heading, column.meaning, a, b, change(column, before, after))


def _value(column: tables.Column, row: Summary) -> Any:
    """None, too, where a summary is older than the column."""
    try:
        return column.value(row)
    except KeyError:
        return None


def change(column: tables.Column, before: Any, after: Any) -> str:
    """What became of a value: a factor, points for a share, a difference where there is a zero.

    A value that would be shown as zero counts as zero: a ratio of such seconds is one of noise.
    """
    if before is None or after is None:
        return tables.NOTHING
    if isinstance(before, str) or isinstance(after, str):
        return "same" if before == after else "differs"
    if before == after:
        return "same"
    sign = "+" if after > before else "-"
    if column.heading in SHARES:
        return f"{sign}{100 * abs(after - before):.1f} points"
    zero = column.form(0)
    if not before or not after or zero in (column.form(before), column.form(after)):
        text = column.form(abs(after - before))
        return "same" if text == zero else sign + text
    factor = after / before
    return tables.ratio(factor) if factor >= 0.1 else f"{factor:.2g}×"  # noqa: RUF001


def _settings(a: Summary, b: Summary) -> Iterator[tuple[str, str, str]]:
    """Everything that was given, resolved, calibrated or around otherwise, by its dotted name."""
    for part in ("provenance", "scenario", "calibration"):
        yield from _differences(a[part], b[part], part)
    yield from _differences(_load(a), _load(b), "load average")


def _load(summary: Summary) -> dict[str, float]:
    return {arm["policy"]: arm["load"]["mean"] for arm in summary["arms"] if arm["load"]}


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


def _same(left: Any, right: Any) -> bool:
    return next(_differences(left, right, ""), None) is None


def _some(about: Summary, keys: tuple[str, ...]) -> list[Any]:
    return [about.get(key) for key in keys]


def _short(value: Any) -> str:
    if value is None:
        return tables.NOTHING
    if isinstance(value, float):
        return f"{value:.4g}"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
