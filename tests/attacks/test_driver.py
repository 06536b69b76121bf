"""The driver: budget, checkpoints, and the end of a plan."""

import numpy as np
import pytest

from attacks.driver import Driver
from attacks.world import Price

IMAGES = np.zeros((4, 1, 2, 2), np.uint8)
TRAIN = "train"


class Counter:
    """Stands in for a surrogate: counts rounds, has no network."""

    rounds = 0
    network = None


def run(steps, *, budget):
    """What was asked, what came back to the plan, and what was saved."""
    surrogate, asked, got, saved = Counter(), [], [], []
    times = iter(range(1000))

    def plan():
        try:
            for step in steps:
                if step is TRAIN:
                    surrogate.rounds += 1
                else:
                    got.append((yield step))
        finally:
            got.append("closed")

    Driver(
        plan(),
        surrogate,
        predict=lambda images: asked.append(len(images)) or np.ones((len(images), 3)),
        price=lambda images: 100 * len(images),
        budget=budget,
        surrogates=None,
        saved=lambda images, name, seconds: saved.append((images, name, seconds)),
        clock=lambda: next(times),
    ).run()
    return asked, got, saved


def test_a_batch_beyond_the_budget_is_not_asked_and_the_plan_is_closed():
    asked, got, saved = run([IMAGES] * 9, budget=10)
    assert asked == [4, 4]
    assert [answers.shape for answers in got[:-1]] == [(4, 3), (4, 3)]
    assert got[-1] == "closed"
    assert saved == []
    asked, got, _ = run([Price(IMAGES), Price(IMAGES[:1]), IMAGES], budget=4)
    assert got[:2] == [400, 100]  # prices do not count
    assert asked == [4]


@pytest.mark.parametrize(
    ("steps", "budget", "checkpoints"),
    [
        ([IMAGES, TRAIN, IMAGES, IMAGES, TRAIN], 100, [4, 12]),
        ([IMAGES, TRAIN, TRAIN, IMAGES, IMAGES], 100, [4]),  # no batch between them
        ([IMAGES, TRAIN, IMAGES, TRAIN], 4, [4]),  # at the very end of the budget
    ],
)
def test_a_checkpoint_after_every_round_and_only_then(steps, budget, checkpoints):
    _, _, saved = run(steps, budget=budget)
    names = [f"{images:06d}.safetensors" for images in checkpoints]
    assert saved == [(images, name, 1) for images, name in zip(checkpoints, names, strict=True)]
