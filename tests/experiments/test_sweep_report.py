"""The summary, the sentences, the table and the page of a sweep."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console
from sweeps import ACCOUNTS, swept

from experiments import report
from experiments.folder import FolderError, read
from experiments.report import sweep_figure, sweep_findings, sweep_tables
from experiments.report import sweep_page as sweep_report
from experiments.report.summary import summarise as summarise_run
from experiments.report.sweep_summary import summarise


def test_what_a_sweep_says(folder: Path) -> None:
    summary = summarise(swept(folder, [*ACCOUNTS, {"clients.bob.accounts": 100}], missing=1))
    assert (summary["name"], summary["fields"]) == ("tiny-sweep", ["clients.bob.accounts"])
    assert summary["question"] == "What does it cost?"
    assert [cell["finished"] for cell in summary["cells"][:2]] == [True, True]
    assert sweep_findings.sentences(summary) == [
        "3 combinations: accounts is 1, 10 and 100.",
        # 10,000 + 30,000, then 20,000 + 30,000 hashes for 20 images; an honest one costs 20
        "Under policy rate the price ratio of bob goes from 100× (accounts = 1) to 125×"  # noqa: RUF001
        " (accounts = 10).",
        "Under policy rate the overhead of ann is 1.67× in every combination.",  # noqa: RUF001
        "Cell 3-x is missing: not run.",
    ]
    rows = list(sweep_tables.rows(summary))
    assert [(row.cell["name"], row.policy, row.group["name"]) for row in rows] == [
        (cell, policy, name)
        for cell in ("1-x", "2-x")
        for policy in ("none", "rate")
        for name in ("ann", "bob")
    ]
    lines = sweep_tables.markdown(summary).splitlines()
    assert lines[0].startswith("| `accounts` | policy | client | images | accuracy |")
    assert lines[-1].startswith("| 10 | rate | bob | 20 | 40.0 % |")
    assert len(lines) == 2 + 8


def test_without_thieves_two_things_are_said_of_honest_clients(folder: Path) -> None:
    summary = summarise(swept(folder, ACCOUNTS))
    for cell in summary["cells"]:
        for arm in cell["arms"]:
            del arm["groups"][1]
    summary["cells"][1]["arms"][1]["groups"][0]["latency"]["ask"]["p99"] = 0.9
    assert sweep_findings.sentences(summary)[1:] == [
        "Under policy rate the p99 latency of ann goes from 300 ms (accounts = 1) to 900 ms"
        " (accounts = 10).",
        "Under policy rate the overhead of ann is 1.67× in every combination.",  # noqa: RUF001
    ]


def test_swept_tables_stand_in_brackets_where_they_are_listed(folder: Path) -> None:
    solvers = [{"solver": "python"}, {"solver": "native", "threads": 0}]
    summary = summarise(swept(folder, [{"clients.bob": solver} for solver in solvers]))
    assert sweep_findings.sentences(summary)[0] == (
        "2 combinations: bob is (solver = python) and (solver = native, threads = 0)."
    )
    cells = summary["cells"]
    labels = [sweep_tables.label(summary, cell) for cell in cells]
    assert labels == ["solver = python", "solver = native, threads = 0"]


def test_the_page_of_a_sweep(folder: Path) -> None:
    out = swept(folder, [*ACCOUNTS, {"clients.bob.accounts": 100}], missing=1)
    (out / "1-x" / "report.html").write_text("")
    text = sweep_report.write(out).read_text(encoding="utf-8")
    links = dict.fromkeys(re.findall(r'<a href="([^"]*)"', text))
    assert list(links) == ["1-x/report.html", "2-x/report.html"]
    assert '<td class="word">missing</td>' in text
    assert '<td class="word" data-sort="10">10</td>' in text
    assert text.count("<svg ") == 1
    assert text.count("<script>") == 1
    assert json.loads((out / "summary.json").read_text()) == summarise(out)


def test_a_sweep_in_a_terminal(folder: Path) -> None:
    out = swept(folder, [{"a": "[/x]"}, {"a": [1, 2]}])  # no markup
    path = out / "2-x" / "rate" / "runner.jsonl"
    path.write_text("".join(path.read_text().splitlines(True)[:-1]))
    (out / "2-x" / "summary.json").write_text(report.json_text(summarise_run(read(out / "2-x"))))
    summary = summarise(out)
    sink = io.StringIO()
    Console(width=100, file=sink).print(sweep_tables.terminal(summary))
    found = [line.split() for line in sink.getvalue().splitlines()]
    assert ["[/x]", "rate", "bob", "40.0", "%", "40,000", "9.00", "300", "67.7×", "100×"] in found  # noqa: RUF001
    assert any(line[:5] == ["[1,", "2]", "none", "ann", "–"] for line in found)  # noqa: RUF001
    assert sweep_findings.sentences(summary)[-1] == "Cell 2-x did not come to its end."


def test_the_pages_of_the_cells_are_made_again_on_demand(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, made = swept(folder, ACCOUNTS), []
    monkeypatch.setattr(report, "write", lambda cell: made.append(cell.name))
    sweep_report.write(out)
    assert made == []
    sweep_report.write(out, cells=True)
    assert made == ["1-x", "2-x"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ([{"a.n": 1}, {"a.n": 2}], "a.n"),
        ([{"a.n": 1, "seed": 1}, {"a.n": 2.5, "seed": 2}], "a.n"),
        ([{"a.n": 1, "a.m": 1}, {"a.n": 2, "a.m": 3}], None),
        ([{"a.n": 1, "a.m": 3}, {"a.n": 2, "a.m": 3}], "a.n"),
        ([{"a.n": True}, {"a.n": False}], None),
        ([{"server": {"puzzle": "sha1"}}, {"server": {"puzzle": "sha256"}}], None),
    ],
)
def test_a_figure_is_drawn_against_the_one_number_that_was_swept(
    folder: Path, changes: list[dict[str, Any]], field: str | None
) -> None:
    summary = summarise(swept(folder, changes))
    assert sweep_figure.numeric(summary) == field


def test_figures_of_sweeps(folder: Path) -> None:
    out = swept(folder, ACCOUNTS)
    (drawn,) = sweep_figure.draw(summarise(out))
    ElementTree.fromstring(drawn.svg)
    for words in ("price ratio", "work (hashes)", "bob, rate", "accounts"):
        assert f">{words}<" in drawn.svg, words
    assert ">overhead, honest<" not in drawn.svg  # it did not change
    about = json.loads((out / "sweep.json").read_text())
    for cell, puzzle in zip(about["cells"], ("sha1", "sha256"), strict=True):
        cell["changes"] = {"server": {"puzzle": puzzle}}
    (out / "sweep.json").write_text(json.dumps(about))
    (drawn,) = sweep_figure.draw(summarise(out))
    assert ">puzzle = sha256<" in drawn.svg


def test_twelve_lines_look_different() -> None:
    assert len({sweep_figure._look(place) for place in range(36)}) == 36


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, "50 %"), (0.125, "12.5 %"), (1.0, "100 %"), (0.0, "0 %")]
)
def test_ticks_have_no_idle_zeros(value: float, text: str) -> None:
    accuracy = next(q for q in sweep_findings.QUANTITIES if q.axis == "accuracy")
    assert sweep_figure._tick(accuracy, value) == text


def test_without_cells_there_is_a_page_but_no_figure(folder: Path) -> None:
    text = sweep_report.write(swept(folder, ACCOUNTS, missing=2)).read_text(encoding="utf-8")
    assert "Cell 2-x is missing: not run." in text
    assert "<svg " not in text


def test_a_cell_of_another_format_is_missing(folder: Path) -> None:
    out = swept(folder, ACCOUNTS)
    path = out / "2-x" / "summary.json"
    path.write_text(path.read_text().replace('"format": 2', '"format": 1'))
    (out / "1-x" / "summary.json").write_text("{")
    first, second = summarise(out)["cells"]
    assert second["missing"] == "summary.json: format 1, expected 2"
    assert first["missing"].startswith("summary.json: not JSON (Expecting property name")


@pytest.mark.parametrize("text", ["{", "[]", '{"cells": []}', '{"given": {}, "cells": [{}]}'])
def test_a_file_that_describes_no_sweep_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(FolderError, match=r"is not the folder of a sweep: no sweep\.json"):
        summarise(tmp_path)
    (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(FolderError, match=r"sweep\.json does not describe a sweep"):
        summarise(tmp_path)
