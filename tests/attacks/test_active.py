"""Selection rules: each against a case worked out by hand, and the rounds they share."""

import math
from itertools import chain

import numpy as np
import pytest
import torch
from plans import Notebook, drive

import attacks
from attacks import deepfool, inoutdist, kcenter
from attacks.active import Active, ask_in_rounds, at_random
from attacks.entropy import entropy
from attacks.entropyrev import certainty
from attacks.gap import closeness
from attacks.world import World

PROBABILITIES = np.array(
    [[1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0], [0.25] * 4, [0.0, 0.125, 0.625, 0.25]], np.float32
)


def test_scores_by_hand():
    # 0, ln 2 / ln 4, 1, and (1/8 ln 8 + 5/8 ln 8/5 + 1/4 ln 4) / ln 4
    last = (math.log(8) / 8 + 5 / 8 * math.log(8 / 5) + math.log(4) / 4) / math.log(4)
    np.testing.assert_allclose(entropy(PROBABILITIES), [0, 0.5, 1, last], atol=1e-6)
    np.testing.assert_allclose(certainty(PROBABILITIES), [1, 0.5, 0, 1 - last], atol=1e-6)
    np.testing.assert_allclose(closeness(PROBABILITIES), [0, 1, 1, 1 - 0.375], atol=1e-6)
    np.testing.assert_allclose(closeness(np.array([[0.3, 0.7]], np.float32)), [0.6], atol=1e-6)


def test_k_center_agrees_with_its_definition_and_takes_equal_points_once_each():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(400, 3)).astype(np.float32)
    centres = rng.normal(size=(300, 3)).astype(np.float32)
    nearest = np.min([np.linalg.norm(points - centre, axis=1) for centre in centres], axis=0)
    expected = []
    for _ in range(100):
        expected.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(points - points[expected[-1]], axis=1))
    assert kcenter.farthest_first(points, centres, 100).tolist() == expected
    for points in (np.zeros((200, 4), np.float32), np.eye(200, dtype=np.float32)):
        for count in (150, 200):
            assert len(set(kcenter.farthest_first(points, points[:1], count).tolist())) == count


