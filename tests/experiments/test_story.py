"""The README's figure shows what the committed demo run found."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from meaning import assert_same_figure

from experiments.folder import FolderError, read
from experiments.report import story
from experiments.report.summary import summarise

DEMO = Path(__file__).parents[2] / "docs" / "results" / "demo"


@pytest.fixture
def published(tmp_path):
    """A copy of the committed results, to be changed."""
    (tmp_path / "summary.json").write_text((DEMO / "summary.json").read_text())
    return tmp_path


def edit(published, change):
    summary = json.loads((published / "summary.json").read_text())
    change(summary)
    (published / "summary.json").write_text(json.dumps(summary))


def test_the_committed_figure_is_what_the_committed_run_gives(published):
    command = [sys.executable, "-m", "experiments", "story", str(published)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{published / 'story.svg'}\n"
    drawn, kept = ((each / "story.svg").read_text() for each in (published, DEMO))
    assert_same_figure(drawn, kept)
    assert "](docs/results/demo/story.svg)" in (DEMO.parents[2] / "README.md").read_text()


def test_its_numbers_are_those_of_the_run(published):
    def change(summary):
        free, gated = (arm["clients"] for arm in summary["arms"])
        free[0]["seconds"]["total"] = 0.32
        gated[0]["seconds"]["total"], gated[0]["slowdown"] = 7.5, 23.4
        gated[3]["seconds"]["total"], gated[3]["accuracy"] = 18.9, 0.414

    edit(published, change)
    text = story.save(published).read_text()
    ElementTree.fromstring(text)
    for said in ("7.50 s, 23.4× as long", "with the gate: 41.4 % after 18.9 s"):  # noqa: RUF001
        assert said in text
    assert "41.4 % after 18.9 seconds of asking with it. An honest user waits 0.32 seconds" in text


def test_seconds_are_those_of_asking(folder):
    """Of the last surrogate, all of them; of one before, less what was asked in between."""
    bob = summarise(read(folder))["arms"][1]["clients"][1]
    # total 9; between the checkpoints at 6 and 16 seconds, 2 of them trained the second
    assert story.course(bob) == [(1.0, 0.3), (9.0, 0.4)]


@pytest.mark.parametrize(
    ("chosen", "reason"),
    [
        ({"thief": "nobody"}, "no client 'nobody' under policy 'none'"),
        ({"policy": "paper"}, "no client 'copycat' under policy 'paper'"),
        ({"thief": "honest"}, "no surrogate of 'honest' that was scored"),
    ],
)
def test_a_run_without_that_story_is_refused(published, chosen, reason):
    with pytest.raises(FolderError, match=reason):
        story.save(published, **chosen)
    assert not (published / "story.svg").exists()


def test_a_victim_that_was_not_scored_is_refused(published):
    edit(published, lambda summary: summary["victim"].update(accuracy=None))
    with pytest.raises(FolderError, match="no surrogate"):
        story.save(published)
