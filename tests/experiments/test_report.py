"""The page, the table and the figures of a run."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from html import escape
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console
from rich.table import Table

from experiments import report
from experiments.folder import FolderError, read
from experiments.report import figures, labels, markup
from experiments.report import tables_old as tables
from experiments.report.summary import summarise


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages without figures, which take most of the time."""
    monkeypatch.setattr(figures, "draw", lambda summary: [])


def test_the_page_says_what_the_run_says(folder: Path) -> None:
    text = report.write(folder).read_text(encoding="utf-8")
    for part in (
        "an image cost bob 100× the work of an honest one",  # noqa: RUF001
        "policy rate took 1.50× as long for ann (0.90 s for 20 images) and",  # noqa: RUF001
        "15.0× as long for bob (9.00 s for 20 images)",  # noqa: RUF001
        "right on 90.0 % and bob's surrogate on 40.0 % (fidelity 45.0 %, 20 images)",
        "python -m experiments run tiny",
        "What does it cost? lenet-thin on digits",
        "1.00 on average, 1.50 at most",
        "numpy 2",
        "prefers-color-scheme: dark",
    ):
        assert escape(part) in text, part
    assert text.count("<svg ") == 4
    assert sorted(p.name for p in (folder / "figures").iterdir()) == [
        "accuracy-by-images.svg",
        "accuracy-by-time.svg",
        "time.svg",
        "work.svg",
    ]
    assert json.loads((folder / "summary.json").read_text()) == summarise(read(folder))


def test_the_page_needs_nothing_else(folder: Path) -> None:
    text = report.write(folder).read_text(encoding="utf-8")
    names = r'xmlns(:xlink)?="http://www\.w3\.org/[^"]*"'  # names, not addresses: nobody asks them
    assert "://" not in re.sub(names, "", text)
    assert not re.search(r"<(link|img|iframe)\b|@import|url\((?!#)|\bsrc=|\bimport\b|fetch", text)
    assert text.count("<script") == text.count("<script>\n// A click on a heading") == 1


@pytest.mark.usefixtures("bare")
def test_text_from_outside_is_escaped(folder: Path) -> None:
    evil = "<script>alert(1)</script>"
    about = json.loads((folder / "scenario.json").read_text())
    about["command"] = about["resolved"]["name"] = about["provenance"]["host"] = evil
    (folder / "scenario.json").write_text(json.dumps(about))
    for arm in ("none", "rate"):
        runner = folder / arm / "runner.jsonl"
        end = json.loads(runner.read_text().splitlines()[-1])
        with runner.open("a") as file:
            file.write(json.dumps({**end, "code": 1, "tail": evil}) + "\n")
            file.write('{"kind": "server", "code": 5}\n')
    text = report.write(folder).read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text
    assert "Not every client finished: bob under none (crashed) and bob under rate" in text
    assert "The server under rate did not end well (exit code 5)." in text


def test_the_same_records_make_the_same_files(folder: Path) -> None:
    report.write(folder)
    files = [folder / "summary.json", folder / "report.html", *(folder / "figures").iterdir()]
    before = {path: path.read_bytes() for path in files}
    report.write(folder)
    assert before == {path: path.read_bytes() for path in files}


def test_a_broken_folder_leaves_no_half_report(folder: Path) -> None:
    (folder / "rate" / "server.jsonl").unlink()
    with pytest.raises(FolderError, match=r"server\.jsonl"):
        report.write(folder)
    assert not (folder / "report.html").exists()
    assert not (folder / "summary.json").exists()


def test_figures_are_xml_and_ink_follows_the_page(folder: Path) -> None:
    drawings = figures.draw(summarise(read(folder)))
    assert len(drawings) == 4
    for drawing in drawings:
        ElementTree.fromstring(drawing.svg)
        assert "currentColor" in drawing.svg
        assert figures.INK not in drawing.svg
    assert "the victim" in drawings[0].svg


def test_without_thieves_or_work_there_is_less_to_draw(folder: Path) -> None:
    for arm in ("none", "rate"):
        (folder / arm / "evaluation.jsonl").unlink()
    (folder / "rate" / "runner.jsonl").unlink()
    summary = summarise(read(folder))
    assert [drawing.name for drawing in figures.draw(summary)] == ["time"]
    assert "accuracy" not in {c.heading for c in tables.shown(summary)}


def test_many_honest_clients_are_drawn_as_distributions(crowd: Path) -> None:
    summary = summarise(read(crowd))
    drawn = {drawing.name: drawing.svg for drawing in figures.draw(summary)}
    assert len(drawn) == 6
    for name, words in {
        "overhead": ("crowd, rate", "slowdown, measured"),
        "latency": ("crowd, none", "crowd, rate", "without solving"),
    }.items():
        ElementTree.fromstring(drawn[name])
        for word in words:
            assert f">{word}<" in drawn[name], word
    assert ">crowd, none<" not in drawn["overhead"]  # it is 1 by definition
    assert drawn["work"].count(">crowd<") == 1  # one label for the group
    for arm in summary["arms"]:
        arm["groups"][2]["clients"] = 4
        arm["groups"][2]["quantiles"] = None
    assert len(figures.draw(summary)) == 4


