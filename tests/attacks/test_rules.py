"""What each attack does of its own: labels it learns from, and its schedule."""

import numpy as np
import pytest

import attacks
from attacks.world import World


class Notebook:
    """A student that writes down its lessons."""

    def __init__(self):
        self.lessons = 0
        self.seen = []

    def learn(self, images, targets, schedule):
        self.lessons += 1
        self.seen.append((images, targets, schedule))


def lessons(name, **config):
    attack = attacks.load(name)
    pool = np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1).repeat(4, axis=2)
    student = Notebook()
    plan = attack.plan(
        attack.Config(**{"budget": 40, "batch": 10, "rounds": 2, **config}),
        World(pool, student, np.random.default_rng(0)),
    )
    images = next(plan)
    try:
        while True:
            images = plan.send(answers(images))
    except StopIteration:
        return student.seen


def answers(images):
    """Class 2 with probability 0.55 + value / 100, the rest on class 0."""
    top = 0.55 + images[:, 0, 0, 0] / np.float32(100)
    return np.stack([1 - top, np.zeros_like(top), top], axis=1).astype(np.float32)


@pytest.mark.parametrize("name", ["random", "knockoff"])
def test_soft_labels(name):
    images, targets, _ = lessons(name)[-1]
    np.testing.assert_array_equal(targets, answers(images))


def test_copycat_learns_hard_labels():
    _, targets, _ = lessons("copycat")[-1]
    assert targets.dtype == np.int64
    assert targets.tolist() == [2] * 40


@pytest.mark.parametrize("name", sorted(attacks.REGISTRY))
def test_each_round_learns_from_everything_so_far(name):
    seen = lessons(name)
    assert [len(images) for images, _, _ in seen] == [20, 40]
    np.testing.assert_array_equal(seen[1][0][:20], seen[0][0])


def test_schedules_are_those_of_the_sources():
    random, knockoff, copycat = (lessons(name)[-1][2] for name in ("random", "knockoff", "copycat"))
    for common in (random, copycat):
        assert (common.lr, common.momentum, common.weight_decay) == (0.1, 0.5, 1e-4)
        assert (common.epochs, common.batch, common.decay) == (50, 64, "constant")
    assert (knockoff.lr, knockoff.momentum, knockoff.weight_decay) == (0.1, 0.0, 0.0)
    assert (knockoff.epochs, knockoff.batch) == (100, 64)
    assert (knockoff.decay, knockoff.step_every, knockoff.step_factor) == ("step", 30, 0.1)


def test_schedules_can_be_overridden():
    schedule = lessons("knockoff", epochs=3, lr=0.01)[-1][2]
    assert (schedule.epochs, schedule.lr) == (3, 0.01)
