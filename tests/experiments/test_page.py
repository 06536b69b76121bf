"""The page, the tables and the figures of a run and of a sweep."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import browser
import pytest
from edits import append, edit, without
from rich.console import Console
from sweeps import ACCOUNTS, swept

from core.drawing import INK
from experiments.records import FolderError, read
from experiments.report import figures, page
from experiments.report.headlines import headlines
from experiments.report.lines import look
from experiments.report.tables import NOTHING, columns, label, markdown, rows, terminal
from experiments.summary import summarise, summarise_sweep

SOLVERS = [{"clients.bob": {"solver": "python"}}, {"clients.bob": {"solver": "c", "threads": 0}}]


def test_the_page_says_what_the_run_says(folder: Path) -> None:
    text = page.write(folder).read_text(encoding="utf-8")
    for part in (
        "The victim is right on 90.0 % of held-out images.",
        "python -m experiments run tiny",
        "What does it cost?\nlenet-thin on digits",
        "1.00 on average, 1.50 at most",
        "numpy 2",
        "prefers-color-scheme: dark",
    ):
        assert escape(part) in text, part
    names = ["accuracy-by-images.svg", "accuracy-by-time.svg", "time.svg", "work.svg"]
    assert sorted(each.name for each in (folder / "figures").iterdir()) == names
    assert text.count("<svg ") == 4
    assert json.loads((folder / "summary.json").read_text()) == summarise(read(folder))
    # It needs nothing else.
    namespaces = r'xmlns(:xlink)?="http://www\.w3\.org/[^"]*"'
    assert "://" not in re.sub(namespaces, "", text)
    assert not re.search(r"<(img|iframe)\b|@import|url\((?!#)|\bsrc=|\bimport\b|fetch", text)
    assert text.count("<script") == 1
    # The same records make the same files.
    files = [folder / "summary.json", folder / "report.html", *(folder / "figures").iterdir()]
    before = {path: path.read_bytes() for path in files}
    page.write(folder)
    assert before == {path: path.read_bytes() for path in files}


@pytest.mark.usefixtures("bare")
def test_text_from_outside_is_escaped(folder: Path) -> None:
    evil = "<script>alert(1)</script>"

    def spoil(about: dict[str, Any]) -> None:
        about["command"] = about["resolved"]["name"] = about["provenance"]["host"] = evil
        about["question"] = f"`{evil}`"

    edit(folder / "scenario.json", spoil)
    crashed = {"kind": "exit", "client": "bob", "at": 9.0, "code": 1, "stopped": False}
    for arm in ("none", "rate"):
        append(
            folder / arm / "runner.jsonl",
            {**crashed, "tail": evil},
            {"kind": "server", "code": 5},
        )
    text = page.write(folder).read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "<code>&lt;script&gt;alert" in text
    assert "Not every client finished: bob under none (crashed), bob under rate" in text
    assert "The server under rate ended with exit code 5." in text


def test_a_broken_folder_leaves_no_half_report(folder: Path) -> None:
    (folder / "rate" / "server.jsonl").unlink()
    with pytest.raises(FolderError, match=r"server\.jsonl"):
        page.write(folder)
    assert not (folder / "report.html").exists()
    assert not (folder / "summary.json").exists()


@pytest.mark.usefixtures("bare")
def test_a_page_shows_groups_first_links_what_is_there_and_sorts_by_value(crowd: Path) -> None:
    (crowd / "rate" / "logs").mkdir()
    (crowd / "rate" / "logs" / "bob.txt").write_text("last words")
    text = page.write(crowd).read_text(encoding="utf-8")
    groups, _, every = text.partition("<details><summary>Every client, all columns: 7</summary>")
    assert ">crowd</td>" in groups
    assert "crowd-1" not in groups
    for n in range(1, 6):
        assert f">crowd-{n}</td>" in every
        assert f'href="rate/clients/crowd-{n}.jsonl"' in every
    links = set(re.findall(r'<a href="([^"]*)"', text))
    assert {"rate/logs/bob.txt", "none/server.jsonl", "scenario.json", "summary.json"} <= links
    assert all((crowd / link).exists() for link in links)
    assert '<td data-sort="40000">40,000</td>' in text
    assert f"<td>{NOTHING}</td>" in text  # no value: it comes last


@pytest.mark.slow
@pytest.mark.usefixtures("bare")
@browser.needs_browser
def test_a_click_on_a_heading_sorts_the_table(folder: Path) -> None:
    written = page.write(folder)
    clicks = """<script>
      const table = document.querySelector("table");
      const cells = [...table.tHead.rows[0].cells];
      const order = () => [...table.tBodies[0].rows].map(row => row.cells[0].innerText).join(" ");
      const found = [];
      for (const name of ["client", "accuracy", "accuracy"]) {
        const heading = cells.find(cell => cell.innerText === name);
        heading.firstElementChild.click();
        found.push(order() + " " + heading.getAttribute("aria-sort"));
      }
      document.title = found.join("; ");
    </script>"""
    written.write_text(written.read_text().replace("</body>", f"{clicks}</body>"))
    document = browser.shown(written.as_uri(), folder / "c")
    assert re.findall("<title>(.*)</title>", document) == [
        "ann ann bob bob ascending; bob bob ann ann ascending; bob bob ann ann descending"
    ]


@pytest.mark.usefixtures("bare")
def test_the_verb_shows_tables_and_headlines(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page.run(page.Flags(folder))
    shown = capsys.readouterr().out
    assert re.search(r"bob +20 +40\.0 % +45\.0 %", shown)
    page.run(page.Flags(swept(folder, ACCOUNTS)))
    shown = capsys.readouterr().out
    assert re.search(r"10 +rate +bob +40\.0 % +50,000", shown)
    assert "latency p50" not in shown
    with pytest.raises(FolderError, match=r"x is not the folder of a run: no scenario\.json"):
        page.run(page.Flags(folder / "x"))


# ── figures ──────────────────────────────────────────────────────────────────────────────────────


def texts(svg: str) -> set[str]:
    """The words in a figure, which is XML, and whose ink follows the page."""
    assert "currentColor" in svg
    assert INK not in svg
    return {(each.text or "").strip() for each in ElementTree.fromstring(svg).iter()}


def test_figures_show_what_there_is(folder: Path) -> None:
    drawings = {each.name: texts(each.svg) for each in figures.draw(summarise(read(folder)))}
    assert {"bob", "the victim", "policy none", "policy rate"} <= drawings["accuracy-by-images"]
    assert "ann" not in drawings["accuracy-by-time"]
    assert {"ann", "bob", "policy rate"} <= drawings["work"]
    assert {"ann, none: 0.60 s", "solving"} <= drawings["time"]
    for arm in ("none", "rate"):
        (folder / arm / "evaluation.jsonl").unlink()
    (folder / "rate" / "runner.jsonl").unlink()
    assert [each.name for each in figures.draw(summarise(read(folder)))] == ["time"]


def test_many_honest_clients_are_drawn_as_distributions(crowd: Path) -> None:
    drawn = {each.name: texts(each.svg) for each in figures.draw(summarise(read(crowd)))}
    assert len(drawn) == 6
    assert {"crowd, rate", "slowdown, measured"} <= drawn["overhead"]
    assert "crowd, none" not in drawn["overhead"]  # it is 1 by definition
    assert {"crowd, none", "crowd, rate", "without solving"} <= drawn["latency"]


def test_36_lines_look_different() -> None:
    assert len({look(place) for place in range(36)}) == 36


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ([{"a.n": 1, "seed": 1}, {"a.n": 2.5, "seed": 2}], "a.n"),
        ([{"a.n": 1, "a.m": 1}, {"a.n": 2, "a.m": 3}], None),
        ([{"a.n": 1, "a.m": 3}, {"a.n": 2, "a.m": 3}], "a.n"),
        ([{"a.n": True}, {"a.n": False}], None),
        ([{"server": {"puzzle": "sha1"}}, {"server": {"puzzle": "sha256"}}], None),
    ],
)
def test_a_sweep_is_drawn_against_the_one_number_that_was_swept(
    changes: list[dict[str, Any]], field: str | None
) -> None:
    cells = [{"changes": each} for each in changes]
    assert figures.numeric({"fields": list(changes[0]), "cells": cells}) == field


@pytest.mark.parametrize(("changes", "words"), [(ACCOUNTS, "accounts"), (SOLVERS, "solver = c")])
def test_figures_of_sweeps(folder: Path, changes: list[dict[str, Any]], words: str) -> None:
    (drawn,) = figures.draw(summarise_sweep(swept(folder, changes)))
    found = texts(drawn.svg)
    assert {"price ratio", "work", "bob, rate"} <= found
    assert any(words in each for each in found)
    assert "overhead, honest" not in found  # it did not change


# ── tables and sweeps ────────────────────────────────────────────────────────────────────────────


def shown(tables: Iterator[Any], width: int) -> list[list[str]]:
    """The lines of tables as a terminal of that width shows them, in words."""
    console = Console(width=width)
    with console.capture() as capture:
        for table in tables:
            console.print(table)
    return [re.split(r"\s{2,}", line.strip()) for line in capture.get().splitlines()]


def test_a_table_is_the_same_in_markdown_and_in_a_terminal_of_any_width(folder: Path) -> None:
    summary = summarise(read(folder))
    found = columns(summary)[1:]
    rate = [row for row in rows(summary) if row["policy"] == "rate"]
    bob = [
        *("bob", "20", "40.0 %", "45.0 %", "0.600", "40,000", "2,000", "9.00"),
        *("300", "300", "5,970", "67.7×", "15.0×", "100×"),  # noqa: RUF001
    ]
    assert markdown(found, rate).splitlines()[-1] == f"| {' | '.join(bob)} |"
    assert bob in shown(terminal(found, rate, 200), 200)
    parts = [line for line in shown(terminal(found, rate, 60), 60) if line[0] == "bob"]
    assert len(parts) > 1
    assert [cell for part in parts for cell in part[1:]] == bob[1:]


@pytest.mark.usefixtures("bare")
def test_what_a_sweep_says(folder: Path) -> None:
    out = swept(folder, [*ACCOUNTS, {"clients.bob.accounts": 100}], missing=1)
    summary = summarise_sweep(out)
    assert (summary["name"], summary["fields"]) == ("tiny-sweep", ["clients.bob.accounts"])
    assert headlines(summary) == [
        "3 runs: accounts is 1, 10, 100.",
        "Cell 3-x: not run.",
    ]
    lines = markdown(columns(summary), rows(summary)).splitlines()
    assert lines[0].startswith("| `accounts` | policy | client | images | accuracy |")
    assert lines[-1].startswith("| 10 | rate | bob | 20 | 40.0 % |")
    assert len(lines) == 2 + 8

    (out / "1-x" / "summary.json").unlink()  # pages of cells are made if they are missing
    text = page.write(out).read_text(encoding="utf-8")
    assert [(out / cell / "report.html").exists() for cell in ("1-x", "2-x")] == [True, False]
    page.write(out, cells=True)  # or wanted
    assert (out / "2-x" / "report.html").exists()
    links = dict.fromkeys(re.findall(r'<a href="(\d[^"]*)"', text))
    assert list(links) == ["1-x/report.html", "2-x/report.html"]
    assert json.loads((out / "summary.json").read_text()) == summary


def test_swept_tables_are_named_and_shown_without_markup(folder: Path) -> None:
    summary = summarise_sweep(swept(folder, [*SOLVERS, {"clients.bob": "[/x]"}]))
    labels = [label(summary, cell) for cell in summary["cells"]]
    assert labels == ["solver = python", "solver = c, threads = 0", "bob = [/x]"]
    found = shown(terminal(columns(summary)[:4], rows(summary), 100), 100)
    assert ["[/x]", "rate", "bob", "20"] in found


def test_cells_that_cannot_be_read_are_missing(folder: Path) -> None:
    out = swept(folder, [*ACCOUNTS, {"clients.bob.accounts": 100}])
    (out / "1-x" / "summary.json").write_text("{")
    edit(out / "2-x" / "summary.json", lambda summary: summary.update(format=1))
    without(out / "3-x" / "rate" / "runner.jsonl")
    (out / "3-x" / "summary.json").write_text(page.json_text(summarise(read(out / "3-x"))))
    summary = summarise_sweep(out)
    first, second, third = summary["cells"]
    assert first["missing"].startswith("summary.json: not JSON (Expecting property name")
    assert second["missing"] == "summary.json: format 1, expected 2"
    assert (third["missing"], third["finished"]) == (None, False)
    assert headlines(summary)[-1] == "Cell 3-x: did not come to its end."


@pytest.mark.parametrize("text", ["{", "[]", '{"cells": []}', '{"given": {}, "cells": [{}]}'])
def test_a_file_that_describes_no_sweep_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(FolderError, match=r"is not the folder of a sweep: no sweep\.json"):
        summarise_sweep(tmp_path)
    (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(FolderError, match=r"sweep\.json does not describe a sweep"):
        summarise_sweep(tmp_path)
