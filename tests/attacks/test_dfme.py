"""Data-free extraction: its gradient against autograd, its logits, its budget; it learns."""

import numpy as np
import pytest
import torch

from attacks import dfme
from attacks.generator import Generator
from attacks.world import Surrogate, World
from core.learning import networks

SHAPE, CLASSES = (1, 6, 7), 3


def world(seed=0, network="lenet-thin"):
    surrogate = networks.build(network, SHAPE, CLASSES, seed=seed + 1)
    nothing = np.empty((0, *SHAPE), np.uint8)
    return World(nothing, Surrogate(surrogate, seed=seed), np.random.default_rng(seed))


VICTIM = networks.build("lenet-thin", SHAPE, CLASSES, seed=9)
with torch.no_grad():  # fresh weights say much the same of all images
    VICTIM.head.weight *= 8


def answer(images):
    with torch.no_grad():
        return VICTIM(torch.from_numpy(images)).softmax(dim=1).numpy()


def finish(generator, reply=answer):
    """Runs a generator to its end: what it asked, and what it returned."""
    asked = []
    try:
        images = next(generator)
        while True:
            asked.append(images)
            images = generator.send(reply(images))
    except StopIteration as end:
        return asked, end.value


def test_logits_are_recovered_up_to_a_constant():
    images = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(0))
    _, got = finish(dfme.ask(dfme.Config(), images))
    with torch.no_grad():
        logits = VICTIM(images)
    np.testing.assert_allclose(got, logits - logits.mean(dim=1, keepdim=True), atol=1e-4)
    sure = lambda images: np.array([[1, 0, 0]] * len(images), np.float32)  # noqa: E731
    asked, got = finish(dfme.ask(dfme.Config(batch=4), torch.rand(10, *SHAPE)), sure)
    assert got.isfinite().all()  # of a probability of nothing, too
    assert [len(images) for images in asked] == [4, 4, 2]


@pytest.mark.parametrize("network", ["lenet-thin", "resnet10-thin"])
def test_forward_differences_approach_the_gradient(network):
    """Averaged over many directions, the estimate is what autograd finds through the victim."""
    surrogate = world(network=network).surrogate.network
    drafts = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(3))
    many = drafts.repeat_interleave(1000, dim=0)
    cfg = dfme.Config(directions=2, epsilon=0.01)
    asked, (slopes, _) = finish(dfme.climb(cfg, surrogate, many, torch.Generator()))
    assert sum(map(len, asked)) == 3 * len(many)
    slope = slopes.unflatten(0, (2, 1000)).mean(dim=1)
    leaf = drafts.clone().requires_grad_()
    surrogate.eval()
    truth = VICTIM(leaf.sigmoid()).log_softmax(dim=1)
    truth = truth - truth.mean(dim=1, keepdim=True)
    (exact,) = torch.autograd.grad(dfme.disagreement(surrogate(leaf.sigmoid()), truth).sum(), leaf)
    cosine = torch.cosine_similarity(slope.flatten(1), exact.flatten(1))
    assert (cosine > 0.97).all()
    np.testing.assert_allclose(slope.norm() / exact.norm(), 1, atol=0.1)


def test_spends_what_makes_whole_iterations_and_learns_in_time():
    place, before = world(), torch.get_rng_state()
    cfg = dfme.Config(budget=100, batch=3, train_batch=4, rounds=3, directions=2, student_steps=2)
    plan, asked, lessons = dfme.plan(cfg, place), 0, []
    images = next(plan)
    while True:
        asked += len(images)
        assert len(images) <= 3
        try:
            images = plan.send(answer(images))
        except StopIteration:
            break
        if place.surrogate.rounds > len(lessons):
            lessons.append(asked)
    assert asked == 100  # 5 iterations of 4 images, once in each of 1 + 2 + 2 steps
    assert lessons == [20, 60]  # and at the end
    assert place.surrogate.rounds == 3
    few, _ = finish(dfme.plan(dfme.Config(budget=30), world()))
    assert [len(images) for images in few] == [4, 4, 20]  # a small budget makes small steps
    assert before.equal(torch.get_rng_state())  # the global generator is left alone


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 5, 9)])
def test_drafts_have_any_shape_and_come_from_the_seed(shape):
    noise = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    one, same, other = (Generator(shape, latent=8, width=4, seed=s)(noise) for s in (1, 1, 2))
    assert one.shape == (4, *shape)
    assert one.equal(same)
    assert not one.equal(other)


@pytest.mark.process
def test_the_generator_looks_for_disagreement():
    """Against a surrogate that stands still, its images come to be ever more disputed."""
    place = world()
    sizes = {"batch": 32, "train_batch": 32, "latent": 8, "width": 8}
    rates = {"student_lr": 0.0, "generator_lr": 0.01, "student_steps": 1, "directions": 1}
    cfg = dfme.Config(budget=3 * 32 * 40, **sizes, **rates)
    asked, _ = finish(dfme.plan(cfg, place))

    def dispute(images):
        with torch.no_grad():
            truth = VICTIM(torch.from_numpy(images)).log_softmax(dim=1)
            guess = place.surrogate.network(torch.from_numpy(images))
        return dfme.disagreement(guess, truth - truth.mean(dim=1, keepdim=True)).mean()

    assert dispute(np.concatenate(asked[-9:])) > 1.1 * dispute(np.concatenate(asked[:9]))


@pytest.mark.parametrize(
    ("shape", "precision"), [((1, 28, 28), "float32"), ((3, 32, 32), "bfloat16")]
)
def test_grey_and_colour_in_both_precisions(shape, precision):
    surrogate = networks.build("lenet-thin", shape, CLASSES, seed=0)
    place = World(
        np.empty((0, *shape), np.uint8), Surrogate(surrogate, seed=0), np.random.default_rng(0)
    )
    before = surrogate.head.weight.clone()
    cfg = dfme.Config(budget=56, train_batch=8, precision=precision)
    asked, _ = finish(dfme.plan(cfg, place), lambda x: np.full((len(x), 3), 1 / 3, np.float32))
    for images in asked:
        assert images.shape[1:] == shape
        assert images.dtype == np.float32
        assert 0 <= images.min() < images.max() <= 1
    assert surrogate.head.weight.isfinite().all()
    assert not surrogate.head.weight.equal(before)
