"""Labelled images in NumPy archives: which arrays are read, as what, and what is refused.

x_train, y_train, x_test, y_test    images (n, h, w) or (n, h, w, 1 or 3) uint8, labels (n,)
train_images, train_labels, ...     the same, as MedMNIST names them
x, y                                a pool; y may be missing
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.learning import archives
from core.learning.images import from_channels_last

LABELLED = ("x_train", "y_train", "x_test", "y_test")
MEDMNIST = {
    "train_images": "x_train",
    "val_images": "x_train",
    "train_labels": "y_train",
    "val_labels": "y_train",
    "test_images": "x_test",
    "test_labels": "y_test",
}
LARGEST_LABEL = 1_000_000


class DatasetError(ValueError):
    """A dataset that is unknown, absent, damaged, or not of the form described; one line."""


def located(name: str, data: Path | None = None) -> str:
    """The name of a dataset as it reads from any folder: of an archive, the whole path.

    Raises DatasetError for an archive that is not there.
    """
    return f"npz:{_archive_path(name, data)}" if name.startswith("npz:") else name


def path(name: str, data: Path | None = None) -> Path:
    """Where an archive is, or would be: in the folder `data` first."""
    below = Path(name.removeprefix("npz:"))
    found = below if data is None else data / below
    return (found if found.is_file() else below).absolute()


def _archive_path(name: str, data: Path | None) -> Path:
    found = path(name, data)
    if not found.is_file():
        raise DatasetError(f"{name}: there is no file {found}")
    return found


def read(name: str, data: Path | None) -> dict[str, NDArray[Any]]:
    """The arrays of an archive by our names, checked, images as (n, c, h, w), labels int64."""
    path = _archive_path(name, data)
    try:
        found = archives.headers(path)
        keys = _keys(name, found)
        for key in keys:
            _check(name, key, found[key])
        read = archives.read(path, keys)
    except OSError as error:
        raise DatasetError(f"{name} cannot be read: {error.strerror or error}") from error
    except archives.ArchiveError as error:
        raise DatasetError(f"{name} {error}") from error
    parts: dict[str, list[NDArray[Any]]] = {}
    for key, ours in keys.items():
        parts.setdefault(ours, []).append(_converted(name, key, read[key]))
    for ours, several in parts.items():
        if len({each.shape[1:] for each in several}) > 1:
            shapes = " and ".join(str(each.shape[1:]) for each in several)
            raise DatasetError(f"{name}: images of {ours} are {shapes}, expected one shape")
    return {ours: np.concatenate(several) for ours, several in parts.items()}


def _keys(name: str, found: Mapping[str, archives.Header]) -> dict[str, str]:
    """Which arrays of an archive are read, and as what of ours. Raises DatasetError."""
    if all(key in found for key in LABELLED):
        return {key: key for key in LABELLED}
    if all(key in found for key in ("train_images", "train_labels", "test_images", "test_labels")):
        if ("val_images" in found) != ("val_labels" in found):
            raise DatasetError(
                f"{name} holds {archives.listed(dict(found))}; "
                "expected val_images and val_labels, or neither"
            )
        return {key: ours for key, ours in MEDMNIST.items() if key in found}
    if "x" in found:
        return {key: key for key in ("x", "y") if key in found}
    raise DatasetError(
        f"{name} holds {archives.listed(dict(found))}; expected {', '.join(LABELLED)}, "
        "or x, or train_images, train_labels, test_images, test_labels"
    )


def _check(name: str, key: str, array: archives.Header) -> None:
    """Raises DatasetError for images or labels of another type or shape."""
    if array.dtype.hasobject:
        raise DatasetError(f"{name}: {key} holds pickled objects, which are never loaded")
    if "labels" in key or key.startswith("y"):
        flat = len(array.shape) == 1 or (len(array.shape) == 2 and array.shape[1] == 1)
        if not flat or array.dtype.kind not in "iu":
            several = "; one label an image is read, not several" if len(array.shape) == 2 else ""
            raise DatasetError(
                f"{name}: {key} is {array}, expected whole numbers (n,) or (n, 1){several}"
            )
        return
    shape = array.shape
    if array.dtype != np.uint8:
        hint = " (0 to 255: np.rint(255 * x).astype(np.uint8), if these go from 0 to 1)"
        raise DatasetError(
            f"{name}: {key} has dtype {array.dtype}, expected uint8"
            f"{hint if array.dtype.kind == 'f' else ''}"
        )
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)):
        first = len(shape) == 4 and shape[1] in (1, 3)
        hint = "; channels come last: x.transpose(0, 2, 3, 1)" if first else ""
        raise DatasetError(
            f"{name}: {key} has shape {shape}, expected (n, h, w) or (n, h, w, 1 or 3){hint}"
        )
    if 0 in shape:
        raise DatasetError(f"{name}: {key} has shape {shape}, expected at least one image")


def _converted(name: str, key: str, array: NDArray[Any]) -> NDArray[Any]:
    if "labels" not in key and not key.startswith("y"):
        return from_channels_last(array)
    array = array.reshape(-1)
    if len(array) and (array.max() > LARGEST_LABEL or array.min() < -LARGEST_LABEL):
        wrong = array.max() if array.max() > LARGEST_LABEL else array.min()
        others = np.unique(array[np.abs(array.astype(np.float64)) <= LARGEST_LABEL])
        rest = f"; the others go from {others[0]} to {others[-1]}" if len(others) else ""
        raise DatasetError(f"{name}: {key} has the label {wrong}, expected 0..k-1{rest}")
    return array.astype(np.int64)


def check_classes(name: str, labels: NDArray[np.int64], test_labels: NDArray[np.int64]) -> None:
    """Raises DatasetError unless the training labels are 0..k-1, and the others some of them."""
    seen, counts = np.unique(labels, return_counts=True)
    everything = np.union1d(seen, test_labels)
    low, high = int(everything[0]), int(everything[-1])
    said = f"{name}: labels go from {low} to {high}, expected 0..k-1"
    if low < 0:
        raise DatasetError(f"{said}: no label below 0")
    if low == 1 and len(seen) == high:
        raise DatasetError(f"{said}: they begin at 1; subtract 1 from all of them")
    if len(seen) < 2:
        raise DatasetError(f"{said} with at least two classes, the training set has {len(seen)}")
    absent = np.setdiff1d(np.arange(min(high, len(everything)) + 1), seen)
    if len(absent):
        rare = int(seen[-1])
        once = f"; {rare} is there {counts[-1]} times" if high >= len(everything) else ""
        raise DatasetError(
            f"{said}, all of them in the training set: {absent[0]} is missing there, "
            f"which has {len(seen)} different labels{once}"
        )
