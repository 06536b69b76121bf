"""The driver: budget, checkpoints, and the end of a plan."""

import numpy as np

from attacks.driver import Driver
from attacks.world import Price

IMAGES = np.zeros((4, 1, 2, 2), np.uint8)


class Counter:
    """Stands in for a surrogate: counts rounds, has no network."""

    rounds = 0
    network = None


def run(plan, surrogate, *, budget):
    asked, saved = [], []
    times = iter(range(1000))
    driver = Driver(
        plan,
        surrogate,
        predict=lambda images: asked.append(len(images)) or np.ones((len(images), 3)),
        price=lambda images: 100 * len(images),
        budget=budget,
        surrogates=None,
        saved=lambda images, name, seconds: saved.append((images, name, seconds)),
        clock=lambda: next(times),
    )
    driver.run()
    return asked, saved


def test_a_batch_beyond_the_budget_is_not_asked_and_the_plan_is_closed():
    closed = []

    def endless():
        try:
            while True:
                yield IMAGES
        finally:
            closed.append(True)

    asked, _ = run(endless(), Counter(), budget=10)
    assert asked == [4, 4]
    assert closed == [True]


def test_answers_go_to_the_plan():
    got = []

    def plan():
        got.append((yield IMAGES))

    run(plan(), Counter(), budget=10)
    assert got[0].shape == (4, 3)


def test_a_checkpoint_after_every_round_and_only_then():
    surrogate = Counter()

    def plan():
        yield IMAGES
        surrogate.rounds += 1
        yield IMAGES
        yield IMAGES
        surrogate.rounds += 1

    _, saved = run(plan(), surrogate, budget=100)
    assert [images for images, _, _ in saved] == [4, 12]
    assert saved[0][1:] == ("000004.safetensors", 1)


def test_rounds_without_a_batch_between_leave_one_checkpoint():
    surrogate = Counter()

    def plan():
        yield IMAGES
        surrogate.rounds += 2
        yield IMAGES
        yield IMAGES

    _, saved = run(plan(), surrogate, budget=100)
    assert [images for images, _, _ in saved] == [4]


def test_a_round_at_the_very_end_of_the_budget_is_saved():
    surrogate = Counter()

    def plan():
        while True:
            yield IMAGES
            surrogate.rounds += 1

    _, saved = run(plan(), surrogate, budget=4)
    assert [images for images, _, _ in saved] == [4]


def test_prices_go_to_the_plan_and_do_not_count():
    got = []

    def plan():
        got.append((yield Price(IMAGES)))
        got.append((yield Price(IMAGES[:1])))
        yield IMAGES

    asked, _ = run(plan(), Counter(), budget=4)
    assert got == [400, 100]
    assert asked == [4]
