"""Adaptive Knockoff Nets: rewards by hand, what is drawn, and what it refuses."""

import numpy as np
import pytest
from plans import drive

from attacks import knockoff
from attacks.world import Surrogate, World
from core.learning import networks

SHAPE, CLASSES = (1, 8, 8), 3
ANSWERS = np.array([[0.7, 0.2, 0.1], [0.4, 0.3, 0.3]], np.float32)


def test_rewards_by_hand():
    usual = np.array([0.5, 0.25, 0.25])
    guess = np.log([[0.5, 0.25, 0.25], [0.8, 0.1, 0.1]])
    losses = [
        -(0.7 * np.log(0.5) + 0.3 * np.log(0.25)),
        -(0.4 * np.log(0.8) + 0.6 * np.log(0.1)),
    ]
    for reward, expected in (
        (knockoff.certainty(ANSWERS, None, None), [0.5, 0.1]),
        (knockoff.diversity(ANSWERS, None, usual), [0.2, 0.1]),
        (knockoff.loss(ANSWERS, guess, None), losses),
    ):
        np.testing.assert_allclose(reward, expected, rtol=1e-6)
    logs = knockoff.log_softmax(np.array([[1e4, 0.0, -1e4], [1.0, 1.0, 1.0]], np.float32))
    np.testing.assert_allclose(logs, [[0, -1e4, -2e4], [np.log(1 / 3)] * 3])


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


def test_rounds_are_learnt_from_everything_so_far():
    place, seen = world(np.arange(100) % 4), []
    place.surrogate.learn = lambda images, *_, **__: seen.append(len(images))
    asked(place, sure_of_class_two, budget=60, rounds=3)
    assert seen == [20, 40, 60]
