"""The page of a run or of a sweep: one HTML file that needs nothing else, made from records."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from core.documents import read_json
from core.learning.artifacts import write_atomically
from experiments.records import SWEEP_FILE, FolderError, read, read_sweep
from experiments.report.headlines import headlines
from experiments.report.tables import Column, by_policy, columns, rows, terminal
from experiments.summary import Summary, as_planned, summarise, summarise_sweep
from experiments.terminal import console

if TYPE_CHECKING:
    from experiments.report.lines import Drawing

CAVEAT = (
    "Work rests on this machine's calibration, seconds also on what else it did, accuracy on"
    " neither. The privacy cost is an information score, not a differential-privacy guarantee."
)
RECORDS = ("scenario.json", SWEEP_FILE, "*/*.jsonl", "*/logs/server.txt")
"""Files that a page leads to."""
IN_TERMINAL = {
    *("status", "accuracy", "work", "total (s)", "latency p99 (ms)", "overhead", "price ratio")
}
"""Headings of a sweep's columns that a terminal shows."""


@dataclass(frozen=True, slots=True)
class Flags:
    """Make summary, figures and page of a run or a sweep again, from its records."""

    folder: tyro.conf.Positional[Path]
    """The folder of a run, or of a sweep."""


def run(flags: Flags) -> None:
    """Makes the page of a run or of a sweep again, with those of its cells, and shows it."""
    write(flags.folder, cells=True)
    show(flags.folder)


def write(folder: Path, *, cells: bool = False) -> Path:
    """Makes summary.json, figures/*.svg and report.html of a folder; returns the page.

    Those of a sweep's cells are made if they are missing, with `cells` in any case. Raises
    FolderError for records that are not whole; nothing is written then.
    """
    from experiments.report import figures  # with it comes matplotlib

    if (folder / SWEEP_FILE).exists():
        for cell in (folder / each["name"] for each in read_sweep(folder)["cells"]):
            if cells or not (cell / "summary.json").exists():
                with suppress(FolderError):  # the page says which are missing
                    write(cell)
        summary = summarise_sweep(folder)
    else:
        summary = summarise(read(folder))
    drawings = figures.draw(summary)
    files = {
        "summary.json": json_text(summary),
        **{f"figures/{each.name}.svg": each.svg for each in drawings},
        "report.html": page(summary, drawings, folder),
    }
    for name, text in files.items():
        write_atomically(folder / name, text.encode(), private=True)
    return folder / "report.html"


def json_text(summary: Summary) -> str:
    """A summary as JSON with lists of numbers on one line each."""
    text = json.dumps(summary, indent=2, allow_nan=False)
    numbers = re.compile(r"\[\n[-+.\deE,\s]+\]")  # a string never holds a line break
    return numbers.sub(lambda found: " ".join(found[0].split()), text) + "\n"


@cache
def _environment() -> Environment:
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parents[1] / "templates"),
        autoescape=lambda name: name is None or not name.endswith(".md"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters["code"] = _code
    return templates


def _code(text: str) -> Markup:
    """What stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def render(template: str, **values: Any) -> str:
    """A template of experiments/templates, filled; all text in HTML is escaped."""
    return _environment().get_template(template).render(caveat=CAVEAT, **values)


def page(
    summary: Summary, drawings: Iterable[Drawing], folder: Path, *, live: str | None = None
) -> str:
    """The page as HTML, with links to the records in its folder; `live` says what the run is at."""
    groups, clients, everybody = columns(summary), [], []
    if summary["kind"] == "run":
        policy, client, *others = groups
        groups = [client, policy, *others]
        clients = [
            *columns(summary, "clients", detail=True),
            _linked(folder, "record", "what it wrote down", "clients/{}.jsonl"),
            _linked(folder, "log", "the output of its process", "logs/{}.txt"),
        ]
        everybody = rows(summary, "clients")
    found = [each for kind in RECORDS for each in sorted(folder.glob(kind))]
    return render(
        "report.html",
        summary=summary,
        headlines=headlines(summary),
        groups=groups,
        rows=rows(summary),
        clients=clients,
        everybody=everybody,
        troubles=[row for row in everybody if not as_planned(row)],
        drawings=list(drawings),
        records=["summary.json", *(each.relative_to(folder) for each in found)],
        json=lambda value: json.dumps(value, indent=2),
        live=live,
    )


def _linked(folder: Path, word: str, meaning: str, place: str) -> Column:
    """Links to a file of each client, if it is there: one that died early may have left none."""

    def link(row: Mapping[str, Any]) -> str | None:
        file = f"{row['policy']}/{place.format(row['name'])}"
        return file if (folder / file).exists() else None

    return Column(word, meaning, lambda row: word if link(row) else None, link=link)


def show(folder: Path) -> None:
    """Prints the tables and headlines of a run or of a sweep, and where its page is."""
    summary = read_json(folder / "summary.json")
    screen, shown, keep = console(160), columns(summary), 1
    if summary["kind"] == "sweep":
        keep = len(summary["fields"]) + 2
        shown = [c for at, c in enumerate(shown) if at < keep or c.heading in IN_TERMINAL]
        tables = {summary["name"]: rows(summary)}
    else:
        shown = shown[1:]  # the policy
        found = by_policy(rows(summary))
        tables = {f"{summary['name']}: policy {each}": found[each] for each in found}
    for title, lines in tables.items():
        for part in terminal(shown, lines, screen.width, title=title, keep=keep):
            screen.print(part)
    for line in headlines(summary):
        screen.print(line, highlight=False, markup=False)
    screen.print(f"page: {folder / 'report.html'}", soft_wrap=True, markup=False)
