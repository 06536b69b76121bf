"""What every defence promises, whatever the posterior: driven by the registry."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from meaning import assert_same_answers

from core.learning import networks
from server.defences import DEFENCES, Budgeted, Context, Perturbation, load
from server.defences.gradient_redirection import redirect
from server.defences.keeping_top import redirect_keeping_top
from server.defences.mad_argmax import poisoned_below_top
from server.defences.rounding import rounded
from server.defences.surrogates import Surrogates
from server.defences.topk import largest

SHAPE = (1, 8, 8)
ALL = [(name, {}) for name, module in DEFENCES.items() if module]
KEEPING = ("gradient_redirection", {"keep_top": True})
KEEP_TOP = ("topk", "hard_label", "mad_argmax", "modelguard_w")
FLOAT32 = 2e-6  # what rounding a posterior to float32 does to sums over it


@st.composite
def posteriors(draw, dtype=np.float64):
    """Posteriors (b, k) of every kind: flat, peaked, with zeros and with ties."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    b, k = draw(st.integers(1, 6)), draw(st.sampled_from([2, 3, 10, 17]))
    out = rng.dirichlet(np.full(k, draw(st.sampled_from([0.02, 0.3, 1.0, 50.0]))), size=b)
    decimals = draw(st.sampled_from([None, 1, 2]))
    if decimals is not None:
        out = rounded(out, decimals)
    return out.astype(dtype)


class FixedSurrogates:
    """Says anything of an image, but always the same."""

    def check(self, images, posterior):
        self.classes = posterior.shape[1]

    def posterior(self, images):
        return np.random.default_rng(1).dirichlet(np.ones(self.classes), size=len(images))

    def scores(self, images, posterior, **settings):
        return np.random.default_rng(2).normal(size=posterior.shape)


def answered(defence, posterior, images=None, client="alice", key=b"k" * 32, surrogates=None):
    """What the client gets instead of a posterior."""
    images = images_for(posterior) if images is None else images
    served = Perturbation("", defence, key, surrogates or FixedSurrogates())
    return served.answer(posterior, images, client)


def images_for(posterior):
    return np.random.default_rng(3).random((len(posterior), *SHAPE), dtype=np.float32)


def distance(a, b):
    return np.abs(a.astype(np.float64) - b.astype(np.float64)).sum(axis=1)


@pytest.mark.parametrize(("name", "chosen"), [*ALL, KEEPING])
@settings(max_examples=40)
@given(posterior=posteriors(np.float32), epsilon=st.floats(0, 2))
def test_answers_are_posteriors_within_the_budget(name, chosen, posterior, epsilon):
    budgeted = issubclass(load(name), Budgeted)
    defence = load(name)(**chosen, **({"epsilon": epsilon} if budgeted else {}))
    before = posterior.copy()
    out = answered(defence, posterior)
    assert out.shape == posterior.shape
    assert out.dtype == posterior.dtype
    assert np.array_equal(posterior, before)
    assert out.min() >= 0
    np.testing.assert_allclose(out.sum(axis=1), 1, atol=FLOAT32)
    if budgeted:
        assert (distance(out, posterior) <= epsilon + FLOAT32).all()
    if name in KEEP_TOP or chosen:
        assert np.array_equal(out.argmax(axis=1), posterior.argmax(axis=1))


def test_a_lead_that_float32_would_lose_is_kept():
    posterior = np.full((1, 10), 0.1, np.float32).astype(float)
    posterior[0, 9] = np.nextafter(np.float32(0.1), np.float32(1))  # the smallest lead there is
    scores = np.array([[1.0, 0, 0, 0, 0, 0, 0, 0, 0, 0.9]])  # both the first and the top rise
    for epsilon in np.linspace(0.2, 1.6, 15):
        out = redirect_keeping_top(posterior, scores, epsilon, margin=1e-6)
        assert out.astype(np.float32).argmax() == 9


@given(posterior=posteriors(), factor=st.floats(1e-3, 1e3), shift=st.floats(-5, 5))
def test_redirection_knows_scores_up_to_scale_and_shift(posterior, factor, shift):
    """It spends what the best class can take, and a lead above its budget stays."""
    scores = np.random.default_rng(0).normal(size=posterior.shape)
    out = redirect(posterior, scores, 0.7)
    best = posterior[np.arange(len(posterior)), scores.argmax(axis=1)]
    np.testing.assert_allclose(distance(out, posterior), 2 * np.minimum(0.35, 1 - best), atol=1e-9)
    lead = np.diff(np.sort(posterior, axis=1)[:, -2:], axis=1)[:, 0]
    assert (out.argmax(axis=1) == posterior.argmax(axis=1))[lead > 0.7 + 1e-9].all()
    again = redirect(posterior, scores * factor + shift, 0.7)
    np.testing.assert_allclose(again, out, atol=1e-12)


