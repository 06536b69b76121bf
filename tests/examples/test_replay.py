"""The paper's timelines, recomputed from the records it published."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from examples.replay import HONEST, T_MAX, accuracies, end, line, read, replay, timeline

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
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
FILE = "time_privacy_cost_mnist.csv"


@pytest.fixture(scope="module")
def timelines():
    return list(replay(GOLDEN / "paper_csv"))


def test_every_row_agrees_with_the_released_code(timelines):
    assert {attack for _, attack, _ in timelines} == set(EXPECTED["recompute"]["mnist"])
    ends = {each["attack"]: each for each in EXPECTED["ends"]}
    for _, attack, rows in timelines:
        expected = EXPECTED["recompute"]["mnist"][attack]
        kept = rows.iloc[list(expected.get("row_index_kept", range(len(rows))))]
        for ours, theirs in NAMES.items():
            np.testing.assert_allclose(kept[ours], expected[theirs], rtol=1e-9, atol=1e-9)
        last, wanted = rows.iloc[-1], ends[attack]
        assert (len(rows), (rows["delay"] >= T_MAX).sum()) == (
            wanted["rows"],
            wanted["rows_at_max_timing"],
        )
        assert last["worked"] / last["time"] == pytest.approx(wanted["ratio"], rel=1e-9)
        assert last["per_batch"] / last["time"] == pytest.approx(
            wanted["ratio_if_per_batch"], rel=1e-9
        )
    prices = json.loads((GOLDEN / "paper_prices.json").read_text())["datasets"]["mnist"]
    fitted = line(read(GOLDEN / "paper_csv" / FILE, HONEST))
    assert fitted.slope == pytest.approx(prices["slope"], rel=1e-9)
    assert fitted.intercept == pytest.approx(prices["intercept"], rel=1e-9)


def test_the_committed_accuracies_are_those_of_the_records(timelines):
    committed = json.loads((ROOT / "docs/results/strength-paper.json").read_text())
    found = accuracies(timelines)
    assert found["source"] == committed["source"]
    for attack, points in found["accuracy"]["mnist"].items():
        np.testing.assert_allclose(points, committed["accuracy"]["mnist"][attack], rtol=1e-9)


def test_an_attack_that_never_asked_has_no_cost_per_query():
    policy = line(pd.DataFrame({"cost": [0.0, 1.0], "queries": [0.0, 1.0]}))
    row = {"time": [1.0], "accuracy": [10.0], "batches": [0.0], "cost": [0.0]}
    assert end("mnist", "idle", timeline(pd.DataFrame(row), policy))["cost/query"] is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time,queries\n1,2\n", "has no column 'privacy'"),
        ("time,privacy,queries\n1,2,3\n", "has 1 rows; expected at least 2"),
        ("time,privacy,queries\n1,2,3\n1,two,3\n", "line 3: privacy is 'two'; expected a number"),
        ("time,privacy,queries\n1,-2,3\n1,2,3\n", "line 2: privacy is '-2'; expected a number"),
        ("time,privacy,queries\n1,2\n1,2,3\n", "line 2: queries is "),
        ("", "No columns to parse"),
    ],
)
def test_files_that_are_not_the_paper_s(tmp_path, text, message):
    folder = Path(shutil.copytree(GOLDEN / "paper_csv", tmp_path / "csv"))
    (folder / FILE).write_text(text)
    with pytest.raises(ValueError, match=f"{FILE}.*{message}"):
        list(replay(folder))
    (folder / FILE).unlink()
    with pytest.raises(FileNotFoundError, match=FILE):
        list(replay(folder))


@pytest.mark.process
def test_the_command(tmp_path):
    def run(folder):
        command = [sys.executable, "examples/replay.py", str(folder)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    shown = run(GOLDEN / "paper_csv").stdout
    assert "| mnist | copycat | 11000 | 93.46 | 94.45 | 0.530 | 81.0 | 24239.1 | 299.40 |" in shown
    assert len(shown.splitlines()) == 2 + 7
    refused = run(tmp_path)
    assert refused.returncode == 1
    assert f"error: {tmp_path} holds none of the paper's records" in refused.stderr