class Network(torch.nn.Module):
    """A function of the pixels (b, n) to logits; says something else in training."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, x):
        return self.logits(x.flatten(1)) + (9 * torch.arange(2) if self.training else 0)


def linear(weights, bias):
    return lambda x: x @ torch.tensor(weights).T + torch.tensor(bias)


def curved(x):
    """Class 1 where the distance from the origin is below 0.5."""
    apart = (x**2).sum(dim=1)
    return torch.stack([apart, torch.full_like(apart, 0.25)], dim=1)


# Boundaries of class 0: where x0 = x1 (class 1), and where x0 = 0.5 (class 2).
PLANES = linear([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], [0.0, 0.0, 1.0])
# At x0 = 0.9 class 1 is but 0.04 below, and 0.4 away; class 2 is 0.6 below, and 0.3 away.
NEARER = linear([[1.0, 0.0], [0.9, 0.0], [-1.0, 0.0]], [0.0, 0.05, 1.2])


@pytest.mark.parametrize(
    ("logits", "images", "by_hand", "tolerance"),
    [
        (PLANES, [[0.9, 0.1], [0.9, 0.8], [0.7, 0.0]], [0.4, 0.1 / math.sqrt(2), 0.2], 0.021),
        (NEARER, [[0.9, 0.0]], [0.3], 0.021),
        (curved, [[0.6, 0.8], [0.3, 0.6]], [0.5, math.sqrt(0.45) - 0.5], 0.05),
    ],
)
def test_deepfool_by_hand(logits, images, by_hand, tolerance):
    images = np.array(images, np.float32).reshape(-1, 1, 1, 2)
    network = Network(logits).eval()
    apart = deepfool.distances(network, images)
    np.testing.assert_allclose(apart, by_hand, rtol=tolerance)
    coarse = deepfool.distances(network, images, precision="bfloat16")
    np.testing.assert_allclose(coarse, by_hand, rtol=1.5 * tolerance)

    trained = Network(logits).train()
    np.testing.assert_array_equal(deepfool.distances(trained, images), apart)
    assert trained.training  # left as it was


def test_deepfool_ends_where_there_is_no_boundary():
    flat = Network(lambda x: (x * 0).sum(dim=1, keepdim=True) + torch.tensor([[2.0, 1.0]]))
    assert np.isfinite(deepfool.distances(flat, np.zeros((2, 1, 1, 2), np.uint8))).all()


def pool(n):
    return np.arange(n, dtype=np.uint8).reshape(n, 1, 1, 1)


def asked(plan):
    """The batches that a plan asks, as values of their images."""
    batches, _ = drive(plan, lambda images: np.array([[0.2, 0.8]] * len(images), np.float32))
    return [images.ravel().tolist() for images in batches]


def learnt(world):
    """The values of the images of each round."""
    return [images.ravel().tolist() for images, *_ in world.surrogate.seen]


def test_rounds_are_random_first_and_then_chosen():
    seen = []

    def last(world, known, left, count):
        seen.append((known.tolist(), left.tolist(), count, world.surrogate.rounds))
        return left[::-1][:count]

    surrogate = Notebook(None)
    world = World(pool(10), surrogate, np.random.default_rng(0))
    cfg = Active(budget=8, batch=2, rounds=3)
    batches = asked(ask_in_rounds(cfg, world, last))
    assert [len(batch) for batch in batches] == [2, 1, 2, 1, 2]
    first = batches[0] + batches[1]
    same = World(pool(10), None, np.random.default_rng(0))
    assert first == at_random(same, None, np.arange(10), 3).tolist()
    rest = [value for value in range(10) if value not in first]
    second = rest[::-1][:3]
    assert seen[0] == (first, rest, 3, 1)  # chosen by a surrogate that has learnt
    assert batches[2] + batches[3] == second
    assert seen[1] == (first + second, rest[:-3], 2, 2)
    assert learnt(world) == [first, first + second, first + second + batches[4]]
    world = World(pool(5), Notebook(None), np.random.default_rng(0))
    batches = asked(ask_in_rounds(Active(budget=9, batch=9, rounds=9), world, at_random))
    assert sorted(chain(*batches)) == [0, 1, 2, 3, 4]  # a small pool is used up


def test_labels_and_fresh_weights_are_passed_on():
    for labels, shape in (("soft", (4, 2)), ("hard", (4,))):
        world = World(pool(4), Notebook(None), np.random.default_rng(0))
        cfg = Active(budget=4, rounds=1, labels=labels, scratch=labels == "soft")
        asked(ask_in_rounds(cfg, world, at_random))
        ((_, targets, _, scratch),) = world.surrogate.seen
        assert (targets.shape, scratch) == (shape, labels == "soft")


def belief(certain):
    """Two classes: image i is believed with probability certain[i]."""
    top = np.array(certain, np.float32)
    return np.stack([top, 1 - top], axis=1)


@pytest.mark.parametrize("name", ["entropy", "entropyrev", "gap"])
def test_which_images_come_after_the_first_round(name):
    attack, order = attacks.load(name), [3, 0, 5, 2, 1, 4]
    order = order[::-1] if name == "entropyrev" else order
    beliefs = Notebook(belief([0.6, 0.95, 0.8, 0.5, 1.0, 0.7]))
    world = World(pool(6), beliefs, np.random.default_rng(2))
    first, second = asked(attack.plan(attack.Config(budget=4, batch=3, rounds=2), world))
    assert second == [value for value in order if value not in first][:2]


def test_k_center_goes_on_from_what_was_asked():
    attack = attacks.load("kcenter")
    world = World(pool(100), Notebook(None), np.random.default_rng(0))
    (first,), (second,), (third,) = asked(
        attack.plan(attack.Config(budget=3, batch=1, rounds=3), world)
    )
    assert second == (0 if first > 49 else 99)
    apart = [min(abs(value - first), abs(value - second)) for value in range(100)]
    assert third == int(np.argmax(apart))


def test_deepfool_measures_a_random_part_of_the_pool(monkeypatch):
    measured = []

    def distances(network, images, *, precision):
        measured.append(images.ravel().tolist())
        return images.ravel() % 7

    monkeypatch.setattr(deepfool, "distances", distances)
    world = World(pool(40), Notebook(None), np.random.default_rng(0))
    cfg = deepfool.Config(budget=10, batch=5, rounds=2, candidates=12)
    first, second = asked(deepfool.plan(cfg, world))
    ((some),) = measured
    assert len(set(some)) == 12
    assert not set(some) & set(first)
    assert second == sorted(some, key=lambda value: value % 7)[:5]
    measured.clear()
    cfg = deepfool.Config(budget=10, batch=5, rounds=2, candidates=1)
    asked(deepfool.plan(cfg, world))
    assert len(measured[0]) == 5  # as many as are asked


def test_worst_case_asks_the_cheapest_first():
    attack = attacks.load("worstcase")
    costs = np.array([3.0, -1.0, 2.0, 0.0, 2.0])
    world = World(pool(5), Notebook(None), np.random.default_rng(0), costs=costs)
    batches = asked(attack.plan(attack.Config(budget=4, batch=2, rounds=2), world))
    assert batches == [[1, 3], [2, 4]]


def test_in_and_out_by_turns():
    inside = pool(50) + np.uint8(100)
    world = World(pool(50), Notebook(None), np.random.default_rng(0), inside=inside)
    cfg = inoutdist.Config(budget=12, batch=3, rounds=4)
    batches = asked(inoutdist.plan(cfg, world))
    turn = [[False] * 3, [False], [True] * 2]
    assert [[value >= 100 for value in batch] for batch in batches] == turn * 2
    assert len(set(chain(*batches))) == 12
    assert list(map(len, learnt(world))) == [4, 6, 10, 12]
    world = World(pool(3), Notebook(None), np.random.default_rng(0), inside=inside)
    batches = asked(inoutdist.plan(inoutdist.Config(budget=12, batch=4, rounds=4), world))
    assert [len(batch) for batch in batches] == [3, 2, 2]  # without the pool that is used up
    assert list(map(len, learnt(world))) == [3, 5, 7]


def test_rounds_share_the_budget():
    for rounds, ratio in ((1, 2.0), (3, 1.0), (4, 2.0), (7, 0.3)):
        sizes = inoutdist.sizes(1000, rounds, ratio)
        assert (sum(sizes), len(sizes)) == (1000, rounds)
        assert rounds == 1 or sizes[0] / sizes[1] == pytest.approx(ratio, rel=0.02)
