"""Networks that defences look at: made once, of one victim, refused with another."""

from dataclasses import replace

import numpy as np
import pytest
from meaning import assert_same_weights, weights_apart

from core.learning import artifacts, networks
from core.learning.datasets import Split, load
from core.learning.training import Schedule, fit, logits
from server.defences import trained
from server.defences.gradient_redirection import Config as Redirection

pytestmark = pytest.mark.process  # trains for seconds


@pytest.fixture(scope="module")
def split(digits_home):
    whole = load("digits", home=digits_home).splits["victim"]
    return Split(whole.images[:600], whole.labels[:600])


@pytest.fixture(scope="module")
def victim(split):
    network = networks.build("lenet-thin", (1, 8, 8), 10, seed=0)
    fit(network, split.images, split.labels, Schedule(epochs=6, lr=0.05, momentum=0.9), seed=0)
    return network.eval()


@pytest.fixture(scope="module")
def files(tmp_path_factory, victim, split):
    folder = tmp_path_factory.mktemp("model")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("EARLY", "MISLEADING"):  # few images, so more epochs
            patch.setattr(trained, name, replace(getattr(trained, name), epochs=8))
        for defence in ("gradient_redirection", "mad", "adaptive_misinformation"):
            assert trained.prepare(folder, defence, victim, split, seed=0, count=2)
        yield folder


def right(surrogates, split):
    p = surrogates.posterior(split.images.astype(np.float32) / 255)
    return float(np.mean(p.argmax(axis=1) == split.labels)), p


def test_students_learn_fresh_networks_do_not_and_the_misled_are_wrong(files, victim, split):
    students = trained.load(files, "gradient_redirection", victim)
    assert len(students.networks) == 2
    assert right(students, split)[0] > 0.5
    assert not np.allclose(
        *(logits(network, split.images[:4]) for network in students.networks), atol=0.1
    )
    config = Redirection(untrained=True)
    served = trained.ready(files, "gradient_redirection", config, victim, b"k" * 32)
    untrained = served.surrogates
    assert len(untrained.networks) == 2
    assert right(untrained, split)[1].max() < 0.3
    fresh = trained.load(files, "mad_argmax", victim)
    assert len(fresh.networks) == 1
    first_weights = networks.build("lenet-thin", (1, 8, 8), 10, seed=0)
    assert weights_apart(fresh.networks[0], first_weights) > 1  # not where the victim began
    assert right(fresh, split)[1].max() < 0.3
    misled = trained.load(files, "adaptive_misinformation", victim)
    assert right(misled, split)[0] < 0.05


def test_what_is_there_is_not_made_again(files, victim, split):
    path = files / "surrogates-students.safetensors"
    before = path.read_bytes()
    asked = (files, "gradient_redirection", victim, split)
    assert trained.prepare(*asked, seed=0, count=2) is None
    assert path.read_bytes() == before
    assert trained.prepare(files, "none", victim, split, seed=0, count=2) is None
    assert trained.prepare(files, "mad_argmax", victim, split, seed=0, count=2) is None


def test_other_numbers_are_made_anew(tmp_path, victim, split, monkeypatch):
    monkeypatch.setattr(trained, "EARLY", replace(trained.EARLY, epochs=1))
    few = Split(split.images[:64], split.labels[:64])
    asked = (tmp_path, "gradient_redirection", victim, few)
    made = "students and untrained surrogates for gradient_redirection"
    assert trained.prepare(*asked, seed=0, count=1) == made
    one = trained.load(tmp_path, "gradient_redirection", victim).networks
    assert trained.prepare(*asked, seed=0, count=2) == made
    two = trained.load(tmp_path, "gradient_redirection", victim).networks
    assert_same_weights(one[0], two[0])
    assert trained.prepare(*asked, seed=1, count=2) is not None
    with pytest.raises(ValueError, match="--surrogates is 0; expected at least 1"):
        trained.prepare(*asked, seed=0, count=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, "surrogates-fresh.safetensors is missing; prepare .* --defence mad"),
        ({"victim": "another"}, "holds no fresh of this victim; prepare .* --defence mad"),
        ({"seeds": None}, "holds no fresh that can be used"),
        ({"seeds": [0, 1]}, "the array '.*' is missing"),
        ({"network": "lenet"}, "expected float32"),
    ],
)
def test_surrogates_that_are_not_what_they_say_are_refused(
    files, victim, tmp_path, change, message
):
    arrays, about = artifacts.load(files / "surrogates-fresh.safetensors")
    if change is not None:
        artifacts.save(tmp_path / "surrogates-fresh.safetensors", arrays, {**about, **change})
    with pytest.raises(artifacts.ArtifactError, match=message):
        trained.load(tmp_path, "mad", victim)
    assert trained.load(tmp_path, "rounding", victim) is None
