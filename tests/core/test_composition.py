"""Composition, against the paper's released code and against its own definition."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.privacy import composition
from core.privacy.composition import compose
from core.privacy.pate import gnmax_epsilon

GOLDEN = Path(__file__).parent.parent / "golden"
GNMAX = json.loads((GOLDEN / "pate_gnmax.json").read_text())
CONFIDENT = json.loads((GOLDEN / "confident_gnmax.json").read_text())


def close(found, expected):
    np.testing.assert_allclose(found, np.asarray(expected, float), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("case", GNMAX["sequences"], ids=lambda s: f"{s['kind']}-{s['sigma']}")
@pytest.mark.parametrize("rows", [3, 4096])
def test_sequences_match_the_released_code(case, rows, monkeypatch):
    monkeypatch.setattr(composition, "_ROWS", rows)  # in one piece and in several
    args = case["votes"], case["sigma"], case["delta"]
    together = compose(*args, how="rdp")
    close(together.epsilon, case["composed_dp_eps"])
    close(together.order, case["composed_order_opt"])
    alone = compose(*args, how="sum")
    close(alone.epsilon, np.cumsum(case["single_dp_eps"]))
    close(alone.answered, np.arange(1, len(case["votes"]) + 1))


@pytest.mark.parametrize("config", CONFIDENT["configs"], ids=lambda config: config["label"])
def test_confident_gnmax_matches_the_released_code(config):
    fixed = {
        "threshold": config["threshold"],
        "sigma_threshold": config["sigma_threshold"],
    }
    for case in config["single"]:
        for how in ("sum", "rdp"):
            found = compose(
                [case["votes"]], config["sigma_gnmax"], config["delta"], how=how, **fixed
            )
            close(found.epsilon, [case["dp_eps"]])
            close(found.order, [case["order_opt"]])
            close(found.answered, [case["answered"]])
            close(found.shares, [case["partition"]])
    for case in config["seq"]:
        found = compose(case["votes"], config["sigma_gnmax"], config["delta"], how="rdp", **fixed)
        close(found.epsilon, case["dp_eps"])
        close(found.order, case["order_opt"])
        close(found.answered, case["answered"])


def test_a_budget_ends_a_sequence():
    found = compose([[200, 50]] * 4, 10.0, 1e-5, how="sum")
    one = found.epsilon[0]
    assert [found.within(x * one) for x in (0, 0.9, 1.5, 3.5, 100)] == [0, 0, 1, 3, 4]
    with pytest.raises(ValueError, match="budget is -1, expected an epsilon from 0"):
        found.within(-1)


@given(st.integers(0, 2**32), st.floats(0.5, 100.0))
@settings(deadline=None, max_examples=50)
def test_together_never_costs_more_than_one_by_one(seed, sigma):
    votes = np.random.default_rng(seed).multinomial(250, np.linspace(1, 9, 10) / 50, size=20)
    together = compose(votes, sigma, 1e-5, how="rdp", teachers=250)
    alone = compose(votes, sigma, 1e-5, how="sum", teachers=250)
    close(alone.epsilon, np.cumsum(gnmax_epsilon(votes, sigma, 1e-5)))
    assert (together.epsilon <= alone.epsilon * (1 + 1e-12)).all()
    assert (np.diff(together.epsilon) >= -1e-12).all()
    close(together.shares.sum(axis=1), np.ones(20))
    # The order of the queries does not matter to the whole.
    close(compose(votes[::-1], sigma, 1e-5, how="rdp").epsilon[-1], together.epsilon[-1])


def test_no_queries_reveal_nothing():
    found = compose(np.zeros((0, 3), int), 10.0, 1e-5, how="rdp")
    assert found.epsilon.shape == found.answered.shape == (0,)
    assert found.shares.shape == (0, 3)
    assert found.within(1.0) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"how": "max"}, "composition 'max' is unknown, expected sum or rdp"),
        ({"votes": [[200, 49]]}, "votes of row 0 sum to 249, expected 250, one of each teacher"),
        ({"votes": [[250]]}, "at least 2 classes"),
        ({"votes": np.zeros((0, 2)), "sigma": 0.0}, "sigma is 0.0"),
        ({"votes": np.zeros((0, 2)), "delta": 1.0}, "delta is 1.0"),
        ({"threshold": 200.0}, "sigma_threshold is 0.0"),
    ],
)
def test_bad_input_is_named(change, message):
    call = {"votes": [[200, 50]], "sigma": 10.0, "delta": 1e-5, "how": "rdp", "teachers": 250}
    with pytest.raises(ValueError, match=message):
        compose(**{**call, **change})
