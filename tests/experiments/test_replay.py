"""The paper's timelines, recomputed from the records it published."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.__main__ import main
from experiments.replay import ReplayError, line, replay, table, timeline

GOLDEN = Path(__file__).parent.parent / "golden"
EXPECTED = json.loads((GOLDEN / "paper_timelines.json").read_text())
NAMES = {
    "time": "time",
    "accuracy": "accuracy",
    "batches": "batches",
    "queries": "queries_counted",
    "cost": "privacy",
    "delay": "per_row_pow_delay",
    "worked": "pow_time",
    "per_batch": "pow_time_if_delay_paid_per_batch",
}
HONEST = "time_privacy_cost_mnist.csv"
ATTACKS = "model_extraction_attack_accuracy_mnist.csv"


def test_every_row_agrees_with_the_released_code():
    found = {timeline.attack: timeline.rows for timeline in replay(GOLDEN / "paper_csv")}
    assert set(found) == set(EXPECTED["recompute"]["mnist"])
    for attack, expected in EXPECTED["recompute"]["mnist"].items():
        rows = found[attack]
        kept = expected.get("row_index_kept", range(len(rows)))
        for ours, theirs in NAMES.items():
            values = [getattr(rows[i], ours) for i in kept]
            np.testing.assert_allclose(values, expected[theirs], rtol=1e-9, atol=1e-9)


def test_the_ends_agree_too():
    found = {timeline.attack: timeline for timeline in replay(GOLDEN / "paper_csv")}
    for end in EXPECTED["ends"]:
        timeline = found[end["attack"]]
        last = timeline.rows[-1]
        assert len(timeline.rows) == end["rows"]
        assert timeline.at_cap == end["rows_at_max_timing"]
        assert last.worked / last.time == pytest.approx(end["ratio"], rel=1e-9)
        assert last.per_batch / last.time == pytest.approx(end["ratio_if_per_batch"], rel=1e-9)


def test_the_line_is_the_paper_s():
    prices = json.loads((GOLDEN / "paper_prices.json").read_text())["datasets"]["mnist"]
    text = (GOLDEN / "paper_csv" / HONEST).read_text().splitlines()[1:]
    _, cost, queries = zip(*(map(float, row.split(",")) for row in text), strict=True)
    fitted = line({"cost": cost, "queries": queries})
    assert fitted.slope == pytest.approx(prices["slope"], rel=1e-9)
    assert fitted.intercept == pytest.approx(prices["intercept"], rel=1e-9)


def test_a_table_of_ends():
    text = table(replay(GOLDEN / "paper_csv"))
    assert "| mnist | copycat | 11000 | 93.46 | 94.45 | 0.530 | 81.0 | 24239.1 | 299.40 |" in text
    assert len(text.splitlines()) == 2 + 7


def test_an_attack_that_never_asked_has_no_cost_per_query():
    policy = line({"cost": [0.0, 1.0], "queries": [0.0, 1.0]})
    columns = {"time": [1.0], "accuracy": [10.0], "batches": [0.0], "cost": [0.0]}
    (row,) = timeline(columns, policy)
    assert row.worked == row.time + row.delay == 1.0


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(GOLDEN / "paper_csv", tmp_path / "csv"))


def test_a_folder_without_records(tmp_path):
    with pytest.raises(ReplayError, match=r"holds none of the paper's records; expected time_"):
        replay(tmp_path)


def test_half_of_a_pair(folder):
    (folder / HONEST).unlink()
    with pytest.raises(ReplayError, match=rf"{HONEST} is missing"):
        replay(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time,queries\n1,2\n", "has no column 'privacy'"),
        ("time,privacy,queries\n1,2,3\n", "has 1 rows; expected at least 2"),
        ("time,privacy,queries\n1,2,3\n1,two,3\n", "line 3: could not convert string"),
        ("time,privacy,queries\n1,2,3\n1,nan,3\n", "line 3: privacy is 'nan'; expected a number"),
        ("time,privacy,queries\n1,-2,3\n", "line 2: privacy is '-2'; expected a number from 0"),
        ("time,privacy,queries\n1,2\n", "line 2: queries is None"),
    ],
)
def test_files_that_are_not_the_paper_s(folder, text, message):
    (folder / HONEST).write_text(text)
    with pytest.raises(ReplayError, match=message):
        replay(folder)


def test_the_command(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["experiments", "replay", str(GOLDEN / "paper_csv")])
    main()
    assert "| mnist | copycat |" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["experiments", "replay", str(tmp_path)])
    assert main() == 1
    assert f"error: {tmp_path} holds none of the paper's records" in capsys.readouterr().err
