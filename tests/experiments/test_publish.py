"""What is committed of a run: made of its records, made again of its summary, and no more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from meaning import assert_same_figure, assert_same_page
from sweeps import ACCOUNTS, swept

from experiments.folder import FolderError
from experiments.report import elsewhere, figures, publish
from experiments.report.publish import PublishError, committed, without_places
from pow.rate import DEVICES

ROOT = Path(__file__).parents[2]
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


def describe(folder: Path, **changes: Any) -> None:
    path = folder / "scenario.json"
    about = json.loads(path.read_text())
    path.write_text(json.dumps({**about, **changes}))


@pytest.fixture
def done(folder: Path) -> Path:
    """A run that came to its end, from a clean revision."""
    describe(folder, provenance=ORIGIN)
    for policy in ("none", "rate"):
        with (folder / policy / "runner.jsonl").open("a") as file:
            file.write('{"kind": "server", "code": 0}\n')
    return folder


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages without figures, which take most of the time."""
    monkeypatch.setattr(figures, "draw", lambda summary: [])


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_committed_pages_say_what_their_summaries_say(folder: Path) -> None:
    for name, text in publish.rendered(publish.read(folder)).items():
        same = assert_same_figure if name.endswith(".svg") else assert_same_page
        same(text, (folder / name).read_text(encoding="utf-8"), name)


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_committed_results_are_small_clean_and_of_no_machine(folder: Path) -> None:
    text = (folder / "summary.json").read_text(encoding="utf-8")
    assert len(text.encode()) <= publish.LIMIT
    summary = json.loads(text)
    assert committed(summary) == summary
    assert without_places(summary["command"]) == summary["command"]
    assert summary["provenance"]["git_modified"] is False
    assert not publish._modified(summary)


def test_a_published_run(done: Path, tmp_path: Path) -> None:
    into = tmp_path / "docs" / "tiny"
    describe(done, command="python -m experiments run tiny --home /home/ann/x --out=here")
    publish.publish(done, into, title="A tiny theft")
    page = (into / "README.md").read_text(encoding="utf-8")
    for part in (
        "# A tiny theft\n\n<!-- python -m experiments publish made this page",
        "\n\nWhat does it cost?\n\n- Under policy rate an image cost bob 100× the work",  # noqa: RUF001
        "Policy `rate`:\n\n| client | images |",
        "![What an image costs](work.svg)",
        # 400 and 40,000 hashes
        "| ann, rate | 400 | 229 µs |",
        "| bob, rate | 40,000 | 22.9 ms |",
        "    python -m experiments run tiny\n",
        "Run from revision 0123456 on 2026-11-22: a processor, 2 cores, Linux, Python 3.11.7.",
        "- overhead: (service + work) / service",
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


def test_publishing_again_removes_figures_that_are_no_more(done: Path, tmp_path: Path) -> None:
    into = tmp_path / "tiny"
    publish.publish(done, into)
    (into / "story.svg").write_text("made by somebody else")
    for policy in ("none", "rate"):
        (done / policy / "evaluation.jsonl").unlink()
    publish.publish(done, into)
    assert sorted(path.name for path in into.glob("*.svg")) == ["story.svg", "time.svg", "work.svg"]


@pytest.mark.usefixtures("bare")
def test_a_modified_tree_is_said(done: Path, tmp_path: Path) -> None:
    describe(done, provenance={**ORIGIN, "git_modified": True})
    with pytest.raises(PublishError, match=r"not run from a clean revision: the tree was modified"):
        publish.publish(done, tmp_path / "x")
    assert not (tmp_path / "x").exists()
    publish.publish(done, tmp_path / "x", modified=True)
    assert "Run from a modified tree at 0123456" in (tmp_path / "x" / "README.md").read_text()
    describe(done, provenance={**ORIGIN, "git_revision": None})
    with pytest.raises(PublishError, match="the revision is not known"):
        publish.publish(done, tmp_path / "y")


@pytest.mark.usefixtures("bare")
def test_an_unfinished_run_is_refused(done: Path, tmp_path: Path) -> None:
    path = done / "rate" / "runner.jsonl"
    path.write_text("".join(path.read_text().splitlines(True)[:-1]))
    with pytest.raises(PublishError, match="not finished: policy rate did not come to its end"):
        publish.publish(done, tmp_path / "x")
    path.unlink()
    with pytest.raises(PublishError, match="not finished: policy rate did not come to its end"):
        publish.publish(done, tmp_path / "x")
    with pytest.raises(FolderError, match="is not the folder of a run"):
        publish.publish(tmp_path, tmp_path / "x")


@pytest.mark.usefixtures("bare")
def test_a_folder_of_something_else_is_refused(done: Path, tmp_path: Path) -> None:
    into = tmp_path / "x"
    into.mkdir()
    (into / "thesis.tex").write_text("")
    with pytest.raises(PublishError, match=r"x holds something else: thesis\.tex"):
        publish.publish(done, into)
    (into / "thesis.tex").rename(into / "README.md")
    with pytest.raises(PublishError, match=r"summary\.json is not the summary of a published run"):
        publish.publish(done, into)
    (into / "summary.json").write_text('{"format": 1}')
    with pytest.raises(PublishError, match="format 1, expected 2"):
        publish.remake(into)
    with pytest.raises(PublishError, match=r"README\.md is not a folder"):
        publish.publish(done, into / "README.md")


@pytest.mark.usefixtures("bare")
def test_a_summary_that_is_too_large_is_refused(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "LIMIT", 1_000)
    with pytest.raises(PublishError, match="bytes, expected at most 1,000"):
        publish.publish(done, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_published_sweep(done: Path, tmp_path: Path) -> None:
    out = swept(done, ACCOUNTS)
    publish.publish(out, tmp_path / "x")
    page = (tmp_path / "x" / "README.md").read_text(encoding="utf-8")
    assert "- 2 combinations: accounts is 1 and 10." in page
    assert "| `accounts` | policy | client |" in page
    assert "| bob, rate, accounts = 10 | 50,000 |" in page
    assert "![What the sweep changed](sweep.svg)" in page
    assert "quantiles" not in (tmp_path / "x" / "summary.json").read_text()
    first = out / "1-x" / "summary.json"
    summary = json.loads(first.read_text())
    summary["provenance"]["git_modified"] = True
    first.write_text(json.dumps(summary))
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
    assert without_places(f"python -m experiments run demo {places}") == (
        "python -m experiments run demo"
    )


def test_rates_elsewhere_are_those_of_the_committed_file_and_of_the_cards(done: Path) -> None:
    found = elsewhere.rates({"kind": "run", "scenario": {"server": {"puzzle": "sha256"}}})
    measured = json.loads((ROOT / "docs/results/puzzles.json").read_text())["rates"]["sha256"]
    assert {each["name"]: each["rate"] for each in found["sha256"]} == {
        "hashlib, one core": measured["peers"]["hashlib"],
        "native, one core": measured["rate"],
        "native, 2 cores": measured["wall"]["2"],
        **{device.name: device.rates["sha256"] for device in DEVICES},
    }
    found = elsewhere.rates({"kind": "run", "scenario": {"server": {"puzzle": "argon2id"}}})
    assert [each["name"] for each in found["argon2id"]][:2] == ["native, one core", "RTX 3090"]


def test_publish_on_the_command_line(done: Path, tmp_path: Path) -> None:
    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "experiments", "publish", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, env={**os.environ})

    assert run(done, tmp_path / "x", "--title", "T").returncode == 0
    assert (tmp_path / "x" / "README.md").read_text().startswith("# T\n")
    failed = run(done)
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: expected the folder of a run and one to write")
