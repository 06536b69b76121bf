import pytest
import torch

from core.learning.networks import NAMES, build

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (2, 4, 17), (3, 16, 5)]


@pytest.mark.parametrize("name", NAMES)
def test_every_network_takes_every_shape(name):
    for shape in SHAPES:
        network = build(name, shape, 6, seed=0).eval()
        assert (network.name, network.shape, network.classes) == (name, shape, 6)
        x = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            features, out = network.features(x), network(x)
        assert features.shape == (3, network.width)
        assert out.shape == (3, 6)
        torch.testing.assert_close(network.head(features), out)


@pytest.mark.parametrize("name", NAMES)
def test_weights_come_from_the_seed_alone(name):
    torch.manual_seed(1)
    one = build(name, (1, 8, 8), 3, seed=4).state_dict()
    torch.manual_seed(2)
    expected = torch.rand(4)
    torch.manual_seed(2)
    same = build(name, (1, 8, 8), 3, seed=4).state_dict()
    assert torch.equal(torch.rand(4), expected)  # the global generator is left alone
    other = build(name, (1, 8, 8), 3, seed=5).state_dict()
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["head.weight"], other["head.weight"])


@pytest.mark.parametrize(
    ("name", "shape", "classes", "message"),
    [
        ("lenet-thik", (1, 8, 8), 3, "unknown network 'lenet-thik'.*did you mean 'lenet-thin'"),
        ("lenet", (8, 8), 3, r"shape is \(8, 8\), expected \(c, h, w\)"),
        ("lenet", (1, 3, 8), 3, "images are 3x8, expected at least 4x4"),
        ("lenet", (1, 8, 8), 1, "classes is 1, expected at least 2"),
    ],
)
def test_impossible_networks_are_refused(name, shape, classes, message):
    with pytest.raises(ValueError, match=message):
        build(name, shape, classes, seed=0)
