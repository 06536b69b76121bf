"""Scores from surrogates: as back-propagation has them, and refused where they would be zero."""

import numpy as np
import pytest
import torch
from meaning import assert_same_answers
from torch import nn

from core.learning import networks
from core.learning.networks import Network
from server.defences import Perturbation, configured, trained
from server.defences.surrogates import Steered, Surrogates, against_clean, all_ones, towards_label

SHAPE = (3, 8, 8)
CLASSES = 4


@pytest.fixture(scope="module", params=["lenet-thin", "resnet10-thin"])
def network(request):
    built = networks.build(request.param, SHAPE, CLASSES, seed=1)
    built.train()  # batch normalisation with statistics of its own
    with torch.no_grad():
        built(torch.rand(32, *SHAPE))
    return built.double().eval()


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((3, *SHAPE), dtype=np.float32)


def gradients(network, images):
    """G (b, k, p): gradient of log p_k of each image, by back-propagation."""
    parameters = list(network.parameters())
    log_p = network(torch.from_numpy(images).double()).log_softmax(1)
    rows = [
        torch.cat([g.ravel() for g in torch.autograd.grad(value, parameters, retain_graph=True)])
        for value in log_p.ravel()
    ]
    return torch.stack(rows).reshape(*log_p.shape, -1).numpy()


def flat(network, direction):
    return np.concatenate([direction[n].numpy().ravel() for n, _ in network.named_parameters()])


def test_scores_are_the_inner_products_with_the_gradients(network, images):
    g = gradients(network, images)
    np.testing.assert_allclose(
        Steered(network, all_ones(network)).scores(images), g.sum(axis=2), rtol=1e-8, atol=1e-10
    )
    z = towards_label(network, images[:1], 2)
    np.testing.assert_allclose(flat(network, z), g[0, 2], rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(
        Steered(network, z).scores(images), g @ g[0, 2], rtol=1e-7, atol=1e-10
    )


def test_the_clean_gradient_is_taken_image_by_image(network, images):
    g = gradients(network, images)
    y = np.random.default_rng(1).dirichlet(np.ones(CLASSES), size=3)
    expected = -np.einsum("bkp,bjp,bj->bk", g, g, y)
    np.testing.assert_allclose(against_clean(network, images, y), expected, rtol=1e-7, atol=1e-10)
    head = np.concatenate(
        [np.full(p.numel(), n.startswith("head.")) for n, p in network.named_parameters()]
    )
    expected = -np.einsum("bkp,bjp,bj->bk", g * head, g * head, y)
    np.testing.assert_allclose(
        against_clean(network, images, y, "last"), expected, rtol=1e-7, atol=1e-10
    )


def test_several_surrogates_are_averaged(images):
    several = [networks.build("lenet-thin", SHAPE, CLASSES, seed=s) for s in range(3)]
    posterior = np.full((3, CLASSES), 0.25, np.float32)
    asked = {"target": "all-ones", "layers": "all", "key": b"k"}
    for found in (
        lambda networks: Surrogates(networks).scores(images, posterior, **asked),
        lambda networks: Surrogates(networks).posterior(images),
    ):
        mean = np.mean([found([one]) for one in several], axis=0)
        np.testing.assert_allclose(found(several), mean, rtol=1e-6)


def test_the_watermark_is_the_servers_secret(images):
    surrogates = Surrogates([networks.build("lenet-thin", SHAPE, CLASSES, seed=0)])
    posterior = np.full((3, CLASSES), 0.25, np.float32)

    def scores(key):
        return surrogates.scores(images, posterior, target="watermark", layers="all", key=key)

    assert_same_answers(scores(b"a"), scores(b"a"))
    assert not np.allclose(scores(b"a"), scores(b"b"))


def answered(name, images, surrogates, **settings):
    served = Perturbation(name, configured(name, settings), b"k", surrogates)
    return served.answer(np.full((3, CLASSES), 0.25, np.float32), images, "a")


def surrogate(shape=SHAPE, classes=CLASSES):
    return networks.build("lenet-thin", shape, classes, seed=0)


def broken():
    network = surrogate()
    with torch.no_grad():
        network.head.weight[0] = torch.nan
    return network


@pytest.mark.parametrize(
    ("network", "settings", "why"),
    [
        (
            Network("linear", SHAPE, CLASSES, nn.Flatten(), 3 * 8 * 8).eval(),
            {"layers": "all"},
            "a linear surrogate scores every class exactly zero",
        ),
        (surrogate(), {"layers": "last"}, "the last layer only scores every class exactly zero"),
        (broken(), {}, "scores that are not finite"),
    ],
)
def test_scores_that_direct_nothing_are_refused(network, settings, why, images):
    with pytest.raises(ValueError, match=why):
        answered("gradient_redirection", images, Surrogates([network]), **settings)


@pytest.mark.parametrize("name", trained.KINDS)
def test_surrogates_that_are_missing_or_of_another_model_are_refused(name, images):
    for other in (surrogate((1, 8, 8)), surrogate(classes=5)):
        with pytest.raises(ValueError, match=r"the surrogates expect .*\d"):
            answered(name, images, Surrogates([other]))
    with pytest.raises(ValueError, match="the defence needs surrogates of the victim"):
        answered(name, images, None)


def test_surrogates_of_two_victims_are_refused():
    for given in ([surrogate(), surrogate(classes=3)], []):
        with pytest.raises(ValueError, match=r"surrogates are for .*expected all for one victim"):
            Surrogates(given)
