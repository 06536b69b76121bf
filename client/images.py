"""Images as users hold them, made what the wire carries; what is ambiguous is refused.

Taken: uint8, or floats in [0, 1], as an array or as anything that turns into one (torch tensors,
PIL images, lists of them); a batch (b, c, h, w) or (b, h, w, c), or one image of it. Axes (c, h, w)
as in core.arrays. Values are never scaled, clipped or rounded but to float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.arrays import InvalidInputs, check_inputs, check_values

PIL_MODES = ("L", "RGB")
"""Of the others the numbers mean something else: places in a palette, hues, an alpha channel."""

MAX_RANK = 8
"""How deep lists are looked into; no images have so many axes."""

Shape = tuple[int, int, int]
_Move = Callable[[NDArray[Any]], NDArray[Any]]


def as_images(images: Any, shape: Shape, limit: int) -> NDArray[Any]:
    """Images (b, c, h, w), uint8 or float32 in [0, 1], of what a user holds.

    An array that is so already is returned as it is. Raises InvalidInputs, which says how to
    convert.
    """
    batch = _ordered(_typed(_array(images)), shape)
    check_inputs(batch, shape, limit)
    return batch


def _array(images: Any) -> NDArray[Any]:
    """The array behind an object; its values are what the object shows."""
    if isinstance(images, np.ma.MaskedArray):
        raise InvalidInputs("images are a masked array; expected one without a mask: fill it")
    if isinstance(images, np.ndarray):
        return images
    if isinstance(images, (list, tuple)):
        return _stacked(images)
    mode = getattr(images, "mode", None)
    if isinstance(mode, str) and hasattr(images, "convert"):  # a PIL image
        if mode not in PIL_MODES:
            raise InvalidInputs(
                f"the image has mode {mode!r}; expected 'L' or 'RGB': use image.convert"
            )
    elif hasattr(images, "detach") and hasattr(images, "cpu"):  # a torch tensor
        images = images.detach().cpu()
    elif not hasattr(images, "__array__"):
        raise InvalidInputs(
            f"images are a {type(images).__name__}, expected an array, a tensor or PIL images"
        )
    try:
        return np.asarray(images)
    except Exception as error:  # whatever __array__ of somebody's class raises
        raise InvalidInputs(
            f"{type(images).__name__} cannot be made an array ({error}); "
            "expected uint8, or floats in [0, 1] (of a tensor: tensor.float())"
        ) from error


def _stacked(images: list[Any] | tuple[Any, ...]) -> NDArray[Any]:
    """An array of equal images, one axis more than each; of plain numbers, theirs."""
    if not images:
        raise InvalidInputs("the batch is empty, expected at least 1 image")
    if _numbers(images):
        try:
            return np.array(images)
        except ValueError as error:
            raise InvalidInputs(f"the lists are no array: {error}") from error
    arrays = [_array(image) for image in images]
    first = arrays[0]
    for number, array in enumerate(arrays):
        if (array.dtype, array.shape) != (first.dtype, first.shape):
            raise InvalidInputs(
                f"image {number} is {array.dtype} {array.shape}, image 0 {first.dtype} "
                f"{first.shape}; expected images alike"
            )
    return np.stack(arrays)


def _numbers(items: list[Any] | tuple[Any, ...], depth: int = 1) -> bool:
    """Whether lists hold nothing but numbers: what else is in them is looked at one by one."""
    return all(
        isinstance(item, (int, float, np.generic))
        or (isinstance(item, (list, tuple)) and (depth == MAX_RANK or _numbers(item, depth + 1)))
        for item in items
    )


def _typed(array: NDArray[Any]) -> NDArray[Any]:
    """uint8 or float32 with the same values; floats become float32."""
    kind, size = array.dtype.kind, array.dtype.itemsize
    if array.dtype in (np.dtype(np.uint8), np.dtype(np.float32)):
        return array
    if kind == "f" and size <= 8:
        check_values(array)  # before anything is rounded into the range
        return array.astype(np.float32)
    hint = "expected uint8 (0..255) or floats in [0, 1]"
    if kind in "iu":
        hint += "; for values from 0 to 255 use images.astype(numpy.uint8)"
    elif kind == "b":
        hint += "; use images.astype(numpy.float32), or numpy.uint8(255) * images"
    raise InvalidInputs(f"images have dtype {array.dtype}, {hint}")


def _ordered(array: NDArray[Any], shape: Shape) -> NDArray[Any]:
    """As (b, c, h, w): a batch of that order, or what can be read in one way only."""
    channels, height, width = shape
    if array.ndim == 4 and array.shape[1:] == shape:
        return array
    last = (height, width, channels)
    readings: dict[str, _Move] = {}
    if array.ndim == 4 and array.shape[1:] == last:
        readings["(b, h, w, c)"] = lambda a: a.transpose(0, 3, 1, 2)
    if array.shape == shape:
        readings["one image (c, h, w)"] = lambda a: a[None]
    if array.shape == last:
        readings["one image (h, w, c)"] = lambda a: a.transpose(2, 0, 1)[None]
    if channels == 1 and array.shape == (height, width):
        readings["one image (h, w)"] = lambda a: a[None, None]
    if channels == 1 and array.ndim == 3 and array.shape[1:] == (height, width):
        readings["(b, h, w)"] = lambda a: a[:, None]
    read = {name: move(array) for name, move in readings.items()}
    found = list(read.values())
    if not found:
        return array  # check_inputs says what is wrong with it
    if any(other.shape != found[0].shape or (other != found[0]).any() for other in found[1:]):
        raise InvalidInputs(
            f"images of shape {array.shape} may be {' or '.join(read)}; "
            f"expected (b, {channels}, {height}, {width}): use images[None] or numpy.transpose"
        )
    return found[0]
