"""What is made of the results: intervals, tables, pages, the figure, and the paper's numbers."""

import json
from pathlib import Path

import numpy as np
import pytest
from meaning import assert_close, assert_same_figure, assert_same_page
from scipy import stats

from experiments.pages import PageError, marks
from experiments.strength import pages as strength_pages
from experiments.strength import paper as strength_paper
from experiments.strength.figure import draw
from experiments.strength.pages import (
    committed,
    page,
    save,
    written,
)
from experiments.strength.plan import BENCHES, Bench, Trial
from experiments.strength.tables import Result, estimate, goal, pool, published, results, table

BEGIN, END = marks("strength")
ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
GOLDEN = ROOT / "tests" / "golden" / "paper_csv"

RANDOM = Trial(attack="random", pool="npz:mnist.npz", paper="standard", goal=0.95)
COPYCAT = Trial(
    attack="copycat", variant="letters", pool="npz:ood_emnist_letters.npz", above=(100, 150)
)
ALIKE = Trial(attack="random", variant="letters", pool="npz:mnist.npz")
BENCH = Bench(
    dataset="npz:mnist.npz",
    title="MNIST",
    short="mnist",
    network="lenet",
    trials=(RANDOM, COPYCAT, ALIKE, Trial(attack="knockoff", pool="photos")),
)
PAPER = {"mnist": {"standard": [(0.0, 10.0), (100.0, 94.2), (300.0, 96.6)]}}


def cell(trial, seed, *curve, **changes):
    return {
        "attack": trial.attack,
        "variant": trial.variant,
        "seed": seed,
        "setting": trial.setting(),
        "curve": [list(point) for point in curve],
        "cpu_seconds": 10.0 + seed,
        "overhead_ms": 2.0,
        "provenance": {"git_revision": "0123456789abcdef"},
        **changes,
    }


CONTENT = {
    "format": 1,
    "dataset": "npz:mnist.npz",
    "title": "MNIST",
    "victim": {"model": "m", "network": "lenet", "seed": 0, "accuracy": 0.99, "images": 10_000},
    "cells": [
        cell(RANDOM, 0, (100, 0.90, 0.91), (200, 0.96, 0.97)),
        cell(RANDOM, 1, (100, 0.92, 0.93), (200, 0.98, 0.99)),
        cell(COPYCAT, 0, (100, 0.915, 0.5), (200, 0.75, 0.7)),
        cell(ALIKE, 0, (100, 0.91, 0.92), (200, 0.94, 0.95)),
        cell(COPYCAT, 1, (100, 0.1, 0.1), setting={"pool": "another", "config": {}}),
    ],
}


def test_an_interval_is_students():
    found = estimate([0.90, 0.92, 0.97])
    low, high = stats.t.interval(0.95, 2, loc=0.93, scale=stats.sem([0.90, 0.92, 0.97]))
    assert found.mean == pytest.approx(0.93)
    assert found.half == pytest.approx((high - low) / 2)
    assert found.percent() == f"93.00 ± {50 * (high - low):.2f}"
    assert estimate([0.5]).percent() == "50.00"


def test_a_curve_is_read_between_its_surrogates():
    result = Result(RANDOM, tuple(CONTENT["cells"][:2]))
    assert result.queries == [100, 200]
    assert result.accuracy(150).mean == pytest.approx(0.94)
    assert result.fidelity(200).mean == pytest.approx(0.98)
    odd = cell(RANDOM, 2, (64, 0.5, 0.5), (200, 0.6, 0.6))
    assert Result(RANDOM, (*CONTENT["cells"][:2], odd)).queries == [200]


def test_the_table_has_a_row_for_each_trial_that_was_run():
    half = 100 * estimate([0.96, 0.98]).half
    rows = table(CONTENT, BENCH, PAPER).splitlines()
    assert rows[2:] == [
        f"| random | mnist | 200 | 2 | 97.00 ± {half:.2f} | 98.00 ± {half:.2f} | 98.0 | 94.2 "
        "| ≥ 95.0 | met | 10 | 2.0 |",
        "| copycat (letters) | emnist_letters | 200 | 1 | 75.00 | 70.00 | 75.8 | – "  # noqa: RUF001
        "| above random at 100; 150 | missed (1 of 2) | 10 | 2.0 |",
        "| random (letters) | mnist | 200 | 1 | 94.00 | 95.00 | 94.9 | – | – |  | 10 | 2.0 |",  # noqa: RUF001
    ]


def test_cells_of_another_setting_are_left_out():
    found = results(CONTENT, BENCH)
    assert [len(result.cells) for result in found] == [2, 1, 1]


def test_a_goal_is_met_or_missed():
    found = results(CONTENT, BENCH)
    assert goal(found[0], found) == ("≥ 95.0", "met")
    assert goal(found[1], found[:2]) == ("–", "")  # noqa: RUF001 - no such random to be above
    short = Result(Trial(attack="x", goal=0.981), found[0].cells)
    assert goal(short, found) == ("≥ 98.1", "missed")


def test_pools_are_named_without_where_they_are_kept():
    assert pool(COPYCAT) == "emnist_letters"
    assert pool(Trial(attack="inoutdist", pool="photos", inside="digits")) == "photos and digits"
    assert pool(Trial(attack="dfme")) == "–"  # noqa: RUF001


