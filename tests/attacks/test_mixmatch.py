"""MixMatch: sharpening, mixing, shifting and averaging by hand; and that it learns."""

import copy

import numpy as np
import pytest
import torch
from plans import drive

from attacks import mixmatch
from attacks.world import Surrogate, World
from core.learning import networks

SHAPE, CLASSES = (1, 8, 8), 2


def rng():
    return torch.Generator().manual_seed(0)


def test_sharpening_by_hand():
    posterior = torch.tensor([[0.6, 0.2, 0.2]])
    np.testing.assert_allclose(
        mixmatch.sharpened(posterior, 0.5), [[0.36 / 0.44, 0.04 / 0.44, 0.04 / 0.44]], rtol=1e-6
    )
    np.testing.assert_allclose(mixmatch.sharpened(posterior, 1.0), posterior, rtol=1e-6)


def test_mixing_by_hand():
    inputs = torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1)
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    # A share of 0.2 is one of 0.8: every image keeps more than it takes.
    x, y = mixmatch.mixed(inputs, targets, torch.tensor([0.2, 0.9]), torch.tensor([1, 0]))
    np.testing.assert_allclose(x.flatten(), [0.2, 0.9], rtol=1e-6)
    np.testing.assert_allclose(y, [[0.8, 0.2], [0.1, 0.9]], rtol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_augmented_images_are_shifts_and_only_in_colour_mirrors(channels):
    image = torch.rand(1, channels, 8, 8, generator=rng())
    out = mixmatch.augmented(image.expand(200, -1, -1, -1), rng())
    seen = {view[:, 1:-1, 1:-1].numpy().tobytes() for view in out}
    shifts = [(a, b) for a in range(3) for b in range(3)]
    plain = {image[0, :, a : a + 6, b : b + 6].contiguous().numpy().tobytes() for a, b in shifts}
    mirrored = {
        image[0].flip(2)[:, a : a + 6, b : b + 6].contiguous().numpy().tobytes() for a, b in shifts
    }
    assert seen == (plain | mirrored if channels == 3 else plain)


def test_averaging_by_hand():
    kept, live = (networks.build("resnet10-thin", SHAPE, CLASSES, seed=s) for s in (0, 1))
    before = copy.deepcopy(kept)
    live.train()(torch.rand(4, *SHAPE))  # moves the buffers
    mixmatch.average(kept, live, share=0.75)
    np.testing.assert_allclose(
        kept.head.weight.detach(),
        (0.75 * before.head.weight + 0.25 * live.head.weight).detach(),
        atol=1e-6,
    )
    assert all(a.equal(b) for a, b in zip(kept.buffers(), live.buffers(), strict=True))


def stripes(count, seed=0):
    """Images of horizontal (class 0) and vertical (class 1) stripes, faint in noise."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 2, count)
    wave = (np.arange(8) // 2 % 2) * 90.0
    images = np.where(labels[:, None, None] == 0, wave[:, None], wave[None, :])
    images = images + draw.uniform(0, 120, images.shape)
    return images[:, None].astype(np.uint8), labels


def steal(labels="hard", **config):
    pool, classes = stripes(120)
    network = networks.build("lenet-thin", SHAPE, CLASSES, seed=1)
    place = World(pool, Surrogate(network, seed=1), np.random.default_rng(1))
    truth = {image.tobytes(): label for image, label in zip(pool, classes, strict=True)}
    cfg = mixmatch.Config(
        **{"budget": 20, "batch": 5, "steps": 80, "train_batch": 16, "labels": labels, **config}
    )

    def answer(images):
        answers = np.eye(2, dtype=np.float32)[[truth[image.tobytes()] for image in images]]
        return answers * 0.8 + 0.1

    return place, *drive(mixmatch.plan(cfg, place), answer, place.surrogate)


@pytest.mark.process
@pytest.mark.parametrize(("labels", "precision"), [("soft", "bfloat16"), ("hard", "float32")])
def test_a_few_labels_and_the_rest_of_the_pool_teach(labels, precision):
    place, requests, _ = steal(labels, unlabelled_weight=5.0, precision=precision)
    assert place.surrogate.network.head.weight.dtype == torch.float32
    assert [len(images) for images in requests] == [5, 5, 5, 5]
    images, classes = stripes(200, seed=5)
    assert (place.surrogate.predict(images).argmax(axis=1) == classes).mean() > 0.9


def test_every_round_teaches_also_when_all_of_the_pool_is_paid_for():
    _, requests, rounds = steal(budget=120, batch=60, rounds=2, steps=1)
    assert sum(map(len, requests)) == 120  # the pool is its own rest
    assert rounds == [60, 120]
    with_it, without = (
        steal(steps=3, unlabelled_weight=weight)[0].surrogate.network.head.weight
        for weight in (75.0, 0.0)
    )
    assert not torch.equal(with_it, without)  # the unlabelled part counts
