"""Privacy costs, against the paper's released code and their own definition."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from meaning import assert_close

from core.privacy import composition
from core.privacy.composition import compose
from core.privacy.pate import (
    ORDERS,
    confident_gnmax_rdp,
    gnmax_epsilon,
    gnmax_logq,
    gnmax_rdp,
    rdp_to_epsilon,
    threshold_logp,
    threshold_rdp,
)

GOLDEN = Path(__file__).parent.parent / "golden"
GNMAX = json.loads((GOLDEN / "pate_gnmax.json").read_text())
CONFIDENT = json.loads((GOLDEN / "confident_gnmax.json").read_text())


def test_the_grid_of_orders_is_the_paper_s():
    assert_close(ORDERS, GNMAX["orders"])
    assert not ORDERS.flags.writeable


@pytest.mark.parametrize("case", GNMAX["cases"], ids=lambda case: case["name"])
def test_histograms_match_the_released_code(case):
    votes = [case["votes"]]
    for expected in case["sigma"]:
        sigma = expected["sigma"]
        assert_close(gnmax_logq(votes, sigma), [float(expected["logq"])])
        rdp = gnmax_rdp(votes, sigma)
        assert_close(rdp[0, GNMAX["order_index"]], expected["rdp"])
        for target in expected["dp"]:
            assert_close(gnmax_epsilon(votes, sigma, target["delta"]), [target["dp_eps"]])
            epsilon, order = rdp_to_epsilon(rdp, ORDERS, target["delta"])
            assert_close(epsilon, [target["dp_eps"]])
            assert_close(order, [target["order_opt"]])


@st.composite
def histograms(draw):
    """Rows of votes, from unanimous to uniform: (b, k)."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    k, teachers = draw(st.integers(2, 30)), draw(st.integers(1, 500))
    spread = 10.0 ** draw(st.floats(-2.5, 1.5))
    return rng.multinomial(teachers, rng.dirichlet(np.full(k, spread), size=8))


sigmas = st.floats(-1, 2.5).map(lambda x: 10.0**x)
deltas = st.floats(-15, -0.01).map(lambda x: 10.0**x)


@given(histograms(), sigmas, deltas, st.randoms())
@settings(max_examples=25)
def test_epsilon_of_any_votes(votes, sigma, delta, random):
    cost = gnmax_epsilon(votes, sigma, delta)
    exhaustive, _ = rdp_to_epsilon(gnmax_rdp(votes, sigma), ORDERS, delta)
    np.testing.assert_allclose(cost, exhaustive, rtol=1e-12)  # the search misses no order
    assert (cost <= (ORDERS / sigma**2 - np.log(delta) / (ORDERS - 1)).min()).all()
    assert (cost >= -np.log(delta) / (ORDERS[-1] - 1)).all()
    columns = list(range(votes.shape[1]))  # names of classes, and company, do not matter
    random.shuffle(columns)
    np.testing.assert_allclose(gnmax_epsilon(votes[:, columns], sigma, delta), cost, rtol=1e-12)
    alone = np.concatenate([gnmax_epsilon(row[None], sigma, delta) for row in votes])
    np.testing.assert_allclose(alone, cost, rtol=1e-12)


@given(histograms(), sigmas, deltas)
@settings(max_examples=25)
def test_a_vote_that_joins_the_majority_never_raises_the_cost(votes, sigma, delta):
    rows = np.arange(len(votes))
    winner = votes.argmax(axis=1)
    rest = votes.copy()
    rest[rows, winner] = -1
    loser = rest.argmax(axis=1)
    assume((votes[rows, loser] > 0).all())
    moved = votes.copy()
    moved[rows, loser] -= 1
    moved[rows, winner] += 1
    before, after = gnmax_epsilon(votes, sigma, delta), gnmax_epsilon(moved, sigma, delta)
    assert (after <= before * (1 + 1e-12)).all()


@pytest.mark.parametrize("case", GNMAX["sequences"], ids=lambda s: f"{s['kind']}-{s['sigma']}")
@pytest.mark.parametrize("rows", [3, 4096])
def test_sequences_match_the_released_code(case, rows, monkeypatch):
    monkeypatch.setattr(composition, "_ROWS", rows)  # in one piece and in several
    found = compose(case["votes"], case["sigma"], case["delta"])
    assert_close(found.epsilon, case["composed_dp_eps"])
    assert_close(found.order, case["composed_order_opt"])
    assert_close(found.single, case["single_dp_eps"])
    assert_close(found.answered, np.arange(1, len(case["votes"]) + 1))


