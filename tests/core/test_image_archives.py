"""Archives of images as data: how they are split, what is read as meant, what is refused."""

import contextlib
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
from splits import check

from core.learning import archives, datasets
from core.learning.datasets import (
    SPLITS,
    DatasetError,
    load,
    load_labelled_pool,
    load_pool,
)


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
    pool = load_pool(name, dataset.shape, count=None, seed=1, home=tmp_path)  # and nothing else
    assert {i.tobytes() for i in pool} == {i.tobytes() for i in dataset.splits["pool"].images}
    other = archive(tmp_path / "c.npz", colour=not colour)
    assert load(other, home=tmp_path).fingerprint != dataset.fingerprint
    with np.load(tmp_path / "a.npz") as raw:
        labels = {from_last(x): y for x, y in zip(raw["x_train"], raw["y_train"], strict=True)}
    for split in (dataset.splits[name] for name in SPLITS[:4]):
        for image, label in zip(split.images, split.labels, strict=True):
            assert labels[image.tobytes()] == label


def from_last(image: np.ndarray) -> bytes:
    return (image.transpose(2, 0, 1) if image.ndim == 3 else image).tobytes()


def test_a_pool_keeps_its_own_labels(tmp_path, home):
    split = load("digits", home=home).splits["pool"]
    known = {x.tobytes(): y for x, y in zip(split.images, split.labels, strict=True)}
    images, labels = load_labelled_pool("digits", (1, 8, 8), count=50, seed=1, home=home)
    assert labels.dtype == np.int64
    assert len(split) > len(labels) == 50
    assert [known[image.tobytes()] for image in images] == labels.tolist()
    assert load_labelled_pool("photos", (1, 5, 5), count=8, seed=1, home=home)[1] is None


def test_an_archive_with_one_array_is_a_pool(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (20, 5, 5), np.uint8)
    options = {"count": 8, "seed": 1, "home": tmp_path, "data": tmp_path}
    for y in (np.arange(100, 120, dtype=np.uint8), None):
        np.savez(tmp_path / "ood.npz", x=x, **({} if y is None else {"y": y}))
        images, labels = load_labelled_pool("npz:ood.npz", (1, 5, 5), **options)
        assert images.shape == (8, 1, 5, 5)
        places = [int(np.flatnonzero((x == i[0]).all(axis=(1, 2)))[0]) for i in images]
        assert labels is None if y is None else labels.tolist() == y[places].tolist()
    with pytest.raises(DatasetError, match=r"npz:ood\.npz is a pool without labels"):
        load("npz:ood.npz", home=tmp_path, data=tmp_path)
    np.savez(tmp_path / "ood.npz", x=x, y=np.arange(19))
    with pytest.raises(DatasetError, match="20 images but 19 labels"):
        load_labelled_pool("npz:ood.npz", (1, 5, 5), **options)


def test_medmnist_is_read_as_it_is_meant(tmp_path):
    rng, arrays, file = np.random.default_rng(0), {}, tmp_path / "med.npz"
    for part, n in {"train": 20, "val": 4, "test": 9}.items():
        arrays[f"{part}_images"] = rng.integers(0, 256, (n, 6, 7), np.uint8)
        arrays[f"{part}_labels"] = (np.arange(n) % 3).astype(np.uint8)[:, None]
    np.savez(file, **arrays)
    dataset = load(f"npz:{file}", home=tmp_path)
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
    for changes in ({}, {"train_labels": np.zeros((20, 14), int)}):
        np.savez(file, **{**arrays, **changes})
        with pytest.raises(
            DatasetError, match=r"val_images uint8.*; expected val_images and val_l"
        ):
            load(f"npz:{file}", home=tmp_path)


def test_a_name_can_be_used_from_any_folder(tmp_path, monkeypatch):
    archive(tmp_path / "a.npz")
    monkeypatch.chdir(tmp_path)
    for name, data in (("npz:a.npz", None), ("npz:a.npz", tmp_path), ("npz:./a.npz", None)):
        assert datasets.located(name, data) == f"npz:{tmp_path}/a.npz"
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


@settings(max_examples=25, suppress_health_check=[*HealthCheck])
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
KINDS = np.arange(24) % 3
ONE = np.arange(24) == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": IMAGES[0]}, r"x_train has shape \(6, 7\), expected \(n, h, w\) or"),
        ({"x_train": IMAGES[:0]}, "expected at least one image"),
        ({"y_train": np.arange(24) / 2}, r"y_train is float64 \(24,\), expected whole numbers"),
        ({"y_train": np.zeros(23, int)}, "24 train images but 23 train labels"),
        ({"y_test": np.full(9, 3)}, "labels go from 0 to 3, expected 0..k-1"),
        ({"y_train": np.zeros(24, int), "y_test": np.zeros(9, int)}, "at least two classes"),
        ({"x_test": np.zeros((9, 6, 8), np.uint8)}, r"train images are \(1, 6, 7\), test images"),
        ({"y_train": KINDS + 1, "y_test": KINDS[:9] + 1}, "from 1 to 3, .*begin at 1; subtract 1"),
        (
            {"y_train": KINDS * 2},
            "from 0 to 4, .*: 1 is missing there, which has 3 different labels",
        ),
        ({"y_train": KINDS + ONE * 5_000_000_000}, "label 5000000002, .*the others .* from 0 to 2"),
        (
            {"y_train": KINDS + ONE * 77_775},
            "from 0 to 77777, .*: 3 is missing .* is there 1 times",
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
    for text in ("(" * 5000, "{'descr': '|u1', 'fortran_order': False, 'shape': (-1,)}", "{}"):
        head = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()
        with zipfile.ZipFile(tmp_path / "head.npz", "w") as file:
            file.writestr("x.npy", head)
        with pytest.raises(DatasetError, match="cannot be read as an archive of arrays") as caught:
            load(f"npz:{tmp_path / 'head.npz'}", home=tmp_path)
        assert len(str(caught.value).splitlines()) == 1
    np.save(tmp_path / "one.npy", IMAGES)
    with pytest.raises(DatasetError, match="is a single array, expected an archive"):
        load(f"npz:{tmp_path / 'one.npy'}", home=tmp_path)
    with pytest.raises(DatasetError, match=r"there is no file .*absent"):
        load_pool("npz:absent", (1, 8, 8), count=1, seed=0, home=tmp_path, data=tmp_path)
