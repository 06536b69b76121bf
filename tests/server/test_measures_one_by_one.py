"""What each measure promises by itself: formulas, neighbours, tails."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from meaning import assert_same_answers
from scipy.special import softmax
from scipy.stats import entropy as scipy_entropy

from core.learning.datasets import Split
from server import measures
from server.measures import entropy, gap, knn, surprisal, typicality
from server.measures.surprisal import Tail
from server.victims import Answer

IMAGES = np.zeros((3, 1, 4, 4), np.float32)
LOGITS = np.array([[0, 0, 0, 0], [9, 1, 0, 0], [800, 1, 799, 0]], np.float32)


def of(measure, logits=LOGITS, features=None):
    return measure.cost(
        IMAGES[: len(logits)], Answer.of_logits(np.asarray(logits, np.float32), features)
    )


def test_entropy_is_that_of_the_posterior_over_its_maximum():
    posterior = softmax(LOGITS.astype(np.float64), axis=1)
    expected = scipy_entropy(posterior, axis=1) / np.log(4)
    np.testing.assert_allclose(of(entropy.Entropy()), expected, rtol=1e-9, atol=1e-15)


def test_gap_is_one_minus_the_gap_of_the_two_best():
    expected = 1 - np.tanh(np.array([0.0, 8.0, 1.0]) / 2)
    np.testing.assert_allclose(of(gap.Gap()), expected, rtol=1e-9)


@pytest.mark.parametrize("measure", [entropy.Entropy(), gap.Gap()])
def test_the_certain_pay_nothing_and_the_undecided_most(measure):
    costs = of(measure, [[10_000, 0, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(costs, [0, 1], atol=1e-12)
    assert not np.signbit(costs).any()
    with pytest.raises(ValueError, match="gave the cost nan"):
        of(measure, [[np.nan, np.nan, 0, 0]])


def test_neighbours_are_the_nearest():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((400, 6)).astype(np.float32)
    labels = rng.integers(0, 4, 400)
    config = knn.Config(neighbours=13, sigma=1.2, classes=4)
    asked = rng.standard_normal((3, 6)).astype(np.float32)
    found = knn.Neighbours(config, features=features, labels=labels).votes(
        None, Answer.of_logits(LOGITS, asked)
    )
    distance = ((asked[:, None].astype(float) - features) ** 2).sum(axis=2)
    ranked = np.sort(distance, axis=1)
    assert (ranked[:, 13] - ranked[:, 12]).min() > 1e-3  # rounding does not choose among them
    nearest = np.argsort(distance, axis=1)[:, :13]
    expected = [np.bincount(labels[row], minlength=4) for row in nearest]
    np.testing.assert_array_equal(found, expected)


def test_typicality_is_the_cosine_distance_to_the_mth():
    rng = np.random.default_rng(1)
    raw = rng.standard_normal((50, 6)).astype(np.float32)
    unit = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    asked = np.vstack([7 * raw[:1], rng.standard_normal((1, 6)), np.zeros((1, 6))])
    asked = asked.astype(np.float32)
    for m in (1, 15):
        measure = typicality.Typicality(typicality.Config(neighbour=m), features=unit)
        length = np.maximum(np.linalg.norm(asked, axis=1), 1e-30)
        distance = np.sort(1 - (asked / length[:, None]) @ unit.T, axis=1)[:, m - 1]
        np.testing.assert_allclose(of(measure, features=asked), np.maximum(distance, 0), atol=1e-6)


def fake_victim(width=6):
    """A victim that gives the pixels as features."""
    return SimpleNamespace(
        shape=(1, 1, width),
        dtypes=("uint8", "float32"),
        outputs="logits",
        gives_features=True,
        classes=4,
        answer=lambda images: Answer.of_logits(
            np.zeros((len(images), 4), np.float32), images.reshape(len(images), -1)
        ),
    )


def split_of(count, width=6):
    rng = np.random.default_rng(2)
    images = rng.integers(0, 256, (count, 1, 1, width), dtype=np.uint8)
    return Split(images, rng.integers(0, 4, count))


@pytest.mark.parametrize(
    ("images", "searched", "neighbours"), [(400, 400, 13), (1500, 1000, 33), (8000, 1200, 40)]
)
def test_neighbours_as_the_data_and_the_seed_allow(images, searched, neighbours):
    split = split_of(images)
    made, again, other = (knn.train(fake_victim(), split, seed=seed) for seed in (3, 3, 4))
    assert len(made.arrays()["labels"]) == searched
    assert made.config()["neighbours"] == neighbours
    np.testing.assert_array_equal(made.arrays()["features"], again.arrays()["features"])
    same = np.array_equal(made.arrays()["features"], other.arrays()["features"])
    assert same == (searched == images)
    full = measures.train("knn-full", fake_victim(), split, seed=0)
    assert len(full.arrays()["labels"]) == images


def test_a_tie_counts_half_and_nothing_is_impossible():
    tail = Tail(np.array([1.0, 1.0, 1.0, 2.0]))
    found = np.exp(-tail.surprisal(np.array([0.5, 1.0, 1.0 + 1e-12, 1.5, 2.0, 9.0])))
    np.testing.assert_allclose(found, [4.5 / 5, 3 / 5, 3 / 5, 1.5 / 5, 1 / 5, 0.5 / 5])


costs = st.lists(st.floats(0, 4).map(lambda x: round(x, 1)), min_size=1, max_size=60).map(np.array)


@given(costs, costs)
@settings(max_examples=100)
def test_a_more_expensive_image_is_never_less_surprising(honest, asked):
    tail = Tail(honest)
    found = tail.surprisal(np.sort(asked))
    assert (np.diff(found) >= 0).all()
    assert (found >= 0).all()
    assert (found <= surprisal.CLIP).all()
    # An order-preserving change of scale, of a measure that counts otherwise, changes nothing.
    np.testing.assert_array_equal(Tail(honest * 8 + 1).surprisal(np.sort(asked) * 8 + 1), found)


def test_a_sum_is_as_unusual_as_its_parts_together():
    names, split = ("typicality", "knn"), split_of(600)
    made = measures.train(
        "surprisal:typicality+knn", fake_victim(), split, seed=0, reference=split_of(400)
    )
    assert list(made.config()["parts"]) == list(names)
    images = np.random.default_rng(5).random((100, 1, 1, 6), dtype=np.float32)
    answer = fake_victim().answer(images)
    arrays, total = made.arrays(), 0
    for name in names:
        part = measures.train(name, fake_victim(), split, seed=0).cost(images, answer)
        total = total + Tail(arrays[f"honest.{name}"]).surprisal(part)
    assert_same_answers(made.cost(images, answer), Tail(arrays["honest"]).surprisal(total))
    assert made.cost(images, answer).mean() == pytest.approx(1, abs=0.35)


@pytest.mark.parametrize("count", [None, 49])
def test_a_surprisal_needs_honest_images(count):
    reference = None if count is None else split_of(count)
    with pytest.raises(ValueError, match=f"surprisal has {count or 0} held-out honest images"):
        measures.train("surprisal:gap", fake_victim(), split_of(99), seed=0, reference=reference)


def test_a_part_that_gives_no_price_is_named():
    class Broken:
        def cost(self, images, answer):
            return np.full(len(images), np.nan)

    made = surprisal.Surprisal({"gap": Broken()}, {"gap": Tail(np.ones(9))}, Tail(np.ones(9)))
    with pytest.raises(ValueError, match="measure gap gave the cost nan"):
        of(made)
    with pytest.raises(ValueError, match="gave the cost -1"):
        Tail(np.array([1.0, -1.0]))


def test_a_surprisal_of_another_version_is_refused():
    with pytest.raises(ValueError, match=r"the surprisal ends at 7, not at 5\.0; prepare again"):
        measures.restore("surprisal:gap", {}, {"clip": 7, "parts": {}}, fake_victim())
