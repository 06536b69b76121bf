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
    found = compose(case["votes"], case["sigma"], case["delta"])
    close(found.epsilon, case["composed_dp_eps"])
    close(found.order, case["composed_order_opt"])
    close(found.single, case["single_dp_eps"])
    close(found.answered, np.arange(1, len(case["votes"]) + 1))


@pytest.mark.parametrize("config", CONFIDENT["configs"], ids=lambda config: config["label"])
def test_confident_gnmax_matches_the_released_code(config):
    fixed = {key: config[key] for key in ("threshold", "sigma_threshold")}
    for case in [c | {"votes": [c["votes"]]} for c in config["single"]] + config["seq"]:
        found = compose(case["votes"], config["sigma_gnmax"], config["delta"], **fixed)
        for key, values in (
            ("dp_eps", found.epsilon),
            ("order_opt", found.order),
            ("answered", found.answered),
        ):
            close(values, np.atleast_1d(case[key]))


@given(st.integers(0, 2**32), st.floats(0.5, 100.0))
@settings(deadline=None, max_examples=30)
def test_together_never_costs_more_than_one_by_one(seed, sigma):
    votes = np.random.default_rng(seed).multinomial(250, np.linspace(1, 9, 10) / 50, size=20)
    found = compose(votes, sigma, 1e-5, teachers=250)
    close(found.single, gnmax_epsilon(votes, sigma, 1e-5))
    assert (found.epsilon <= np.cumsum(found.single) * (1 + 1e-12)).all()
    assert (np.diff(found.epsilon) >= -1e-12).all()
    # The order of the queries does not matter to the whole.
    close(compose(votes[::-1], sigma, 1e-5).epsilon[-1], found.epsilon[-1])


def test_no_queries_reveal_nothing():
    found = compose(np.zeros((0, 3), int), 10.0, 1e-5)
    assert found.epsilon.shape == found.single.shape == found.answered.shape == (0,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"votes": [[200, 49]]}, "votes of row 0 sum to 249, expected 250, one of each teacher"),
        ({"votes": [[250]]}, "at least 2 classes"),
        ({"votes": np.zeros((0, 2)), "sigma": 0.0}, "sigma is 0.0"),
        ({"votes": np.zeros((0, 2)), "delta": 1.0}, "delta is 1.0"),
        ({"threshold": 200.0}, "sigma_threshold is 0.0"),
    ],
)
def test_bad_input_is_named(change, message):
    call = {"votes": [[200, 50]], "sigma": 10.0, "delta": 1e-5, "teachers": 250}
    with pytest.raises(ValueError, match=message):
        compose(**{**call, **change})
