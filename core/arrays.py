"""Images as arrays: checked at the edge, scaled to [0, 1], identified by a digest of their bytes.

Images are always (b, c, h, w): b images, c channels, h rows, w columns; uint8 in 0..255 or float32
in [0, 1].
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class InvalidImages(ValueError):
    """Images that no victim would take; the message names the value and what was expected."""


def check_images(
    images: NDArray[Any], shape: tuple[int, int, int], limit: int | None = None
) -> None:
    """Refuse anything but 1..limit images (b, c, h, w) of the given shape (c, h, w).

    Cheap checks come first: nothing is read from the pixels until type and shape are right.
    Raises InvalidImages.
    """
    if not isinstance(images, np.ndarray):
        raise InvalidImages(f"images are a {type(images).__name__}, expected a numpy array")
    if images.dtype not in (np.dtype(np.uint8), np.dtype(np.float32)):
        raise InvalidImages(
            f"images have dtype {images.dtype}, expected uint8 (0..255) or float32 (in [0, 1])"
        )
    if images.ndim != 4:
        raise InvalidImages(
            f"images have rank {images.ndim} (shape {_sizes(images.shape)}), "
            f"expected rank 4: (b, {', '.join(map(str, shape))})"
        )
    if images.shape[1:] != tuple(shape):
        raise InvalidImages(
            f"each image is {_sizes(images.shape[1:])}, expected {_sizes(shape)} (c x h x w)"
        )
    if len(images) == 0:
        raise InvalidImages("the batch is empty, expected at least 1 image")
    if limit is not None and len(images) > limit:
        raise InvalidImages(f"the batch holds {len(images)} images, expected at most {limit}")
    check_values(images)


def check_values(images: NDArray[Any]) -> None:
    """Refuse floats that are not in [0, 1]. Raises InvalidImages."""
    if images.dtype == np.uint8 or not images.size:
        return
    low, high = float(images.min()), float(images.max())  # a NaN anywhere makes both NaN
    if np.isnan(low):
        raise InvalidImages("images contain NaN, expected values in [0, 1]")
    if low < 0.0 or high > 1.0:
        value = low if low < 0.0 else high
        hint = " (divide values from 0 to 255 by 255)" if 1.0 < high <= 255.0 and low >= 0.0 else ""
        raise InvalidImages(f"images contain {value:g}, expected values in [0, 1]{hint}")


def to_float(images: NDArray[Any]) -> NDArray[np.float32]:
    """The same images as float32 in [0, 1]; float32 images are returned as they are.

    Raises InvalidImages for any other dtype.
    """
    if images.dtype == np.uint8:
        scaled: NDArray[np.float32] = np.divide(images, np.float32(255), dtype=np.float32)
        return scaled
    if images.dtype == np.float32:
        return images
    raise InvalidImages(f"images have dtype {images.dtype}, expected uint8 or float32")


def digest(dtype: str, shape: Sequence[int], data: bytes | memoryview) -> bytes:
    """SHA-256 (32 bytes) over the length-prefixed dtype, shape and data of a tensor.

    Every length and axis is a little-endian 64-bit integer, so that no two tensors share a
    pre-image: (1, 28) of one dtype never reads as (12, 8) of another.
    """
    name = dtype.encode()
    view = memoryview(data)
    state = hashlib.sha256(struct.pack("<Q", len(name)) + name)
    state.update(struct.pack(f"<Q{len(shape)}q", len(shape), *shape))
    state.update(struct.pack("<Q", view.nbytes))
    state.update(view)
    return state.digest()


def _sizes(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) if len(shape) else "scalar"


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Class probabilities (b, k) of logits (b, k)."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    posterior: NDArray[np.float32] = shifted / shifted.sum(axis=1, keepdims=True)
    return posterior
