"""What is committed of a run: made of its records, made again of its summary, and no more."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from edits import append, edit, end_servers, without
from meaning import assert_same_figure, assert_same_page
from sweeps import ACCOUNTS, swept

from experiments.docs import PageError, write_block
from experiments.records import FolderError, read
from experiments.report import figures, hardware_times, publish, readme_figure
from experiments.report.lines import Drawing
from experiments.report.publish import PublishError, committed, without_places
from experiments.summary import summarise
from pow.rate import DEVICES

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "docs" / "results" / "demo"
PUBLISHED = sorted(path.parent for path in (ROOT / "docs" / "results").glob("*/summary.json"))
ORIGIN = {
    "git_revision": "0123456789" * 4,
    "git_modified": False,
    "date": "2026-11-22T05:18:52+00:00",
    "cpu": "a processor",
    "cores": 2,
    "system": "Linux",
    "python": "3.11.7",
}
MODIFIED = {**ORIGIN, "git_modified": True}
UNKNOWN = {**ORIGIN, "git_revision": None}


def describe(folder: Path, **changes: Any) -> None:
    edit(folder / "scenario.json", lambda about: about.update(changes))


@pytest.fixture
def done(folder: Path) -> Path:
    """A run that came to its end, from a clean revision."""
    describe(folder, provenance=ORIGIN)
    end_servers(folder)
    return folder


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_committed_results_are_small_clean_and_of_no_machine_and_pages_say_what_they_say(
    folder: Path,
) -> None:
    text = (folder / "summary.json").read_text(encoding="utf-8")
    assert len(text.encode()) <= publish.LIMIT
    summary = json.loads(text)
    assert committed(summary) == summary
    assert without_places(summary["command"]) == summary["command"]
    assert not publish.modified_tree(summary)
    for name, made in publish.rendered(publish.read_published(folder)).items():
        same = assert_same_figure if name.endswith(".svg") else assert_same_page
        same(made, (folder / name).read_text(encoding="utf-8"), name)


def test_a_published_run(done: Path, tmp_path: Path) -> None:
    into = tmp_path / "docs" / "tiny"
    describe(done, command="python -m experiments run tiny --home /home/ann/x --out=here")
    publish.run(publish.Flags(done, into, title="A tiny theft"))
    page = (into / "README.md").read_text(encoding="utf-8")
    for part in (
        "# A tiny theft\n\n<!-- python -m experiments publish made this page",
        "\n\nWhat does it cost?\n\n",
        "![What an image costs](work.svg)",
        "| ann, rate | 400 | 229 µs |",  # 400 hashes
        "    python -m experiments run tiny\n",
        "Run from revision 0123456 on 2026-11-22: a processor, 2 cores, Linux, Python 3.11.7.",
    ):
        assert part in page, part
    names = sorted(path.name for path in into.iterdir())
    drawn = ["accuracy-by-images.svg", "accuracy-by-time.svg", "time.svg", "work.svg"]
    assert names == sorted(["README.md", *drawn, "summary.json"])

    before = {path: path.read_bytes() for path in into.iterdir()}
    for path in into.iterdir():
        if path.name != "summary.json":
            path.unlink()
    publish.remake(into)
    assert {path: path.read_bytes() for path in into.iterdir()} == before


def test_publishing_again_removes_figures_that_are_no_more(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    into = tmp_path / "tiny"
    names = ["time", "work"]
    monkeypatch.setattr(figures, "draw", lambda _: [Drawing(n, n, n, "<svg/>") for n in names])
    publish.publish(done, into)
    (into / "theirs.svg").write_text("made by somebody else")
    names.remove("work")
    publish.publish(done, into)
    assert sorted(path.name for path in into.glob("*.svg")) == ["theirs.svg", "time.svg"]


@pytest.mark.usefixtures("bare")
def test_a_modified_tree_is_said(done: Path, tmp_path: Path) -> None:
    describe(done, provenance=MODIFIED)
    publish.publish(done, tmp_path / "x", modified=True)
    assert "Run from a modified tree at 0123456" in (tmp_path / "x" / "README.md").read_text()


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda run, into: describe(run, provenance=MODIFIED), "the tree was modified"),
        (lambda run, into: describe(run, provenance=UNKNOWN), "the revision is not known"),
        (lambda run, into: without(run / "rate/runner.jsonl"), "rate did not come to its end"),
        (lambda run, into: (run / "rate/runner.jsonl").unlink(), "rate did not come to its end"),
        (lambda run, into: (run / "scenario.json").unlink(), "is not the folder of a run"),
        (lambda run, into: describe(run, question="x" * publish.LIMIT), "bytes, expected at most"),
        (lambda run, into: append(into / "a.tex"), r"x holds something else: a\.tex"),
        (lambda run, into: append(into / "README.md"), "is not the summary of a published run"),
        (lambda run, into: into.touch(), "x is not a folder"),
    ],
)
def test_what_is_not_published_leaves_nothing(
    done: Path, tmp_path: Path, spoil: Callable[[Path, Path], None], reason: str
) -> None:
    into = tmp_path / "x"
    spoil(done, into)
    before = sorted(into.iterdir()) if into.is_dir() else into.exists()
    with pytest.raises((PublishError, FolderError), match=reason):
        publish.publish(done, into)
    assert before == (sorted(into.iterdir()) if into.is_dir() else into.exists())


@pytest.mark.usefixtures("bare")
def test_a_published_sweep(done: Path, tmp_path: Path) -> None:
    out = swept(done, ACCOUNTS)
    publish.publish(out, tmp_path / "x")
    page = (tmp_path / "x" / "README.md").read_text(encoding="utf-8")
    for said in ("- 2 runs: accounts is 1, 10.", "| bob, rate, accounts = 10 | 50,000 |"):
        assert said in page
    assert "quantiles" not in (tmp_path / "x" / "summary.json").read_text()
    edit(tmp_path / "x" / "summary.json", lambda summary: summary.update(format=1))
    with pytest.raises(PublishError, match="format 1, expected 2"):
        publish.remake(tmp_path / "x")
    first = out / "1-x" / "summary.json"
    edit(first, lambda summary: summary["provenance"].update(git_modified=True))
    with pytest.raises(PublishError, match="modified when cell 1-x was run"):
        publish.publish(out, tmp_path / "y")
    first.unlink()
    with pytest.raises(PublishError, match=r"not finished: cell 1-x: no summary\.json"):
        publish.publish(out, tmp_path / "y")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("npz:/home/ann/data/mnist.npz", "npz:mnist.npz"),
        ('File "/home/ann/powgate/x.py", line 3', 'File "x.py", line 3'),
        ("https://example.org/a/b", "https://example.org/a/b"),
        ("docs/results/puzzles.json and/or ../x", "docs/results/puzzles.json and/or ../x"),
        ({"a": ["/tmp/x/y.toml", 1, True, None]}, {"a": ["y.toml", 1, True, None]}),
        (1.23456789, 1.23457),
        (123456789, 123456789),
    ],
)
def test_nothing_of_this_machine_is_committed(given: Any, kept: Any) -> None:
    assert committed(given) == kept


@pytest.mark.parametrize(
    "places", ["--home /x", "--out runs/1", "--home=/x --out=y", "--out 'a b' --home y"]
)
def test_a_command_without_places(places: str) -> None:
    whole = "python -m experiments run demo"
    assert without_places(f"{whole} {places}") == whole


def test_rates_elsewhere_are_those_of_the_committed_file_and_of_the_cards(done: Path) -> None:
    found = hardware_times.rates({"kind": "run", "scenario": {"server": {"puzzle": "sha256"}}})
    measured = json.loads((ROOT / "docs/results/puzzles.json").read_text())["rates"]["sha256"]
    assert {each["name"]: each["rate"] for each in found["sha256"]} == {
        "hashlib, one core": measured["peers"]["hashlib"],
        "native, one core": measured["rate"],
        "native, 2 cores": measured["wall"]["2"],
        **{device.name: device.rates["sha256"] for device in DEVICES},
    }
    found = hardware_times.rates({"kind": "run", "scenario": {"server": {"puzzle": "argon2id"}}})
    assert [each["name"] for each in found["argon2id"]][:2] == ["native, one core", "RTX 3090"]


# ── the README ───────────────────────────────────────────────────────────────────────────────────


def test_the_readme_shows_what_the_committed_run_found_in_few_columns() -> None:
    readme = (ROOT / "README.md").read_text()
    block = publish.readme_tables(DEMO).strip()
    shown = readme.partition("<!-- demo:begin -->")[2].partition("<!-- demo:end -->")[0]
    assert_same_page(shown.strip(), block)
    assert max(line.count("|") for line in block.splitlines()) - 1 <= 7
    for target in re.findall(r"\]\(([^)#]+)\)", readme):
        assert "://" in target or (ROOT / target).exists(), target


def test_a_block_is_replaced_and_the_rest_stays(tmp_path: Path) -> None:
    page = tmp_path / "p.md"
    page.write_text("a\n<!-- x:begin -->\nold\n<!-- x:end -->\nb\n")
    for _ in range(2):
        write_block(page, "x", "new\n")
        assert page.read_text() == "a\n<!-- x:begin -->\n\nnew\n\n<!-- x:end -->\nb\n"
    for broken in ("", "<!-- x:begin -->", "<!-- x:end --><!-- x:begin -->"):
        page.write_text(broken)
        with pytest.raises(PageError, match=r"p\.md has no block from <!-- x:begin --> to"):
            write_block(page, "x", "new")


def test_the_readmes_figure_is_what_the_committed_run_gives() -> None:
    summary = publish.read_published(DEMO)
    assert_same_figure(readme_figure.draw(summary), (DEMO / "readme.svg").read_text())
    assert "](docs/results/demo/readme.svg)" in (ROOT / "README.md").read_text()
    free, gated = (arm["clients"] for arm in summary["arms"])
    gated[0]["seconds"]["total"], gated[0]["slowdown"] = 7.5, 23.4
    gated[3]["seconds"]["total"], gated[3]["accuracy"] = 18.9, 0.414
    text = readme_figure.draw(summary)
    for said in ("7.50 s", "23.4× as long", "41.4 % after 18.9 s with the gate"):  # noqa: RUF001
        assert said in text
    free[3]["accuracy"] = None
    with pytest.raises(PublishError, match="no accuracy of 'copycat' under policy 'none'"):
        readme_figure.draw(summary)


def test_seconds_of_the_readmes_figure_are_those_of_asking(folder: Path) -> None:
    """Of the last surrogate, all of them; of one before, less what was asked in between."""
    bob = summarise(read(folder))["arms"][1]["clients"][1]
    # total 9; between the checkpoints at 6 and 16 seconds, 2 of them trained the second
    assert readme_figure.course(bob) == [(1.0, 0.3), (9.0, 0.4)]