@pytest.mark.parametrize("config", CONFIDENT["configs"], ids=lambda config: config["label"])
def test_confident_gnmax_matches_the_released_code(config):
    fixed = {key: config[key] for key in ("threshold", "sigma_threshold")}
    for case in config["single"]:
        votes = [case["votes"]]
        assert_close(threshold_logp(votes, **fixed), [case["log_pr_answered"]])
        rdp = threshold_rdp(votes, **fixed)
        assert_close(rdp[0, CONFIDENT["orders_index"]], case["rdp_threshold"])
    for case in [c | {"votes": [c["votes"]]} for c in config["single"]] + config["seq"]:
        found = compose(case["votes"], config["sigma_gnmax"], config["delta"], **fixed)
        for key, values in (
            ("dp_eps", found.epsilon),
            ("order_opt", found.order),
            ("answered", found.answered),
        ):
            assert_close(values, np.atleast_1d(case[key]))


@given(st.integers(0, 2**32), st.floats(0.5, 100.0))
@settings(max_examples=15)
def test_together_never_costs_more_than_one_by_one(seed, sigma):
    votes = np.random.default_rng(seed).multinomial(250, np.linspace(1, 9, 10) / 50, size=20)
    found = compose(votes, sigma, 1e-5, teachers=250)
    assert_close(found.single, gnmax_epsilon(votes, sigma, 1e-5))
    assert (found.epsilon <= np.cumsum(found.single) * (1 + 1e-12)).all()
    assert (np.diff(found.epsilon) >= -1e-12).all()
    # The order of the queries does not matter to the whole.
    assert_close(compose(votes[::-1], sigma, 1e-5).epsilon[-1], found.epsilon[-1])


def test_agreement_of_many_teachers_costs_nothing_but_delta():
    cost = gnmax_epsilon([[1_000_000, 0]], 1.0, 1e-5)
    assert_close(cost, [-np.log(1e-5) / (ORDERS[-1] - 1)])
    assert not gnmax_rdp([[10**9, 0]], 1e-3).any()
    none = np.zeros((0, 10), int)  # nor do no queries
    assert gnmax_epsilon(none, 10.0, 1e-5).shape == (0,)
    assert gnmax_rdp(none, 10.0).shape == (0, len(ORDERS))
    assert confident_gnmax_rdp(none, 200, 150, 40, [2, 3]).shape == (0, 2)
    found = compose(none, 10.0, 1e-5)
    assert found.epsilon.shape == found.single.shape == found.answered.shape == (0,)
    votes = [[200, 30, 20], [90, 80, 80]]
    assert_close(confident_gnmax_rdp(votes, 0, 0, 10.0), gnmax_rdp(votes, 10.0))  # no threshold


VOTES = [[200, 50]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gnmax_epsilon([200, 50], 10, 1e-5), r"votes have shape \(2,\), expected \(b, k\)"),
        (lambda: gnmax_epsilon([[200]], 10, 1e-5), r"votes have shape \(1, 1\), .*2 classes"),
        (lambda: gnmax_epsilon([["a", "b"]], 10, 1e-5), "votes have dtype <U1, expected counts"),
        (lambda: gnmax_epsilon([[3, -1]], 10, 1e-5), "votes contain -1, expected counts from 0"),
        (lambda: gnmax_epsilon([[3, np.nan]], 10, 1e-5), "votes contain nan"),
        (lambda: gnmax_epsilon([[3, 1], [0, 0]], 10, 1e-5), "a row without any vote"),
        (
            lambda: gnmax_epsilon([[3, 1], [2, 3]], 10, 1e-5, teachers=4),
            "row 1 sum to 5, .* 4, one",
        ),
        (
            lambda: gnmax_epsilon(VOTES, 0, 1e-5),
            r"sigma is 0, expected .*above 0 \(1e-90 to 1e90\)",
        ),
        (lambda: gnmax_epsilon(VOTES, np.nan, 1e-5), "sigma is nan"),
        (lambda: gnmax_rdp(VOTES, 0), "sigma is 0"),
        (lambda: gnmax_epsilon(VOTES, 10, 0), "delta is 0, expected a probability"),
        (lambda: gnmax_rdp(VOTES, 10, [1, 2]), "orders must be a list of finite numbers above 1"),
        (lambda: gnmax_rdp(VOTES, 10, [[2]]), "orders must be"),
        (lambda: threshold_logp(VOTES, -1, 150), "threshold is -1"),
        (lambda: threshold_logp(VOTES, 200, 0), "sigma_threshold is 0"),
        (lambda: rdp_to_epsilon([[1, 2]], [2, 3, 4], 1e-5), r"rdp has shape \(1, 2\), .*\(b, 3\)"),
        (lambda: rdp_to_epsilon([[1, np.nan]], [2, 3], 1e-5), "not negative"),
        (lambda: compose([[3, 1], [2, 3]], 10, 1e-5, teachers=4), "votes of row 1 sum to 5"),
        (lambda: compose(np.zeros((0, 2)), 0, 1e-5), "sigma is 0"),
        (lambda: compose(np.zeros((0, 2)), 10, 1), "delta is 1"),
        (lambda: compose(VOTES, 10, 1e-5, threshold=200.0), "sigma_threshold is 0.0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
