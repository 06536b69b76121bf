"""Pages show what committed results say, and nothing else."""

import json
from pathlib import Path

import pytest
from meaning import assert_same_page

from experiments.pages import PageError, rewrite
from experiments.prices import page as price_page

ROOT = Path(__file__).parents[2]


def test_a_block_is_replaced_and_the_rest_stays():
    page = "a\n<!-- x:begin -->\nold\n<!-- x:end -->\nb\n"
    once = rewrite(page, "x", "new\n", where="page")
    assert once == "a\n<!-- x:begin -->\n\nnew\n\n<!-- x:end -->\nb\n"
    assert rewrite(once, "x", "new", where="page") == once


@pytest.mark.parametrize("page", ["", "<!-- x:begin -->", "<!-- x:end --><!-- x:begin -->"])
def test_a_page_without_marks_is_refused(page):
    with pytest.raises(PageError, match=r"p\.md has no block from <!-- x:begin --> to"):
        rewrite(page, "x", "new", where="p.md")


def test_the_prices_page_shows_the_committed_results(tmp_path):
    page = tmp_path / "pricing.md"
    page.write_text((ROOT / "docs/pricing.md").read_text())
    price_page.save(page, ROOT / "docs/results")
    assert_same_page(page.read_text(), (ROOT / "docs/pricing.md").read_text())


def test_prices_came_from_clean_revisions():
    for file in (ROOT / "docs/results").glob("prices-*.json"):
        content = json.loads(file.read_text())
        assert content["provenance"]["git_modified"] is False, file.name
        assert content["command"].startswith("python -m experiments prices "), file.name


def test_a_missed_goal_is_bold(tmp_path):
    goals = [
        {"goal": "low", "wanted": "<= 2", "reached": {"rate": 2.004, "paper": 2.1}},
        {"goal": "high", "wanted": ">= 30", "reached": {"rate": 30.0, "paper": 29.9}},
        {"goal": "said", "wanted": "-", "reached": {"rate": 7.0}},
    ]
    (tmp_path / "prices-x.json").write_text(json.dumps({"goals": goals}))
    text = price_page.table(tmp_path, [("A", "x", "rate"), ("B", "x", "paper")])
    assert text.splitlines()[2:] == [
        "| low | ≤ 2 | 2 | **2.1** |",
        "| high | ≥ 30 | 30 | **29.9** |",
        "| said | - | 7 | - |",
    ]
