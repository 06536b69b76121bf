"""Answers as the released code gives them, and optima as a solver of linear programmes does."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import nn

from core.arrays import softmax
from core.learning.networks import Network
from server.defences.adaptive_misinformation import misinformed
from server.defences.gradient_redirection import MARGIN, redirect
from server.defences.keeping_top import redirect_keeping_top
from server.defences.mad import cosines, poisoned
from server.defences.modelguard_w import guarded
from server.defences.random_class import mixed
from server.defences.reverse_sigmoid import reversed_sigmoid
from server.defences.surrogates import Steered, against_clean, all_ones, towards_label

GOLDEN = json.loads((Path(__file__).parents[2] / "golden/perturbed_answers.json").read_text())
ATOL = 1e-5  # the released code clips at 1e-15, stops filling within 1e-5, and renormalises


def cases(*methods):
    chosen = [case for case in GOLDEN["cases"] if case["method"] in methods]
    return [pytest.param(case, id=case["name"]) for case in chosen]


def surrogate(case):
    """The case's surrogate; its inputs must be given as (x + 1) / 2, which a network undoes."""
    parameters = [torch.tensor(p, dtype=torch.float64) for p in case["surrogate"]["params"]]
    layers = [nn.Linear(w.shape[1], w.shape[0]) for w in parameters[::2]]
    for layer, weight, bias in zip(layers, parameters[::2], parameters[1::2], strict=True):
        layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
    body = nn.Flatten() if len(layers) == 1 else nn.Sequential(nn.Flatten(), layers[0], nn.Tanh())
    network = Network("golden", (1, 1, 1), case["K"], body, layers[-1].in_features)
    network.head = layers[-1]
    return network.double().eval()


def images(x):
    return (np.atleast_2d(x)[:, None, None, :] + 1) / 2


def given(case, name="posterior"):
    return np.array(case[name])


@pytest.mark.parametrize("case", cases("gradient_redirection"))
def test_redirection_as_released(case):
    posterior, scores = given(case), given(case, "class_scores_to_maximise")
    for i, epsilon in enumerate(case["epsilons"]):
        out = redirect(posterior, scores.reshape(posterior.shape), epsilon)
        np.testing.assert_allclose(out, given(case, "out")[:, i], atol=ATOL)


