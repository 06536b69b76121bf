"""Measures: votes, costs, and what is refused."""

import numpy as np
import pytest

from core.arrays import to_float
from core.datasets import load
from core.privacy.pate import gnmax_epsilon
from server import measures
from server.measures import heads, shards, teachers, voters, votes
from server.victim import Answer


@pytest.fixture(scope="module")
def victim(digits_home):
    from server import model

    model.prepare(digits_home, "m", dataset="digits", network="lenet-thin", measure="heads", seed=0)
    return model.load(digits_home, "m", "heads").victim


@pytest.fixture(scope="module")
def split(digits_home):
    return load("digits", home=digits_home).splits["victim"]


@pytest.fixture(scope="module", params=["heads", "teachers"])
def measure(request, victim, split, fast_teachers):
    return measures.train(request.param, victim, split, seed=0)


@pytest.fixture(scope="module")
def fast_teachers():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teachers, "MOST", 8)
        yield


@pytest.fixture(scope="module")
def held_out(digits_home):
    return to_float(load("digits", home=digits_home).splits["held_out"].images)


def test_a_cost_for_each_image_within_the_bounds_of_its_accounting(measure, victim, held_out):
    costs = measure.cost(held_out, victim.answer(held_out))
    count = measure.config().get("heads") or measure.config()["teachers"]
    sigma = count / 25
    assert measure.config()["sigma"] == sigma
    unanimous = np.zeros((1, 10), int)
    unanimous[0, 0] = count
    floor = gnmax_epsilon(unanimous, sigma, 1e-5)[0]
    assert costs.shape == (len(held_out),)
    assert costs.min() >= floor - 1e-12
    assert (costs > floor + 1e-6).any()


def test_noise_costs_more_than_digits(measure, victim, held_out):
    noise = np.random.default_rng(0).random(held_out.shape, dtype=np.float32)
    digits = measure.cost(held_out, victim.answer(held_out)).mean()
    assert measure.cost(noise, victim.answer(noise)).mean() > 1.2 * digits


def test_what_is_stored_votes_the_same(measure, victim, held_out):
    name = "heads" if isinstance(measure, heads.Heads) else "teachers"
    restored = measures.restore(name, measure.arrays(), measure.config(), victim)
    answer = victim.answer(held_out)
    np.testing.assert_array_equal(restored.cost(held_out, answer), measure.cost(held_out, answer))


def test_heads_are_as_good_as_their_votes(victim, split, held_out, digits_home):
    trained = measures.train("heads", victim, split, seed=0)
    labels = load("digits", home=digits_home).splits["held_out"].labels
    winners = trained.votes(victim.answer(held_out)).argmax(axis=1)
    assert (winners == labels).mean() > 0.85


def test_heads_need_features_of_their_width(victim, split, held_out):
    trained = measures.train("heads", victim, split, seed=0)
    answer = victim.answer(held_out)
    with pytest.raises(ValueError, match="gives no features"):
        trained.cost(held_out, Answer(answer.logits, None))
    with pytest.raises(ValueError, match="features have width 3; the heads expect"):
        trained.cost(held_out, Answer(answer.logits, answer.features[:, :3]))


def test_votes_are_histograms():
    np.testing.assert_array_equal(
        votes(np.array([[0, 0, 2], [1, 1, 1]]), 3), [[2, 0, 1], [0, 3, 0]]
    )


def test_shards_are_disjoint_and_of_one_size():
    index = shards(103, 10, seed=4)
    assert index.shape == (10, 10)
    assert len(np.unique(index)) == 100
    assert index.max() < 103


def test_shards_have_forty_images_at_least():
    assert voters(3000, most=250) == 75
    assert voters(50_000, most=250) == 250
    with pytest.raises(ValueError, match="79 training images are too few"):
        voters(79, most=250)


def test_measures_that_are_not_known(victim, split):
    with pytest.raises(KeyError):
        measures.train("guess", victim, split, seed=0)
