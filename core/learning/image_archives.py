"""Labelled images in NumPy archives: which arrays are read, as what, and what is refused.

x_train, y_train, x_test, y_test    images (n, h, w) or (n, h, w, 1 or 3) uint8, labels (n,)
train_images, train_labels, ...     the same, as MedMNIST names them
x, y                                a pool; y may be missing
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.learning import archives
from core.learning.images import Images, from_channels_last

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
            _check(f"{name}: {key}", _holds_labels(key), found[key])
        arrays = archives.read(path, keys)
    except OSError as error:
        raise DatasetError(f"{name} cannot be read: {error.strerror or error}") from error
    except archives.ArchiveError as error:
        raise DatasetError(f"{name} {error}") from error
    parts: dict[str, list[NDArray[Any]]] = {}
    for key, ours in keys.items():
        convert = _labels if _holds_labels(key) else _images
        parts.setdefault(ours, []).append(convert(f"{name}: {key}", arrays[key]))
    for ours, several in parts.items():
        if len({each.shape[1:] for each in several}) > 1:
            shapes = " and ".join(str(each.shape[1:]) for each in several)
            raise DatasetError(f"{name}: images of {ours} are {shapes}, expected one shape")
    return {ours: np.concatenate(several) for ours, several in parts.items()}


def _holds_labels(key: str) -> bool:
    return "labels" in key or key.startswith("y")


def _keys(name: str, found: dict[str, archives.Header]) -> dict[str, str]:
    """Which arrays of an archive are read, and as what of ours. Raises DatasetError."""
    expected = ""
    if all(key in found for key in LABELLED):
        return {key: key for key in LABELLED}
    if all(key in found for key in MEDMNIST if not key.startswith("val_")):
        if ("val_images" in found) == ("val_labels" in found):
            return {key: ours for key, ours in MEDMNIST.items() if key in found}
        expected = "val_images and val_labels, or neither"
    elif "x" in found:
        return {key: key for key in ("x", "y") if key in found}
    expected = expected or (
        f"{', '.join(LABELLED)}, or x, or train_images, train_labels, test_images, test_labels"
    )
    raise DatasetError(f"{name} holds {archives.listed(found)}; expected {expected}")


def _check(where: str, labels: bool, array: archives.Header) -> None:
    """Raises DatasetError for images or labels of another type or shape."""
    shape, kind = array.shape, array.dtype.kind
    if array.dtype.hasobject:
        raise DatasetError(f"{where} holds pickled objects, which are never loaded")
    if labels:
        if kind not in "iu" or not (len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)):
            several = "; one label an image is read, not several" if len(shape) == 2 else ""
            raise DatasetError(
                f"{where} is {array}, expected whole numbers (n,) or (n, 1){several}"
            )
    elif array.dtype != np.uint8:
        hint = " (0 to 255: np.rint(255 * x).astype(np.uint8), if these go from 0 to 1)"
        raise DatasetError(
            f"{where} has dtype {array.dtype}, expected uint8{hint if kind == 'f' else ''}"
        )
    elif len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)):
        first = len(shape) == 4 and shape[1] in (1, 3)
        hint = "; channels come last: x.transpose(0, 2, 3, 1)" if first else ""
        raise DatasetError(
            f"{where} has shape {shape}, expected (n, h, w) or (n, h, w, 1 or 3){hint}"
        )
    elif 0 in shape:
        raise DatasetError(f"{where} has shape {shape}, expected at least one image")


def _images(_: str, array: NDArray[Any]) -> Images:
    return from_channels_last(array)


def _labels(where: str, array: NDArray[Any]) -> NDArray[np.int64]:
    array = array.reshape(-1)
    far = np.abs(array.astype(np.float64)) > LARGEST_LABEL
    if far.any():
        rest = array[~far]
        others = f"; the others go from {rest.min()} to {rest.max()}" if len(rest) else ""
        raise DatasetError(f"{where} has the label {array[far][0]}, expected 0..k-1{others}")
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