def test_the_papers_accuracy_is_the_last_until_then():
    assert published(PAPER, BENCH, RANDOM, 99) == "–"  # noqa: RUF001
    assert published(PAPER, BENCH, RANDOM, 299) == "94.2"
    assert published(PAPER, BENCH, RANDOM, 10_000) == "96.6"
    assert published(PAPER, BENCH, COPYCAT, 10_000) == "–"  # noqa: RUF001


def test_pages_are_rewritten_between_their_marks(tmp_path, monkeypatch):
    monkeypatch.setattr(strength_pages, "BENCHES", (BENCH,))
    kept, folder = tmp_path / "results", tmp_path / "docs" / "attacks"
    kept.mkdir()
    folder.mkdir(parents=True)
    (kept / "strength-mnist.json").write_text(json.dumps(CONTENT))
    (kept / "strength-paper.json").write_text(json.dumps({"accuracy": PAPER}))
    overview = folder.parent / "strength.md"
    for file in (overview, folder / "random.md", folder / "knockoff.md"):
        file.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    (folder / "other.md").write_text("nothing of ours\n")
    save(folder, kept)
    assert overview.read_text().startswith(f"before\n{BEGIN}\n\n**MNIST** (`npz:mnist.npz`; victim")
    assert table(CONTENT, BENCH, PAPER) in overview.read_text()
    text = (folder / "random.md").read_text()
    assert text.startswith(f"before\n{BEGIN}\n\n**MNIST**: the victim is a lenet, 99.00 %")
    assert text.endswith(f"{END}\nafter\n")
    assert "| 100 | 91.00 ± " in text
    assert "| queries | accuracy % | fidelity % | paper % |" in text
    assert "old" not in text
    assert (
        "`python -m experiments strength --dataset npz:mnist.npz --attacks random --seeds 0 1` at "
        "0123456 ([strength-mnist.json](../results/strength-mnist.json))" in text
    )
    assert "Not measured: " in (folder / "knockoff.md").read_text()
    assert (folder / "other.md").read_text() == "nothing of ours\n"
    letters = page("copycat", {"mnist": CONTENT}, PAPER)
    assert "**MNIST, letters**" in letters
    assert "| queries | accuracy % | fidelity % | random % |\n" in letters
    assert "| 100 | 91.50 | 50.00 | 91.00 |\n" in letters
    drawn = (kept / "strength-mnist.svg").read_text()
    before = {file: file.read_text() for file in (overview, folder / "random.md")}
    save(folder, kept)
    assert {file: file.read_text() for file in before} == before
    assert (kept / "strength-mnist.svg").read_text() == drawn
    with pytest.raises(PageError, match=r"no page in .* has a block"):
        save(tmp_path / "elsewhere" / "attacks", kept)


def test_a_long_curve_is_thinned_on_a_page(monkeypatch):
    monkeypatch.setattr(strength_pages, "BENCHES", (BENCH,))
    curve = [(n, n / 1e5, n / 1e5) for n in range(64, 6400, 64)]
    content = {**CONTENT, "cells": [cell(RANDOM, 0, *curve)]}
    rows = [line for line in page("random", {"mnist": content}, {}).splitlines() if "|" in line]
    assert len(rows) == 2 + 12
    assert rows[-1].startswith("| 6,336 |")


def test_the_figure_has_a_panel_for_each_attack():
    drawing = draw(CONTENT, BENCH, PAPER)
    assert drawing.name == "strength-mnist"
    for words in (
        "random",
        "copycat",
        "letters",
        "the paper",
        "the victim",
        "queries",
        "random, likewise",
    ):
        assert f">{words}<" in drawing.svg
    assert ">knockoff<" not in drawing.svg
    assert draw(CONTENT, BENCH, PAPER).svg == drawing.svg


def test_the_papers_accuracies_are_those_it_published(tmp_path):
    strength_paper.save(GOLDEN, tmp_path / "paper.json")
    found = strength_paper.read(tmp_path / "paper.json")
    kept = strength_paper.read(RESULTS / "strength-paper.json")
    assert found["mnist"].keys() == kept["mnist"].keys()
    for name, points in found["mnist"].items():
        assert_close(points, kept["mnist"][name])
    assert found["mnist"]["standard"][1] == (1000.0, 94.18)
    assert all(len(points) <= strength_paper.ROWS + 1 for points in kept["cifar10"].values())
    np.testing.assert_allclose(kept["cifar10"]["standard"][-1][1], 66.0, atol=0.05)
    assert strength_paper.read(tmp_path / "none.json") == {}
    (tmp_path / "paper.json").write_text('{"accuracy": []}')
    with pytest.raises(ValueError, match="does not hold the paper's accuracies"):
        strength_paper.read(tmp_path / "paper.json")


def test_the_committed_pages_say_what_the_committed_results_say():
    contents, paper = committed(RESULTS)
    for file, attack in strength_pages.pages(ROOT / "docs" / "attacks"):
        again = "python -m experiments docs"
        found = written(file, attack, contents, paper)
        assert_same_page(found, file.read_text(), f"{file}: {again}")
    for bench in BENCHES:
        if bench.short in contents:
            drawing = draw(contents[bench.short], bench, paper)
            kept = (RESULTS / f"{drawing.name}.svg").read_text()
            assert_same_figure(drawing.svg, kept, drawing.name)


def test_the_committed_results_came_from_clean_revisions():
    contents, _ = committed(RESULTS)
    for content in contents.values():
        for made in content["cells"]:
            assert made["provenance"]["git_modified"] is False
            assert len(made["provenance"]["git_revision"]) == 40
