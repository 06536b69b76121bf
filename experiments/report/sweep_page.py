"""The page of a sweep: one HTML file that links to the pages of its cells."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

from experiments import report
from experiments.folder import FolderError, read_sweep
from experiments.report import markup, sweep_summary, sweep_tables
from experiments.report import tables_old as tables
from experiments.report.markup import Cell, Heading
from experiments.report.sweep_findings import sentences
from experiments.report.sweep_tables import Summary


def write(folder: Path, *, cells: bool = False) -> Path:
    """Makes summary.json and report.html of a sweep's folder from the summaries of its cells.

    With `cells` theirs are made anew before, as far as they hold a run. Raises FolderError.
    """
    from experiments.report import sweep_figure  # with it comes matplotlib

    for cell in read_sweep(folder)["cells"] if cells else ():
        try:
            report.write(folder / cell["name"])
        except FolderError:
            continue  # the page says which are missing
    summary = sweep_summary.summarise(folder)
    drawings = sweep_figure.draw(summary)
    report.replace(folder / "summary.json", report.json_text(summary))
    report.replace(folder / "report.html", page(summary, drawings))
    return folder / "report.html"


def page(summary: Summary, drawings: list[Any]) -> str:
    """The page as HTML."""
    columns = sweep_tables.columns(summary)
    about = f"{summary['question']} {len(summary['cells'])} runs, one for each combination."
    return markup.page(
        "sweep.html",
        title=escape(f"powgate: {summary['name']}"),
        about=markup.prose(about.strip()),
        findings=markup.items(sentences(summary)),
        table=_table(summary, columns),
        meanings=markup.terms((column.heading, column.meaning) for column in columns),
        figures=markup.figures(drawings),
        command=escape(summary["command"]),
        caveat=escape(report.CAVEAT),
        provenance=markup.terms(report.origin(summary["provenance"])),
        scenario=escape(json.dumps(summary["scenario"], indent=2)),
    )


def _table(summary: Summary, columns: list[tables.Column]) -> str:
    names = sweep_tables.short(summary)
    headings = [
        Heading("run", "the page of this combination", words=True),
        *(Heading(word, field, words=True) for field, word in names.items()),
        Heading("policy", "of the server", words=True),
        Heading("client", "the client, or the group of them", words=True),
        *report.headed(columns),
    ]
    rows = []
    for number, cell in enumerate(summary["cells"], 1):
        changes = [_value(cell["changes"][field]) for field in names]
        first = [Cell(str(number), number, {str(number): f"{cell['name']}/report.html"}), *changes]
        if cell["missing"]:
            rest = [Cell(tables.NOTHING)] * (len(headings) - len(first) - 1)
            rows.append([Cell(str(number), number), *changes, Cell("missing"), *rest])
        for arm in cell["arms"]:
            for group in arm["groups"]:
                who = [Cell(arm["policy"], arm["policy"]), Cell(group["name"], group["name"])]
                rows.append([*first, *who, *report.cells(columns, group)])
    return markup.table(headings, rows)


def _value(given: Any) -> Cell:
    text = sweep_tables.value(given)
    return Cell(text, given if isinstance(given, int | float | str) else text)
