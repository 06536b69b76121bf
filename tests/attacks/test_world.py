"""The surrogate and the world it lives in."""

import numpy as np
import pytest
from meaning import assert_same_answers

from attacks.world import Surrogate, TransferSet, World
from core.learning import networks
from core.learning.training import Schedule

SHAPE = (1, 8, 8)
SCHEDULE = Schedule(epochs=2, batch=16)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, *SHAPE), dtype=np.uint8)
LABELS = RNG.integers(0, 3, 40)


def surrogate():
    return Surrogate(networks.build("lenet-thin", SHAPE, 3, seed=1), seed=5)


def test_a_surrogate_goes_on_learning_or_begins_again():
    warm, again, once = surrogate(), surrogate(), surrogate()
    for one, scratch in ((warm, False), (again, True)):
        one.learn(IMAGES[:20], LABELS[:20], SCHEDULE)
        one.learn(IMAGES, LABELS, SCHEDULE, scratch=scratch)
    once.trained()  # the order of the images goes by the number of the round
    once.learn(IMAGES, LABELS, SCHEDULE)
    assert_same_answers(again.logits(IMAGES), once.logits(IMAGES))
    assert not np.allclose(warm.logits(IMAGES), once.logits(IMAGES))
    first = surrogate()
    first.learn(IMAGES, LABELS, SCHEDULE)
    assert not np.allclose(first.logits(IMAGES), once.logits(IMAGES))
    assert [one.rounds for one in (warm, again, once)] == [2, 2, 2]


def test_what_a_surrogate_says_and_what_it_is_told():
    one = surrogate()
    logits = one.logits(IMAGES)
    assert logits.shape == (40, 3)
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(
        one.predict(IMAGES), shifted / shifted.sum(axis=1, keepdims=True), rtol=1e-6
    )
    features = one.features(IMAGES)
    assert features.shape == (40, 64)
    head = one.network.head
    mine = features @ head.weight.detach().numpy().T + head.bias.detach().numpy()
    np.testing.assert_allclose(mine, logits, atol=1e-5)
    known = TransferSet()
    answers = np.array([[0.2, 0.8], [0.9, 0.1]], np.float32)
    known.add(IMAGES[:2], answers)
    np.testing.assert_array_equal(known.targets("soft"), answers)
    assert known.targets("hard").tolist() == [1, 0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pool": IMAGES[0], "inside": IMAGES}, "rank 4"),
        ({"pool": IMAGES.astype(np.float32)}, r"inputs contain 255, expected values in \[0, 1\]"),
        ({"inside": IMAGES[:, :, :4]}, "each input is 1x4x8, expected 1x8x8"),
        ({"classes": LABELS[:39]}, r"classes have shape \(39,\); expected \(40,\)"),
        ({"costs": np.zeros((40, 1))}, r"costs have shape \(40, 1\)"),
        ({"costs": np.full(40, np.nan)}, "costs contain NaN"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes, message):
    parts = {"pool": IMAGES, "surrogate": None, "rng": RNG, **changes}
    with pytest.raises(ValueError, match=message):
        World(**parts)
