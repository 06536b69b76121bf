"""`python -m experiments privacy`: the released code's numbers for votes in a file, or one line."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.__main__ import main

GOLDEN = Path(__file__).parent.parent / "golden"
GNMAX = json.loads((GOLDEN / "pate_gnmax.json").read_text())
CONFIDENT = json.loads((GOLDEN / "confident_gnmax.json").read_text())


@pytest.fixture
def told(monkeypatch, capsys, tmp_path):
    """Exit code, output and errors of the command, for an array saved as .npy or for a file."""

    def run(votes, *flags):
        file = votes
        if not isinstance(votes, Path):
            file = tmp_path / "votes.npy"
            np.save(file, votes)
        monkeypatch.setattr(sys, "argv", ["experiments", "privacy", str(file), *map(str, flags)])
        code = main()
        return code, *capsys.readouterr()

    return run


def close(found, expected):
    np.testing.assert_allclose(found, np.asarray(expected, float), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("case", GNMAX["sequences"], ids=lambda s: f"{s['kind']}-{s['sigma']}")
def test_gnmax_is_the_released_code_s(case, told):
    flags = "--sigma", case["sigma"], "--delta", case["delta"], "--json"
    code, out, _ = told(np.array(case["votes"]), *flags)
    assert code == 0
    found = json.loads(out)
    close(found["single"], case["single_dp_eps"])
    close(found["added"], np.cumsum(case["single_dp_eps"]))
    close(found["composed"], case["composed_dp_eps"])
    close(found["order"], case["composed_order_opt"])
    assert found["command"].startswith("python -m experiments privacy")


@pytest.mark.parametrize("config", CONFIDENT["configs"], ids=lambda config: config["label"])
def test_confident_gnmax_is_the_released_code_s(config, told):
    for case in config["seq"]:
        code, out, _ = told(
            np.array(case["votes"]),
            *("--sigma", config["sigma_gnmax"], "--delta", config["delta"], "--json"),
            *("--threshold", config["threshold"]),
            *("--sigma-threshold", config["sigma_threshold"]),
        )
        assert code == 0
        close(json.loads(out)["composed"], case["dp_eps"])
        close(json.loads(out)["answered"], case["answered"])


def test_a_table(told, tmp_path):
    file = tmp_path / "votes.npz"
    np.savez(file, votes=np.tile([40, 8, 2], (30, 1)), labels=np.zeros(30))
    code, out, _ = told(file, "--sigma", "10", "--teachers", "50")
    lines = out.splitlines()
    assert code == 0
    assert len(lines) == 2 + 10 + 2 + 3
    assert lines[2].startswith("| 1 | 40 of 50 | 0.")
    assert lines[13].startswith("| 30 | 40 of 50 | ")
    assert lines[15].startswith("30 queries cost epsilon ")
    assert "0.0003" in lines[15]  # 30 times delta
    assert told(file, "--sigma", "10", "--array", "labels")[0] == 1
    np.savez(file, anything=np.array([[3, 1]]))
    assert told(file, "--sigma", "10")[0] == 0
    np.savez(file, x=GOOD, y=GOOD)
    _, _, err = told(file, "--sigma", "10")
    assert "holds x int64 (1, 3), y int64 (1, 3); expected an array votes" in err


GOOD = np.array([[3, 1, 0]])


@pytest.mark.parametrize(
    ("votes", "flags", "why"),
    [
        (-GOOD, (), "votes contain -3, expected counts from 0"),
        (GOOD / 2, (), "votes contain 1.5, expected whole numbers"),
        (GOOD[0], (), r"votes have shape (3,), expected (b, k) with at least 2 classes"),
        (GOOD[:0], (), "holds no query"),
        (GOOD.astype(object), (), "Object arrays cannot be loaded when allow_pickle=False"),
        (GOOD, ("--teachers", "5"), "votes of row 0 sum to 4, expected 5"),
        (GOOD, ("--array", "votes"), "has one array without a name"),
        (GOOD, ("--delta", "0"), "delta is 0.0, expected a probability between 0 and 1"),
        (GOOD, ("--sigma", "0"), "sigma is 0.0, expected a number above 0"),
        (GOOD, ("--threshold", "-1"), "threshold is -1.0, expected a finite number"),
        (GOOD, ("--threshold", "3"), "sigma_threshold is 0.0, expected a number above 0"),
    ],
    ids=str,
)
def test_what_cannot_be_accounted_for_is_said_in_a_line(told, votes, flags, why):
    code, out, err = told(votes, "--sigma", "10", *flags)
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert why in err
    assert err.count("\n") == 1
