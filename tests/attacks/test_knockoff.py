"""Adaptive Knockoff Nets: rewards by hand, what is drawn, and what it refuses."""

import numpy as np
import pytest
from plans import drive

from attacks import knockoff
from attacks.bandit import Bandit
from attacks.world import Surrogate, World
from core.learning import networks

SHAPE, CLASSES = (1, 8, 8), 3
ANSWERS = np.array([[0.7, 0.2, 0.1], [0.4, 0.3, 0.3]], np.float32)


def test_certainty_by_hand():
    np.testing.assert_allclose(knockoff.certainty(ANSWERS, None, None), [0.5, 0.1], atol=1e-6)


def test_diversity_by_hand():
    usual = np.array([0.5, 0.25, 0.25])
    np.testing.assert_allclose(knockoff.diversity(ANSWERS, None, usual), [0.2, 0.1], atol=1e-6)


def test_loss_by_hand():
    guess = np.log([[0.5, 0.25, 0.25], [0.8, 0.1, 0.1]])
    expected = [
        -(0.7 * np.log(0.5) + 0.3 * np.log(0.25)),
        -(0.4 * np.log(0.8) + 0.6 * np.log(0.1)),
    ]
    np.testing.assert_allclose(knockoff.loss(ANSWERS, guess, None), expected, rtol=1e-6)


def test_log_softmax_stays_finite():
    logs = knockoff.log_softmax(np.array([[1e4, 0.0, -1e4], [1.0, 1.0, 1.0]], np.float32))
    np.testing.assert_allclose(logs[0], [0, -1e4, -2e4])
    np.testing.assert_allclose(logs[1], np.log(1 / 3))


def world(classes, seed=0):
    """Images that say their class: its brightness is 60 times the class, and a bit of noise."""
    classes = None if classes is None else np.asarray(classes)
    count = 50 if classes is None else len(classes)
    pool = np.random.default_rng(7).integers(0, 10, (count, *SHAPE))
    if classes is not None:
        pool += classes[:, None, None, None] * 60
    network = networks.build("lenet-thin", SHAPE, CLASSES, seed=seed)
    return World(
        pool.astype(np.uint8), Surrogate(network, seed=seed), np.random.default_rng(seed), classes
    )


def asked(place, answer, **config):
    """The classes asked, request by request."""
    settings = {"budget": 120, "batch": 10, "rounds": 1, "epochs": 1, "strategy": "adaptive"}
    plan = knockoff.plan(knockoff.Config(**{**settings, **config}), place)
    requests, _ = drive(plan, lambda images: answer(images[:, 0, 0, 0] // 60))
    return [images[:, 0, 0, 0] // 60 for images in requests]


def sure_of_class_two(classes):
    sure, unsure = np.array([0.98, 0.01, 0.01]), np.array([0.34, 0.33, 0.33])
    return np.where((classes == 2)[:, None], sure, unsure).astype(np.float32)


@pytest.mark.parametrize("reward", ["certainty", "all"])
def test_the_class_that_pays_is_drawn_more_and_more(reward):
    requests = asked(world(np.arange(400) % 4), sure_of_class_two, reward=reward)
    late = np.concatenate(requests[8:])
    assert (late == 2).mean() > 0.5


def test_the_loss_follows_what_the_surrogate_cannot_do_yet():
    """Class 2 has an answer of its own; the surrogate, trained while asking, is wrong on it."""
    seen = []

    def answer(classes):
        seen.append(classes)
        return np.eye(3, dtype=np.float32)[np.where(classes == 2, 1, 0)] * 0.9 + 0.1 / 3

    requests = asked(world(np.arange(400) % 4), answer, reward="loss", online_lr=0.05)
    assert (np.concatenate(requests[4:]) == 2).mean() > 0.35


def test_the_surrogate_learns_while_asking():
    place = world(np.arange(100) % 4)
    before = place.surrogate.predict(place.pool)
    plan = knockoff.plan(
        knockoff.Config(budget=90, batch=10, rounds=1, epochs=1, strategy="adaptive"), place
    )
    images = next(plan)
    plan.send(sure_of_class_two(images[:, 0, 0, 0] // 60))
    assert place.surrogate.rounds == 0  # not a lesson that leaves a checkpoint
    assert not np.array_equal(before, place.surrogate.predict(place.pool))


def test_a_class_that_is_used_up_is_closed_and_no_image_asked_twice():
    classes = np.array([0] * 5 + [1] * 45)
    requests = asked(world(classes), lambda c: np.full((len(c), 3), 1 / 3, np.float32))
    assert sum(map(len, requests)) == 50
    assert (np.concatenate(requests) == 0).sum() == 5


def test_a_draw_takes_from_the_stock():
    stock = [[1, 2], [3]]
    classes, places = knockoff._draw(Bandit(np.zeros(2)), stock, 3, np.random.default_rng(0))
    assert sorted(places) == [1, 2, 3]
    assert stock == [[], []]
    assert sorted(classes) == [0, 0, 1]


def test_rounds_are_learnt_from_everything_so_far():
    place, seen = world(np.arange(100) % 4), []
    place.surrogate.learn = lambda images, *_, **__: seen.append(len(images))
    asked(place, sure_of_class_two, budget=60, rounds=3)
    assert seen == [20, 40, 60]


@pytest.mark.parametrize(
    ("classes", "config", "message"),
    [
        (None, {}, "the pool has no classes"),
        ([-1, 0, 1], {}, "the pool has a class -1; expected 0 or more"),
        ([0, 0, 2, 3], {}, "no image of class 1; .* 4 classes"),
        ([0, 1], {"rounds": 0}, "rounds is 0"),
        ([0, 1], {"online_lr": -1.0}, "lr is -1"),
        ([0, 1], {"online_lr": float("nan")}, "lr is nan"),
        ([0, 1], {"reward": "luck"}, "'luck'; expected one of certainty"),
        ([0, 1], {"strategy": "greedy"}, "'greedy'; expected random or adaptive"),
    ],
)
def test_refused_before_any_query(classes, config, message):
    cfg = knockoff.Config(**{"strategy": "adaptive", **config})
    with pytest.raises(ValueError, match=message):
        next(knockoff.plan(cfg, world(classes)))
