"""Bad input of the pure cores: one error that names the value and what was expected."""

import numpy as np
import pytest

from server import defences
from server.defences.gradient_redirection import redirect
from server.defences.keeping_top import redirect_keeping_top
from server.defences.mad import poisoned
from server.defences.mad_argmax import poisoned_below_top
from server.defences.modelguard_w import guarded
from server.defences.random_class import mixed

Y = np.array([[0.7, 0.2, 0.1]])
ZERO = np.array([0])

BUDGETED = {
    "redirect": lambda y, e: redirect(y, y, e),
    "redirect_keeping_top": lambda y, e: redirect_keeping_top(y, y, e, margin=1e-6),
    "poisoned": lambda y, e: poisoned(y, y, e),
    "poisoned_below_top": lambda y, e: poisoned_below_top(y, y, e),
    "guarded": lambda y, e: guarded(y, e),
    "mixed": lambda y, e: mixed(y, ZERO, e),
}


@pytest.mark.parametrize("epsilon", [-0.1, 2.1, float("nan")])
@pytest.mark.parametrize("name", BUDGETED)
def test_a_budget_outside_0_to_2(name, epsilon):
    with pytest.raises(ValueError, match=rf"the L1 budget is {epsilon}, expected 0 to 2"):
        BUDGETED[name](Y, epsilon)


@pytest.mark.parametrize(
    ("posterior", "why"),
    [
        (np.array([[0.7, 0.2, 0.2]]), "probabilities sum to 1.1, expected 1"),
        (np.array([[1.0]]), "posterior has 1 classes, expected at least 2"),
        (np.array([[1.2, -0.2]]), "posterior contains -0.2, expected probabilities"),
        (np.array([[np.nan, 1.0]]), "posterior contains nan, expected probabilities"),
        (np.array([0.5, 0.5]), r"posterior is float64 of shape \(2,\), expected floats"),
        (np.array([[1, 0]]), r"posterior is int64 of shape \(1, 2\), expected floats"),
    ],
)
@pytest.mark.parametrize("name", BUDGETED)
def test_what_is_no_posterior(name, posterior, why):
    with pytest.raises(ValueError, match=why):
        BUDGETED[name](posterior, 1.0)


@pytest.mark.parametrize("name", ["rounding", "topk", "hard_label", "reverse_sigmoid"])
def test_what_is_no_posterior_is_no_posterior_for_the_others(name):
    config, asking = defences.load(name).Config(), defences.Context(client="a", key=b"k")
    with pytest.raises(ValueError, match=r"probabilities sum to 0\.9, expected 1"):
        config.perturb(np.array([[0.7, 0.2]]), np.zeros((1, 1, 4, 4), np.float32), asking)


def test_scores_that_do_not_fit():
    with pytest.raises(ValueError, match=r"scores have shape \(1, 2\), expected \(1, 3\)"):
        redirect(Y, np.zeros((1, 2)), 1.0)
    with pytest.raises(ValueError, match="scores contain inf, expected finite numbers"):
        redirect(Y, np.array([[0, np.inf, 0]]), 1.0)


def test_a_surrogates_posterior_that_does_not_fit():
    with pytest.raises(ValueError, match=r"posterior has shape \(1, 2\), expected \(1, 3\)"):
        poisoned(Y, np.array([[0.5, 0.5]]), 1.0)


@pytest.mark.parametrize(
    ("name", "settings", "why"),
    [
        ("random", {"epsilon": 3.0}, "the L1 budget is 3.0, expected 0 to 2"),
        ("mad", {"epsilon": -1.0}, "the L1 budget is -1.0"),
        ("mad_argmax", {"epsilon": 2.5}, "the L1 budget is 2.5"),
        ("modelguard_w", {"epsilon": 2.5}, "the L1 budget is 2.5"),
        ("gradient_redirection", {"epsilon": 2.5}, "the L1 budget is 2.5"),
        ("gradient_redirection", {"target": "up"}, "target is 'up', expected one of all-ones"),
        ("gradient_redirection", {"layers": "first"}, "layers is 'first', expected one of all"),
        ("rounding", {"decimals": -1}, "decimals is -1, expected a whole number, 0 to 6"),
        ("rounding", {"decimals": 7}, "decimals is 7"),
        ("topk", {"classes": 0}, "classes is 0, expected a whole number from 1"),
        ("reverse_sigmoid", {"beta": 2.1}, "beta is 2.1, expected 0 to 2"),
        ("reverse_sigmoid", {"gamma": 0.0}, "gamma is 0.0, expected above 0, at most 1"),
        ("reverse_sigmoid", {"gamma": 1.1}, "gamma is 1.1, expected above 0, at most 1"),
        ("adaptive_misinformation", {"tau": 1.5}, "tau is 1.5, expected 0 to 1"),
        ("adaptive_misinformation", {"nu": 0.0}, "nu is 0.0, expected a number above 0"),
    ],
)
def test_settings_out_of_range(name, settings, why):
    with pytest.raises(ValueError, match=why):
        defences.load(name).Config(**settings)


def test_an_unknown_defence():
    with pytest.raises(ValueError, match=r"unknown defence 'gradient-redirection'.*did you mean"):
        defences.load("gradient-redirection")
    with pytest.raises(ValueError, match=r"unknown defence 'xyz', expected one of none, rounding"):
        defences.load("xyz")
