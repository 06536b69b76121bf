"""What each attack does of its own: labels it learns from, and its schedule."""

import numpy as np
import pytest
from plans import Notebook, drive

import attacks
from attacks.world import Training, World
from core.learning.training import Schedule


def rounds(name, **config):
    attack = attacks.load(name)
    pool = np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1).repeat(4, axis=2)
    world = World(pool, Notebook(), np.random.default_rng(0))
    drive(
        attack.plan(attack.Config(**{"budget": 40, "batch": 10, "rounds": 2, **config}), world),
        answers,
    )
    return world.surrogate.seen


def answers(images):
    """Class 2 with probability 0.55 + value / 100, the rest on class 0."""
    top = 0.55 + images[:, 0, 0, 0] / np.float32(100)
    return np.stack([1 - top, np.zeros_like(top), top], axis=1).astype(np.float32)


ROUNDS = ("copycat", "knockoff", "random")


@pytest.mark.parametrize(
    ("name", "config", "kind"),
    [
        ("random", {}, "soft"),
        ("knockoff", {}, "soft"),
        ("copycat", {}, "hard"),
        ("random", {"labels": "hard"}, "hard"),
    ],
)
def test_labels_are_soft_or_hard(name, config, kind):
    images, targets, *_ = rounds(name, **config)[-1]
    np.testing.assert_array_equal(targets, answers(images) if kind == "soft" else [2] * 40)
    assert targets.dtype == (np.float32 if kind == "soft" else np.int64)


@pytest.mark.parametrize("name", ROUNDS)
def test_each_round_learns_from_everything_so_far(name):
    seen = rounds(name)
    assert [len(images) for images, *_ in seen] == [20, 40]
    np.testing.assert_array_equal(seen[1][0][:20], seen[0][0])


def test_schedules_are_those_of_the_sources():
    random, knockoff, copycat = (rounds(name)[-1] for name in ("random", "knockoff", "copycat"))
    for _, _, common, scratch in (random, copycat):
        assert (common.lr, common.momentum, common.weight_decay) == (0.1, 0.5, 1e-4)
        assert (common.epochs, common.batch, common.decay) == (50, 64, "constant")
        assert scratch
    _, _, schedule, scratch = knockoff
    assert (schedule.lr, schedule.momentum, schedule.weight_decay) == (0.1, 0.0, 0.0)
    assert (schedule.epochs, schedule.batch) == (100, 64)
    assert (schedule.decay, schedule.step_every, schedule.step_factor) == ("step", 30, 0.1)
    assert not scratch


def test_a_schedule_has_every_number_of_its_flags():
    given = {
        "epochs": 3,
        "lr": 0.2,
        "momentum": 0.3,
        "weight_decay": 0.04,
        "decay": "step",
        "precision": "bfloat16",
    }
    flags = Training(train_batch=5, lr_step=6, lr_factor=0.7, **given)
    assert flags.schedule() == Schedule(batch=5, step_every=6, step_factor=0.7, **given)


@pytest.mark.parametrize("name", ROUNDS)
def test_schedules_can_be_overridden(name):
    wanted = {"epochs": 3, "lr": 0.01, "decay": "cosine", "precision": "bfloat16"}
    _, _, schedule, scratch = rounds(name, **wanted, scratch=False)[-1]
    assert {key: getattr(schedule, key) for key in wanted} == wanted
    assert not scratch