@pytest.mark.usefixtures("bare")
def test_a_page_of_many_clients_shows_their_groups_first(crowd: Path) -> None:
    text = report.write(crowd).read_text(encoding="utf-8")
    groups, _, every = text.partition("<details><summary>Every client, all columns: 7</summary>")
    assert ">crowd</td>" in groups
    assert "crowd-1" not in groups
    for n in range(1, 6):
        assert f">crowd-{n}</td>" in every
        assert f'href="rate/clients/crowd-{n}.jsonl"' in every


@pytest.mark.usefixtures("bare")
def test_links_lead_to_what_is_there(folder: Path) -> None:
    log = folder / "rate" / "logs" / "bob.txt"
    log.parent.mkdir()
    log.write_text("last words")
    text = report.write(folder).read_text(encoding="utf-8")
    links = set(re.findall(r'<a href="([^"]*)"', text))
    assert {"rate/logs/bob.txt", "none/server.jsonl", "scenario.json", "summary.json"} <= links
    for link in links:
        assert (folder / link).exists(), link
    assert "none/logs/bob.txt" not in links


@pytest.mark.usefixtures("bare")
def test_cells_are_sorted_by_value_not_by_text(folder: Path) -> None:
    text = report.write(folder).read_text(encoding="utf-8")
    assert '<td data-sort="40000">40,000</td>' in text
    assert f"<td>{tables.NOTHING}</td>" in text  # no value: it comes last
    assert text.count('aria-sort="none"') == text.count('<th scope="col"')


CHROMIUM = shutil.which("chromium")


@pytest.mark.usefixtures("bare")
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")
def test_a_click_on_a_heading_sorts_the_table(folder: Path) -> None:
    page = report.write(folder)
    clicks = """<script>
      const table = document.querySelector("table");
      const [client, , , accuracy] = table.tHead.rows[0].cells;
      const order = () => [...table.tBodies[0].rows].map(row => row.cells[0].innerText).join(" ");
      const found = [];
      for (const heading of [client, accuracy, accuracy]) {
        heading.firstElementChild.click();
        found.push(order() + " " + heading.getAttribute("aria-sort"));
      }
      document.title = found.join("; ");
    </script>"""
    page.write_text(page.read_text().replace("</body>", f"{clicks}</body>"))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--dump-dom"]
    flags += ["--disable-background-networking", "--disable-sync", f"--user-data-dir={folder}/c"]
    done = subprocess.run(
        [str(CHROMIUM), *flags, page.as_uri()], capture_output=True, text=True, timeout=60
    )
    assert re.findall("<title>(.*)</title>", done.stdout) == [
        "ann ann bob bob ascending; bob bob ann ann ascending; bob bob ann ann descending"
    ]


def test_labels_are_pushed_apart() -> None:
    assert labels.spread([0, 50], 10) == [0, 50]
    assert labels.spread([50, 51, 0], 10) == [45.5, 55.5, 0]
    assert labels.spread([5, 5, 5], 10) == [-5, 5, 15]


def test_the_terminal_table_has_a_row_a_client(folder: Path) -> None:
    summary = summarise(read(folder))
    (table,) = tables.terminal(summary, summary["arms"][1], 200)
    assert cells(table, "bob", 200) == [
        *("bob", "20", "40.0 %", "45.0 %", "0.600", "40,000", "2,000", "9.00"),
        *("300", "300", "5,970", "67.7×", "15.0×", "100×"),  # noqa: RUF001
    ]
    parts = tables.terminal(summary, summary["arms"][1], 80)
    rows = [cells(table, "bob", 80) for table in parts]
    assert [row[0] for row in rows] == ["bob"] * 2
    assert sum(len(row) - 1 for row in rows) == 14 - 1


def cells(table: Table, name: str, width: int) -> list[str]:
    """A client's row of a table as a terminal of that width shows it."""
    sink = io.StringIO()
    Console(width=width, file=sink).print(table)
    row = next(line for line in sink.getvalue().splitlines() if line.strip().startswith(name))
    return re.split(r"\s{2,}", row.strip())


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (99_999, "99,999"), (123_456, "123 k"), (2_345_678, "2.35 M"), (6e9, "6.00 G")],
)
def test_counts_are_short(value: float, text: str) -> None:
    assert tables.count(value) == text


def test_report_on_the_command_line(folder: Path) -> None:
    command = [sys.executable, "-m", "experiments", "report"]
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=True)
    assert "price" in done.stdout
    assert "bob" in done.stdout
    done = subprocess.run([*command, str(folder / "x")], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"error: {folder / 'x'} is not the folder of a run: no scenario.json\n"


def test_words_between_backticks_are_code():
    assert markup.prose("is `a<b` or ` alone") == "is <code>a&lt;b</code> or ` alone"
