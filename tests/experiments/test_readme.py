"""The README shows what the committed demo run found, and nothing else."""

import json
from pathlib import Path

from meaning import assert_same_page

from experiments.report import tables_old as tables

ROOT = Path(__file__).parents[2]


def test_the_readmes_tables_are_those_of_the_committed_run():
    readme = (ROOT / "README.md").read_text()
    summary = json.loads((ROOT / "docs/results/demo/summary.json").read_text())
    shown = readme.partition("<!-- demo:begin")[2].partition("<!-- demo:end")[0]
    for arm in summary["arms"]:
        _, head, rest = shown.partition(f"Policy `{arm['policy']}`:\n\n")
        assert head
        assert_same_page(rest.partition("\n\n")[0], tables.markdown(summary, arm).strip())
    assert shown.count("\n| ") == sum(len(arm["groups"]) + 2 for arm in summary["arms"])


def test_the_committed_run_came_from_a_clean_revision():
    summary = json.loads((ROOT / "docs/results/demo/summary.json").read_text())
    assert summary["provenance"]["git_modified"] is False
    assert len(summary["provenance"]["git_revision"]) == 40


def test_every_file_the_readme_points_to_is_there():
    import re

    readme = (ROOT / "README.md").read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", readme):
        if "://" not in target:
            assert (ROOT / target).exists(), target
