"""The page of a run: one HTML file that needs nothing else, made from records alone."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from core import private
from core.documents import read_json
from experiments import folder as folders
from experiments.report import markup
from experiments.report import tables_old as tables
from experiments.report.findings import sentences
from experiments.report.markup import Cell, Heading
from experiments.report.summary import as_planned, summarise
from experiments.terminal import console, fitted

if TYPE_CHECKING:
    from experiments.report.figures import Drawing

CAVEAT = (
    "Work rests on this machine's calibration, seconds also on what else it did, accuracy on"
    " neither. The privacy cost is an information score, not a differential-privacy guarantee."
)
Summary = Mapping[str, Any]


def write(folder: Path) -> Path:
    """Makes summary.json, figures/*.svg and report.html of a run folder; returns the page.

    Raises FolderError for a folder whose records are not whole; nothing is written then.
    """
    from experiments.report import figures  # with it comes matplotlib

    summary = summarise(folders.read(folder))
    drawings = figures.draw(summary)
    text = page(summary, drawings, folder)
    replace(folder / "summary.json", json_text(summary))
    private.folder(folder / "figures")
    for drawing in drawings:
        replace(folder / "figures" / f"{drawing.name}.svg", drawing.svg)
    replace(folder / "report.html", text)
    return folder / "report.html"


def replace(path: Path, text: str) -> None:
    """Replaces a file at once, so that a reader never sees half of it."""
    part = path.with_name(path.name + ".part")
    with open(part, "w", encoding="utf-8", opener=private.opener) as file:
        file.write(text)
    os.replace(part, path)


def json_text(summary: Summary) -> str:
    """A summary as JSON with lists of numbers on one line each."""
    text = json.dumps(summary, indent=2, allow_nan=False)
    numbers = re.compile(r"\[\n[-+.\deE,\s]+\]")  # a string never holds a line break
    return numbers.sub(lambda found: " ".join(found[0].split()), text) + "\n"


def page(summary: Summary, drawings: Iterable[Drawing], folder: Path) -> str:
    """The page as HTML, with links to the records in its folder."""
    scenario = summary["scenario"]
    victim = summary["victim"]
    about = f"{victim['network']} on {victim['dataset']}, measure {scenario['server']['measure']}"
    about += f", seed {scenario['seed']}"
    if victim["accuracy"] is not None:
        about += f"; the victim is right on {tables.percent(victim['accuracy'])} of held-out images"
    about = f"{summary['question']} {about}".strip()
    columns = tables.shown(summary, detail=True)
    return markup.page(
        "report.html",
        title=escape(f"powgate: {summary['name']}"),
        about=markup.prose(about + "."),
        findings=markup.items(sentences(summary)),
        tables=_tables(summary, folder),
        troubles="\n".join(_troubles(summary)),
        meanings=markup.terms((column.heading, column.meaning) for column in columns),
        figures=markup.figures(drawings),
        command=escape(summary["command"]),
        caveat=escape(CAVEAT),
        provenance=markup.terms(origin(summary["provenance"], summary["arms"])),
        records="\n".join(_records(summary, folder)),
        calibration=escape(json.dumps(summary["calibration"], indent=2)),
        scenario=escape(json.dumps(scenario, indent=2)),
    )


def _tables(summary: Summary, folder: Path) -> str:
    """The groups, and a client alone is one; then, folded away, every client with all there is."""
    many = len(summary["arms"][0]["clients"])
    return (
        f"<h2>Clients</h2>\n{_table(summary, 'groups', folder)}\n"
        f"<details><summary>Every client, all columns: {many}</summary>\n"
        f"{_table(summary, 'clients', folder)}</details>"
    )


def _table(summary: Summary, of: str, folder: Path) -> str:
    columns = tables.shown(summary, of, detail=of == "clients")
    headings = headed(columns)
    headings.insert(1, Heading("policy", "of the server", words=True))
    rows, links = [], []
    for arm in summary["arms"]:
        for each in arm[of]:
            row = cells(columns, each)
            row.insert(1, Cell(arm["policy"], arm["policy"]))
            rows.append(row)
            links.append(Cell("", None, _links(folder, arm["policy"], each["name"])))
    if any(link.links for link in links):  # there are none of groups
        headings.append(Heading("records", "what it and the runner wrote down", words=True))
        rows = [[*row, link] for row, link in zip(rows, links, strict=True)]
    return markup.table(headings, rows)


def headed(columns: Iterable[tables.Column]) -> list[Heading]:
    """The headings of a table's columns."""
    return [Heading(c.heading, c.meaning, words=c.form is str) for c in columns]


def cells(columns: Iterable[tables.Column], row: Mapping[str, Any]) -> list[Cell]:
    """What a client or a group has in these columns."""
    return [Cell(tables.cell(column, row), column.value(row)) for column in columns]


def _links(folder: Path, policy: str, name: str) -> dict[str, str]:
    """Addresses of what there is of a client: one that died early may have left nothing."""
    files = {"record": f"{policy}/clients/{name}.jsonl", "log": f"{policy}/logs/{name}.txt"}
    return {word: file for word, file in files.items() if (folder / file).exists()}


def _records(summary: Summary, folder: Path) -> Iterable[str]:
    files = ["scenario.json", "summary.json"]
    for arm in summary["arms"]:
        kinds = ("server", "runner", "load", "evaluation")
        files += [f"{arm['policy']}/{kind}.jsonl" for kind in kinds]
        files.append(f"{arm['policy']}/logs/server.txt")
    for file in files:
        if file == "summary.json" or (folder / file).exists():
            yield f'<a href="{escape(file)}">{escape(file)}</a>'


def _troubles(summary: Summary) -> Iterable[str]:
    for arm in summary["arms"]:
        for client in arm["clients"]:
            if not as_planned(client):
                who = f"{client['name']} under {arm['policy']}: {client['status']}"
                reason = client["reason"] or tables.NOTHING
                yield f'<p class="warn">{escape(who)}</p><pre>{escape(reason)}</pre>'


def origin(
    provenance: Mapping[str, Any], arms: Iterable[Summary] = ()
) -> Iterable[tuple[str, str]]:
    """Where something was run, as terms and what they mean."""
    for key, value in provenance.items():
        if key == "seed" and value is None:  # of a sweep
            continue
        if isinstance(value, Mapping):
            value = ", ".join(f"{name} {version}" for name, version in value.items() if version)
        yield key.replace("_", " "), "unknown" if value is None else str(value)
    for arm in arms:
        if arm["load"]:
            load = arm["load"]
            yield (
                f"load average, {arm['policy']}",
                f"{load['mean']:.2f} on average, {load['max']:.2f} at most",
            )


@dataclass(frozen=True, slots=True)
class Flags:
    """Make summary, figures and page of a run or a sweep again, from its records."""

    folder: tyro.conf.Positional[Path]
    """The folder of a run, or of a sweep."""


def run(flags: Flags) -> None:
    """Makes the page of a run or of a sweep again."""
    write_any(flags.folder, cells=True)
    show(flags.folder)


def write_any(folder: Path, *, cells: bool = False) -> Path:
    """Makes the page of a run, or of a sweep (with `cells`, also those of its cells)."""
    from experiments.report import sweep_page

    if (folder / folders.SWEEP_FILE).exists():
        return sweep_page.write(folder, cells=cells)
    return write(folder)


def show(folder: Path) -> None:
    """Prints the tables and findings of a run or of a sweep."""
    from experiments.report import sweep_findings, sweep_tables

    summary = read_json(folder / "summary.json")
    terminal = console(160)
    if summary["kind"] == "sweep":
        table = sweep_tables.terminal(summary)
        for part in fitted(table, terminal.width, keep=sweep_tables.labels(summary)):
            terminal.print(part)
        said = sweep_findings.sentences(summary)
    else:
        for arm in summary["arms"]:
            for table in tables.terminal(summary, arm, terminal.width):
                terminal.print(table)
        said = sentences(summary)
    for sentence in said:
        terminal.print(sentence, highlight=False, markup=False)
    terminal.print(f"page: {folder / 'report.html'}", soft_wrap=True, markup=False)
