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
    given = {"epochs": 3, "lr": 0.2, "momentum": 0.3, "weight_decay": 0.04}
    given |= {"decay": "step", "precision": "bfloat16"}
    flags = Training(train_batch=5, lr_step=6, lr_factor=0.7, **given)
    assert flags.schedule() == Schedule(batch=5, step_every=6, step_factor=0.7, **given)


@pytest.mark.parametrize("name", ROUNDS)
def test_schedules_can_be_overridden(name):
    wanted = {"epochs": 3, "lr": 0.01, "decay": "cosine", "precision": "bfloat16"}
    _, _, schedule, scratch = rounds(name, **wanted, scratch=False)[-1]
    assert {key: getattr(schedule, key) for key in wanted} == wanted
    assert not scratch


REFUSED = {
    "dfme": [
        ({"budget": 6}, "budget is 6; expected at least 7"),
        ({"epsilon": 0.0}, "epsilon is 0"),
        ({"generator_lr": -0.1}, "generator-lr is -0.1; expected at least 0"),
        *(({name: 0}, f"{name} is 0") for name in ("rounds", "directions", "latent", "width")),
        ({"student_steps": 0}, "student-steps is 0"),
        ({"generator_steps": 0}, "generator-steps is 0"),
        ({"train_batch": 0}, "train-batch is 0"),
    ],
    "inoutdist": [
        *(
            ({"ratio": ratio}, "ratio is .*; expected more than 0")
            for ratio in (0.0, -1.0, float("nan"), float("inf"))
        ),
        ({}, "needs a second pool"),
    ],
    "jacobian": [
        *(({name: 0}, f"{name} is 0") for name in ("seeds", "growth", "epochs")),
        *(
            ({"step": step}, f"step is {step}; expected more than 0, and at most 1")
            for step in (0.0, -0.1, 1.5)
        ),
    ],
    "knockoff": [
        (None, "the pool has no classes"),
        ([-1, 0, 1], "the pool has a class -1; expected 0 or more"),
        ([0, 0, 2, 3], "no image of class 1; .* 4 classes"),
        ({"rounds": 0}, "rounds is 0"),
        *(({"online_lr": lr}, f"lr is {lr:g}") for lr in (-1.0, float("nan"))),
        ({"reward": "luck"}, "'luck'; expected one of certainty"),
        ({"strategy": "greedy"}, "'greedy'; expected random or adaptive"),
    ],
    "mixmatch": [
        *(({name: 0}, f"{name} is 0") for name in ("rounds", "steps", "copies", "lr", "alpha")),
        ({"train_batch": 0}, "train-batch is 0"),
        ({"temperature": 0}, "temperature is 0"),
        ({"unlabelled_weight": -1.0}, "unlabelled-weight is -1"),
        ({"ema": 1.0}, "ema is 1.0"),
    ],
    "price_probe": [
        *(({"groups": n}, f"groups is {n}; expected 1 to 8") for n in (0, 9)),
        ({"rounds": 0}, "rounds is 0"),
        ({"prefer": "best"}, "'best'; expected expensive or cheap"),
    ],
    "worstcase": [({}, "worstcase needs the costs")],
}
"""Of each attack, settings that cannot be, or classes of a pool; and what is said of them."""


@pytest.mark.parametrize(
    ("name", "given", "message"), [(name, *case) for name in REFUSED for case in REFUSED[name]]
)
def test_refused_before_any_query(name, given, message):
    attack, classes = attacks.load(name), [0, 1]
    if not isinstance(given, dict):
        given, classes = {}, given
    settings = {"strategy": "adaptive", **given} if name == "knockoff" else given
    pool = np.zeros((2 if classes is None else len(classes), 1, 8, 8), np.uint8)
    classes = None if classes is None else np.array(classes)
    inside = pool if settings else None
    place = World(pool, Notebook(), np.random.default_rng(0), classes=classes, inside=inside)
    with pytest.raises(ValueError, match=message):
        next(attack.plan(attack.Config(**settings), place))
