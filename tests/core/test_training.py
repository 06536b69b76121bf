import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from meaning import SINGLE, assert_same_answers, assert_same_weights, weights_apart

from core.arrays import InvalidInputs, to_float
from core.learning.networks import build
from core.learning.training import Schedule, TrainingDiverged, _slices, features, fit, logits

SHAPE = (1, 8, 8)
QUICK = Schedule(epochs=2, batch=16, lr=0.05, momentum=0.9)


def toy(n: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Images whose class is the half that is lit."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, n)
    images = rng.integers(0, 100, (n, *SHAPE), np.uint8)
    images[labels == 1, :, :4] += 150
    images[labels == 0, :, 4:] += 150
    return images, labels


def fresh(name: str = "lenet-thin", classes: int = 2):
    return build(name, SHAPE, classes, seed=0)


@pytest.mark.process
@pytest.mark.parametrize(
    ("name", "precision"),
    [("lenet-thin", "float32"), ("lenet-thin", "bfloat16"), ("resnet10-thin", "float32")],
)
def test_a_network_learns_the_toy(name, precision):
    images, labels = toy()
    network = fresh(name)
    schedule = Schedule(epochs=6, batch=16, lr=0.05, momentum=0.9, precision=precision)
    first = fit(network, images, labels, schedule, seed=1)
    assert first < 0.2
    assert (logits(network, images).argmax(1) == labels).mean() > 0.95
    assert fit(network, images, labels, QUICK, seed=0) < first  # it goes on from where it was


def test_training_is_deterministic_in_its_seed():
    images, labels = toy()
    networks, losses = [], []
    for seed in (1, 1, 2):
        network = fresh()
        torch.manual_seed(len(networks))  # what the global generator does must not matter
        expected = torch.rand(4)
        torch.manual_seed(len(networks))
        losses.append(fit(network, images, labels, QUICK, seed=seed))
        assert torch.equal(torch.rand(4), expected)  # and it is left alone
        networks.append(network)
    assert_same_weights(networks[0], networks[1])
    assert weights_apart(networks[1], networks[2]) > 1
    assert losses[0] == pytest.approx(losses[1], rel=SINGLE)


def test_bytes_train_as_floats_and_labels_as_probabilities():
    images, labels = toy()
    networks = [fresh() for _ in range(3)]
    hard = fit(networks[0], images, labels, QUICK, seed=0)
    fit(networks[1], to_float(images), labels, QUICK, seed=0)
    assert_same_weights(networks[0], networks[1])
    soft = fit(networks[2], images, np.eye(2)[labels], QUICK, seed=0)  # float64 is taken as well
    assert soft == pytest.approx(hard, rel=1e-4)
    found, expected = logits(networks[2], images), logits(networks[0], images)
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(("momentum", "decay"), [(0.9, 1e-3), (0.0, 0.0)])
def test_steps_are_those_of_torch(momentum, decay):
    images, labels = toy(16)
    ours, theirs = fresh(), fresh()
    schedule = Schedule(
        epochs=4, batch=16, lr=0.1, momentum=momentum, weight_decay=decay, decay="cosine"
    )
    fit(ours, images, labels, schedule, seed=0)
    sgd = torch.optim.SGD(theirs.parameters(), momentum=momentum, weight_decay=decay, lr=0.1)
    order = torch.Generator().manual_seed(0)
    for epoch in range(4):
        sgd.param_groups[0]["lr"] = schedule.rate(epoch)
        chosen = torch.randperm(16, generator=order)  # one batch an epoch
        x, y = torch.from_numpy(to_float(images))[chosen], torch.from_numpy(labels)[chosen]
        sgd.zero_grad()
        torch.nn.functional.cross_entropy(theirs(x), y).backward()
        sgd.step()
    assert_same_weights(ours, theirs)


@pytest.mark.parametrize("n", [1, 2, 17, 33])
def test_a_last_batch_of_one_image_is_not_trained_alone(n):
    """Batch normalisation over one value has no variance: it would raise, or learn nothing."""
    images, labels = toy(n)
    network = fresh("lenet-thin" if n == 1 else "resnet10-thin")
    for training in (True, False):  # the mode of the network survives
        network.train(training)
        assert math.isfinite(fit(network, images, labels, QUICK, seed=0))
        logits(network, images)
        assert network.training is training


@given(st.integers(1, 300), st.integers(1, 80))
@settings(max_examples=25)
def test_batches_cover_every_image_once(n, batch):
    parts = _slices(n, batch)
    assert [i for part in parts for i in range(n)[part]] == list(range(n))
    sizes = [len(range(n)[part]) for part in parts]
    assert max(sizes) <= batch + 1
    if batch > 1 and n > 1:
        assert min(sizes) > 1


def test_inference_does_not_depend_on_the_batch():
    images, _ = toy(20)
    assert logits(fresh(), images[:0]).shape == (0, 2)
    for name in ("lenet-thin", "resnet10-thin"):
        network = fresh(name)  # in training mode, where batch normalisation would see the batch
        whole, parts = logits(network, images), logits(network, images, batch=7)
        assert whole.shape == (20, 2)
        assert whole.dtype == np.float32
        np.testing.assert_allclose(whole, parts, rtol=1e-5, atol=1e-6)
        inner = features(network, images, batch=7)
        assert inner.shape == (20, network.width)
        head = network.head.weight.detach().numpy(), network.head.bias.detach().numpy()
        np.testing.assert_allclose(inner @ head[0].T + head[1], whole, rtol=1e-4, atol=1e-5)


def test_read_only_arrays_are_taken():
    """Those off the wire are, and torch warns about them; warnings are errors here."""
    images, labels = toy(8)
    wire = np.frombuffer(to_float(images).tobytes(), np.float32).reshape(images.shape)
    raw = np.frombuffer(images.tobytes(), np.uint8).reshape(images.shape)
    assert_same_answers(logits(fresh(), wire), logits(fresh(), images))
    fit(fresh(), raw, labels, QUICK, seed=0)
    fit(fresh(), raw[::-1], labels, QUICK, seed=0)


def test_progress_goes_to_standard_error_and_a_diverging_run_says_so(capfd):
    images, labels = toy(16)
    for progress in ("victim", True):
        fit(fresh(), images, labels, QUICK, seed=0, progress=progress)
    out, err = capfd.readouterr()
    assert (out, "victim" in err, "training" in err) == ("", True, True)
    wild = Schedule(epochs=5, batch=16, lr=1e6, momentum=0.9)
    with pytest.raises(TrainingDiverged, match=r"epoch \d of 5 .*learning rate was 1e\+06"):
        fit(fresh(), images, labels, wild, seed=0)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (np.zeros(7, np.int64), r"targets have shape \(7,\), expected 8, one for each image"),
        (np.full(8, 2), "targets contain the label 2, expected 0..1"),
        (np.zeros((8, 3), np.float32), "targets have 3 columns, expected 2 classes"),
        (np.full((8, 2), np.nan, np.float32), "targets contain NaN or infinity"),
        (np.zeros(8), "targets are float64 of rank 1, expected labels"),
    ],
)
def test_targets_that_do_not_fit_are_refused(targets, message):
    images, _ = toy(8)
    with pytest.raises(ValueError, match=message):
        fit(fresh(), images, targets, QUICK, seed=0)
    with pytest.raises(InvalidInputs, match="each input is 1x9x8, expected 1x8x8"):
        fit(fresh(), np.zeros((2, 1, 9, 8), np.uint8), np.zeros(2, np.int64), QUICK, seed=0)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("epochs", 0, "epochs is 0, expected a whole number from 1"),
        ("step_every", 1.5, "step_every is 1.5, expected a whole number from 1"),
        ("lr", math.inf, "lr is inf, expected at least 0 and below inf"),
        ("momentum", 1.0, "momentum is 1.0, expected at least 0 and below 1"),
        ("weight_decay", -1e-9, "weight_decay is -1e-09, expected at least 0"),
        ("decay", "linear", "decay is 'linear', expected one of constant, step, cosine"),
        ("precision", "float16", "precision is 'float16', expected one of float32, bfloat16"),
    ],
)
def test_impossible_schedules_are_refused(field, value, message):
    with pytest.raises(ValueError, match=f"schedule: {message}"):
        Schedule(**{field: value})
    assert [Schedule(lr=1).rate(e) for e in (0, 19)] == [1, 1]  # and rates follow their decay
    step = Schedule(lr=1, decay="step", step_every=30, step_factor=0.1)
    assert [step.rate(e) for e in (0, 29, 30, 60)] == pytest.approx([1, 1, 0.1, 0.01])
    cosine = Schedule(lr=1, decay="cosine", epochs=10)
    assert [cosine.rate(e) for e in (0, 5)] == pytest.approx([1, 0.5])
    assert all(cosine.rate(e) > cosine.rate(e + 1) > 0 for e in range(9))