@given(posterior=posteriors(), decimals=st.integers(0, 4))
def test_rounding_deals_out_units_and_keeps_the_order(posterior, decimals):
    out = rounded(posterior, decimals)
    units = out * 10**decimals
    np.testing.assert_allclose(units, units.round(), atol=1e-9)
    order = np.lexsort((out, posterior), axis=1)  # of equal classes, one may get more
    assert (np.diff(np.take_along_axis(out, order, axis=1), axis=1) >= 0).all()
    assert (np.abs(out - posterior) <= 10.0**-decimals + 1e-12).all()


@given(posterior=posteriors(), classes=st.integers(1, 20))
def test_top_k_keeps_the_largest(posterior, classes):
    out = np.sort(largest(posterior, classes), axis=1)
    assert ((out > 0).sum(axis=1) <= classes).all()
    kept = np.sort(posterior, axis=1)[:, -classes:]
    expected = kept / kept.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(out[:, -classes:], expected, atol=1e-12)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), k=st.integers(3, 6))
def test_mad_argmax_finds_the_best_of_all_sets(seed, k):
    rng = np.random.default_rng(seed)
    y, p = rng.dirichlet(np.ones(k), size=(2, 1))
    top = y[0].argmax()
    angles = {}
    for code in range(2**k):
        members = np.array([code >> i & 1 for i in range(k)], float)
        if members[top]:
            u = members / members.sum() - p[0]
            angles[code] = (y[0] - p[0]) @ u / np.linalg.norm(u)
    best = min(angles, key=angles.get)
    expected = np.array([best >> i & 1 for i in range(k)], bool)
    out = poisoned_below_top(y, p, 2.0)[0]
    assert np.array_equal(out > 1e-9, expected)
    np.testing.assert_allclose(out[expected], 1 / expected.sum(), atol=2e-5)


def test_beyond_ten_classes_a_set_grows_while_that_helps():
    rng = np.random.default_rng(0)
    y, p = rng.dirichlet(np.ones(12), size=(2, 3))
    out = poisoned_below_top(y, p, 2.0)
    for i in range(3):
        members, v = out[i] > 1e-9, y[i] - p[i]

        def angle(chosen, v=v, p=p[i]):
            u = chosen / chosen.sum() - p
            return v @ u / np.linalg.norm(u)

        assert members[y[i].argmax()]
        for k in np.flatnonzero(~members):
            larger = members.copy()
            larger[k] = True
            assert angle(larger) >= angle(members) - 1e-12


def test_noise_is_the_same_for_a_client_and_an_image():
    posterior = np.full((50, 10), 0.1, np.float32)
    posterior[:, 4] += 0.05
    posterior[:, 5] -= 0.05
    images = images_for(posterior)
    noisy = load("random")(epsilon=0.5)
    out = answered(noisy, posterior)
    assert_same_answers(out, answered(noisy, posterior))
    order = np.random.default_rng(0).permutation(50)
    assert_same_answers(out[order], answered(noisy, posterior[order], images[order]))
    assert not np.allclose(out, answered(noisy, posterior, client="bob"))
    assert not np.allclose(out, answered(noisy, posterior, key=b"x" * 32))
    chosen = (out - 0.75 * posterior).argmax(axis=1)
    assert 4 not in chosen
    assert len(set(chosen)) == 9


def test_a_negative_zero_is_no_other_image():
    images = np.zeros((1, *SHAPE), np.float32)
    twin = images.copy()
    twin[0, 0, 0, 0] = -0.0
    asking = Context(client="alice", key=b"k")
    assert asking.draws(images) == asking.draws(twin)
    assert asking.draws(images) != asking.draws(images + np.float32(1e-3))


def test_an_answer_does_not_depend_on_its_neighbours():
    surrogates = Surrogates([networks.build("lenet-thin", SHAPE, 4, seed=s) for s in range(2)])
    posterior = np.random.default_rng(0).dirichlet(np.ones(4), size=5).astype(np.float32)
    images = images_for(posterior)
    for target in ("all-ones", "clean", "watermark"):
        defence = load("gradient_redirection")(epsilon=0.5, target=target)
        whole, *parts = (
            answered(defence, posterior[part], images[part], surrogates=surrogates)
            for part in (slice(None), *([i] for i in range(5)))
        )
        np.testing.assert_allclose(whole, np.concatenate(parts), atol=1e-6)