@pytest.mark.parametrize(
    "case",
    [
        param
        for param in cases("gradient_redirection")
        # Released: against the mean gradient of a batch; here: of each image.
        if param.values[0]["target"] != "min_ip" or param.values[0]["N"] == 1
    ],
)
def test_scores_as_released(case):
    network, x = surrogate(case), images(case["x"])
    if case["target"] == "min_ip":
        found = against_clean(network, x, given(case))
    elif case["target"] == "watermark":
        found = Steered(
            network,
            towards_label(network, images(case["watermark_x"]), case["watermark_class"]),
        ).scores(x)
    else:
        found = Steered(network, all_ones(network)).scores(x)
    expected = given(case, "class_scores_to_maximise")
    np.testing.assert_allclose(found, expected.reshape(found.shape), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("case", cases("mad"))
def test_mad_as_released_but_for_the_clipped_step(case):
    posterior, network = given(case), surrogate(case)
    with torch.no_grad():
        p = softmax(network(torch.from_numpy(images(case["x"]))).numpy())
    v = posterior - p
    turned = 1 - cosines(v, p, 1.0, v, p)
    np.testing.assert_allclose(turned[0], case["one_minus_cos_per_class"], atol=1e-7)
    vertex = np.eye(case["K"])[case["chosen_class"]]
    for i, epsilon in enumerate(case["epsilons"]):
        reached = np.abs(posterior[0] - vertex).sum() <= epsilon
        expected = vertex if reached else given(case, "out")[0, i]
        np.testing.assert_allclose(poisoned(posterior, p, epsilon)[0], expected, atol=ATOL)


@pytest.mark.parametrize("case", cases("reverse_sigmoid"))
def test_reverse_sigmoid_in_both_forms(case):
    for i, beta in enumerate(case["betas"]):
        released = reversed_sigmoid(given(case), beta, case["gamma"], released_clipping=True)
        np.testing.assert_allclose(released, given(case, "out")[:, i], atol=ATOL)
        lee = reversed_sigmoid(given(case), beta, case["gamma"])
        np.testing.assert_allclose(lee, given(case, "out_unclamped_lee2018")[:, i], atol=ATOL)


@pytest.mark.parametrize("case", cases("adaptive_misinformation"))
def test_adaptive_misinformation_as_released(case):
    posterior, misled = given(case), given(case, "misinformation_posterior")
    for i, tau in enumerate(case["taus"]):
        out = misinformed(posterior, misled, posterior.max(axis=1), tau, case["nu"])
        np.testing.assert_allclose(out, given(case, "out")[:, i], atol=ATOL)


@pytest.mark.parametrize("case", cases("random_perturbation"))
def test_random_perturbation_as_released(case):
    for i, epsilon in enumerate(case["epsilons"]):
        out = mixed(given(case), np.array([case["chosen_class"]]), epsilon)
        np.testing.assert_allclose(out, given(case, "out")[:, i], atol=ATOL)


@pytest.mark.parametrize("case", [pytest.param(c, id=c["name"]) for c in GOLDEN["lp_cases"]])
def test_keeping_the_top_reaches_the_optimum(case):
    posterior, scores = given(case)[None], given(case, "class_scores_to_maximise")[None]
    assert case["margin"] == MARGIN
    for epsilon, objective in zip(case["epsilons"], case["objective"], strict=True):
        out = redirect_keeping_top(posterior, scores, epsilon, margin=MARGIN)
        assert (out * scores).sum() == pytest.approx(objective, abs=1e-7)


def optimum(y, s, epsilon, margin=None):
    """max <s, y'> as a linear programme in y' and |y' - y|, or None where there is none."""
    k = len(y)
    rows = [np.hstack([sign * np.eye(k), -np.eye(k)]) for sign in (1, -1)]
    limits = [y, -y]
    rows.append(np.hstack([np.zeros(k), np.ones(k)])[None])
    limits.append([epsilon])
    if margin is not None:
        above = np.eye(k) - np.eye(k)[y.argmax()]
        rows.append(np.hstack([np.delete(above, y.argmax(), 0), np.zeros((k - 1, k))]))
        limits.append(np.full(k - 1, -margin))
    found = linprog(
        -np.hstack([s, np.zeros(k)]),
        A_ub=np.vstack(rows),
        b_ub=np.concatenate(limits),
        A_eq=np.hstack([np.ones(k), np.zeros(k)])[None],
        b_eq=[1],
    )
    return -found.fun if found.status == 0 else None


@pytest.mark.parametrize("seed", range(25))
def test_both_redirections_and_modelguard_are_optimal(seed):
    rng = np.random.default_rng(seed)
    k = int(rng.integers(2, 13))
    y = rng.dirichlet(np.full(k, rng.choice([0.05, 0.5, 5.0, 500.0])))[None]
    s, epsilon = rng.normal(size=(1, k)), rng.uniform(0, 2)
    assert (redirect(y, s, epsilon) * s).sum() == pytest.approx(
        optimum(y[0], s[0], epsilon), abs=1e-6
    )
    margin = min(1e-6, float(np.diff(np.sort(y[0]))[-1]))
    kept = redirect_keeping_top(y, s, epsilon, margin=margin)
    assert (kept * s).sum() == pytest.approx(optimum(y[0], s[0], epsilon, margin), abs=1e-6)
    best = optimum(y[0], -np.log(y[0] + 1e-6), epsilon, 1e-4)
    if best is not None:
        objective = (guarded(y, epsilon) * -np.log(y + 1e-6)).sum()
        assert objective == pytest.approx(best, abs=1e-5)
