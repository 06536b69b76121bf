"""Jacobian augmentation: the step by hand, how the transfer set grows, and where it steps."""

import numpy as np
import pytest
import torch
from meaning import assert_same_answers
from plans import drive
from torch import nn

from attacks import jacobian, jacobian_tr
from attacks.world import Surrogate, World
from core.learning import networks

SHAPE, CLASSES = (1, 8, 8), 3


class Slopes(nn.Module):
    """Logits whose slopes are known: class k rises with pixel k, falls with the next."""

    classes = 3

    def forward(self, x):
        flat = x.flatten(1)
        return torch.stack([flat[:, k] - 2 * flat[:, (k + 1) % 3] for k in range(3)], dim=1)


def test_a_step_by_hand():
    images = np.full((2, 1, 1, 3), 0.5, np.float32)
    images[1, 0, 0] = [0.98, 0.03, 0.5]
    out = jacobian.stepped(Slopes(), images, np.array([0, 0]), 0.1)
    np.testing.assert_allclose(out[0, 0, 0], [0.6, 0.4, 0.5])  # no slope, no step
    np.testing.assert_allclose(out[1, 0, 0], [1.0, 0.0, 0.5])  # stays an image
    assert out.dtype == np.float32


def test_a_step_leaves_the_surrogate_as_it_was():
    network = networks.build("resnet10-thin", SHAPE, CLASSES, seed=0).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = np.full((300, *SHAPE), 0.5, np.float32)
    out = jacobian.stepped(network, images, np.zeros(300, np.int64), 0.1)
    assert network.training
    assert all(value.equal(before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    # Each image is stepped by its own slope, whatever batch it is in.
    alone = jacobian.stepped(network, images[:1], np.zeros(1, np.int64), 0.1)
    assert_same_answers(out[:1], alone)


def world(pool=100, seed=0):
    images = np.random.default_rng(7).integers(0, 256, (pool, *SHAPE), dtype=np.uint8)
    network = networks.build("lenet-thin", SHAPE, CLASSES, seed=seed)
    return World(images, Surrogate(network, seed=seed), np.random.default_rng(seed))


def run(attack, cfg, place):
    """Requests, and after how many images the surrogate was trained."""
    rng = np.random.default_rng(1)
    answer = lambda images: rng.dirichlet(np.ones(CLASSES), len(images)).astype("f4")  # noqa: E731
    return drive(attack.plan(cfg, place), answer, place.surrogate)


@pytest.mark.parametrize("attack", [jacobian, jacobian_tr])
def test_the_transfer_set_doubles_then_grows_by_growth_up_to_the_budget(attack):
    place = world()
    cfg = attack.Config(budget=100, batch=8, seeds=10, growth=30, epochs=1)
    requests, rounds = run(attack, cfg, place)
    assert rounds == [10, 20, 40, 70, 100]
    assert max(map(len, requests)) == 8
    requests, _ = run(attack, attack.Config(budget=9, batch=9), world())
    assert sum(map(len, requests)) == 9  # fewer seeds than wanted


def test_each_new_image_is_a_step_from_a_known_one():
    place = world()
    cfg = jacobian.Config(budget=20, batch=10, seeds=10, epochs=1, step=0.1)
    (seeds, offspring), _ = run(jacobian, cfg, place)
    known = {image.tobytes() for image in place.pool}
    assert all((seed * 255).round().astype(np.uint8).tobytes() in known for seed in seeds)
    distance = np.abs(offspring[:, None] - seeds[None]).max(axis=(2, 3, 4))
    assert sorted(distance.argmin(axis=1)) == list(range(10))  # doubling: one from each
    np.testing.assert_allclose(distance.min(axis=1), 0.1, atol=1e-6)


def test_other_classes_are_all_the_others():
    place = world()
    labels = np.arange(3).repeat(200)
    others = jacobian_tr.other_classes(labels, place)
    assert not (others == labels).any()
    for label in range(3):
        counts = np.bincount(others[labels == label], minlength=3)
        assert counts[label] == 0
        assert (counts[np.arange(3) != label] > 60).all()


@pytest.mark.parametrize(("labels", "kind"), [("soft", "f"), ("hard", "i")])
def test_labels_are_as_told(labels, kind):
    place, seen = world(), []
    place.surrogate.learn = lambda images, targets, *_, **__: seen.append(targets.dtype.kind)
    run(jacobian, jacobian.Config(budget=10, seeds=10, labels=labels), place)
    assert seen == [kind]
