"""A model's files: what they pin, who can read them, and what is refused."""

import json
import os
import stat

import numpy as np
import pytest
from commands import refused
from safetensors.numpy import save_file

from core.learning import artifacts, datasets
from core.learning.datasets import DatasetError
from server import calibration, model


def archive(path, *, n=240, seed=0):
    rng = np.random.default_rng(seed)

    def images(labels):
        bright = (labels * 100)[:, None, None]
        return (bright + rng.integers(0, 50, (len(labels), 6, 7))).astype(np.uint8)

    train, test = np.arange(n) % 2, np.arange(20) % 2
    np.savez(path, x_train=images(train), y_train=train, x_test=images(test), y_test=test)
    return f"npz:{path}"


def prepare(home, dataset, measure="gap", **flags):
    return model.prepare(
        home, "m", dataset=dataset, network="lenet-thin", measure=measure, seed=0, **flags
    )


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the archive a.npz, of which a model `m` was prepared from there."""
    monkeypatch.chdir(tmp_path)
    archive(tmp_path / "a.npz")
    prepare(tmp_path / "home", "npz:a.npz")
    return tmp_path


def test_data_replaced_after_preparing_do_not_calibrate(place):
    home = place / "home"
    before = model.load(home, "m", "gap").split
    name = archive(place / "a.npz", seed=1)
    now = datasets.load(name, home=home).fingerprint
    said = refused("calibrate", "--home", home, "--model", "m", "--measure", "gap")
    assert f"{name} has changed" in said
    assert before in said
    assert now in said
    assert not calibration.path(home, "m", "gap").exists()
    with pytest.raises(ValueError, match=f"trained on data of SHA-256 {before}, but .* {now}"):
        prepare(home, name)


def test_data_are_found_from_another_folder(place, monkeypatch):
    home, split = place / "home", model.load(place / "home", "m", "gap").split
    monkeypatch.chdir("/")
    loaded = model.load(home, "m", "gap")
    assert loaded.dataset == f"npz:{place}/a.npz"
    assert model.data_of(loaded, home=home).fingerprint == split
    (place / "b").mkdir()
    (place / "a.npz").rename(place / "b" / "moved.npz")
    with pytest.raises(DatasetError, match=f"there is no file {place}/a.npz"):
        model.data_of(loaded, home=home)
    assert prepare(home, "npz:moved.npz", data=place / "b") == []  # what is in it has not changed
    again = model.load(home, "m", "gap")
    assert (again.dataset, again.split) == (f"npz:{place}/b/moved.npz", split)
    assert again.fingerprint == loaded.fingerprint


@pytest.mark.parametrize(
    ("n", "measure", "message"),
    [
        (30, "gap", "30 training images, 2 of them for the calibration .* at least 240 training"),
        (600, "surprisal:gap", "50 of them for the calibration .* needs 100; .* at least 1200"),
        (239, "heads", "at least 240 training images"),
    ],
)
def test_too_few_images_are_refused_before_training(tmp_path, monkeypatch, n, measure, message):
    monkeypatch.setattr(model.training, "fit", None)
    with pytest.raises(ValueError, match=message):
        prepare(tmp_path, archive(tmp_path / "a.npz", n=n), measure)
    assert not (tmp_path / "models").exists()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A victim, prepared where the folders for it were open to all."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "models" / "m").mkdir(parents=True, mode=0o755)
    before = os.umask(0)
    try:
        prepare(folder, archive(folder / "a.npz"))
    finally:
        os.umask(before)
    return model.victim_file(folder, "m")


def test_what_is_made_only_its_owner_can_read(trained):
    made = [*trained.parents[:2], *trained.parent.iterdir()]
    assert {path.name for path in made} == {"models", "m", "victim.safetensors", "gap.safetensors"}
    for path in made:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def forged(path, arrays, meta, header=None):
    """An artifact whose checksum is right, whatever it says."""
    content = artifacts._content(json.dumps(meta, sort_keys=True), arrays)
    header = header or json.dumps({"meta": meta, "sha256": content})
    save_file(arrays, path, metadata={artifacts.HEADER: header})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": {"shape": [1, 10**6, 10**6]}}, "is float32 .*, expected float32"),
        ({"network": {"shape": [1, 2**62, 2**62]}}, "cannot be built"),
        ({"network": {"shape": ["a", 6, 7]}}, "expected \\(c, h, w\\)"),
        ({"network": {"classes": 10**15}}, "expected float32 \\(1000000000000000"),
        ({"network": {"classes": "2"}}, "classes is '2', expected at least 2"),
        ({"network": {"name": ["lenet"]}}, "cannot be built"),
        ({"arrays": None}, r"array .head\.bias. .*is missing"),
        ({"arrays": np.nan}, r"head\.bias holds numbers that are"),
        ({"split": 7}, "does not say what split it was trained on"),
        ({"header": "[" * 100_000}, "is damaged: its header cannot be read"),
    ],
)
def test_a_victim_that_is_not_what_it_says_is_refused(trained, tmp_path, change, message):
    file = model.victim_file(tmp_path, "m")
    file.parent.mkdir(parents=True)
    arrays, meta = artifacts.load(trained)
    if "arrays" in change:
        bias = arrays.pop("head.bias")
        if change["arrays"] is not None:
            arrays["head.bias"] = np.full_like(bias, change["arrays"])
    network = {**meta["network"], **change.get("network", {})}
    facts = {**meta["facts"], "split": change.get("split", "a split")}
    meta = {**meta, "network": network, "facts": facts}
    forged(file, arrays, meta, change.get("header"))
    with pytest.raises(artifacts.ArtifactError, match=message) as caught:
        model.load(tmp_path, "m", "gap")
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
