"""Converts inputs as users hold them to what the wire carries; refuses what is ambiguous.

Taken: uint8, or floats in [0, 1], as an array or as anything that turns into one (torch tensors,
PIL images, lists of them); a batch (b, *shape) or one input of it, of images also (b, h, w, c) and
(h, w, c). Values are never scaled, clipped or rounded but to float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.arrays import InvalidInputs, check_inputs, check_values

PIL_MODES = ("L", "RGB")
"""Of the others the numbers mean something else: places in a palette, hues, an alpha channel."""

MAX_RANK = 8
"""How deep lists are looked into; no inputs have so many axes."""

_Shape = tuple[int, ...]


def as_inputs(inputs: Any, shape: _Shape, limit: int) -> NDArray[Any]:
    """Inputs (b, *shape), uint8 or float32 in [0, 1], of what a user holds.

    An array that is so already is returned as it is. Raises InvalidInputs, which says how to
    convert.
    """
    batch = _ordered(_typed(_array(inputs)), shape)
    check_inputs(batch, shape, limit)
    return batch


def _array(inputs: Any) -> NDArray[Any]:
    """Converts an object to an array of the values that it shows."""
    if isinstance(inputs, np.ma.MaskedArray):
        raise InvalidInputs("inputs are a masked array; expected one without a mask: fill it")
    if isinstance(inputs, np.ndarray):
        return inputs
    if isinstance(inputs, (list, tuple)):
        return _stacked(inputs)
    mode = getattr(inputs, "mode", None)
    if isinstance(mode, str) and hasattr(inputs, "convert"):  # a PIL image
        if mode not in PIL_MODES:
            raise InvalidInputs(
                f"the image has mode {mode!r}; expected 'L' or 'RGB': use image.convert"
            )
    elif hasattr(inputs, "detach") and hasattr(inputs, "cpu"):  # a torch tensor
        inputs = inputs.detach().cpu()
    elif not hasattr(inputs, "__array__"):
        raise InvalidInputs(
            f"inputs are a {type(inputs).__name__}, expected an array, a tensor or PIL images"
        )
    try:
        return np.asarray(inputs)
    except Exception as error:  # whatever __array__ of somebody's class raises
        raise InvalidInputs(
            f"{type(inputs).__name__} cannot be made an array ({error}); "
            "expected uint8, or floats in [0, 1] (of a tensor: tensor.float())"
        ) from error


def _stacked(inputs: list[Any] | tuple[Any, ...]) -> NDArray[Any]:
    """Stacks equal inputs; lists of plain numbers become their array."""
    if not inputs:
        raise InvalidInputs("the batch is empty, expected at least 1 input")
    if _numbers(inputs):
        try:
            return np.array(inputs)
        except ValueError as error:
            raise InvalidInputs(f"the lists are no array: {error}") from error
    arrays = [_array(each) for each in inputs]
    first = arrays[0]
    for number, array in enumerate(arrays):
        if (array.dtype, array.shape) != (first.dtype, first.shape):
            raise InvalidInputs(
                f"input {number} is {array.dtype} {array.shape}, input 0 {first.dtype} "
                f"{first.shape}; expected inputs alike"
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
    """Converts floats to float32; refuses other types than that and uint8."""
    kind, size = array.dtype.kind, array.dtype.itemsize
    if array.dtype in (np.dtype(np.uint8), np.dtype(np.float32)):
        return array
    if kind == "f" and size <= 8:
        check_values(array)  # before anything is rounded into the range
        return array.astype(np.float32)
    hint = "expected uint8 (0..255) or floats in [0, 1]"
    if kind in "iu":
        hint += "; for values from 0 to 255 use inputs.astype(numpy.uint8)"
    elif kind == "b":
        hint += "; use inputs.astype(numpy.float32), or numpy.uint8(255) * inputs"
    raise InvalidInputs(f"inputs have dtype {array.dtype}, {hint}")


def _ordered(array: NDArray[Any], shape: _Shape) -> NDArray[Any]:
    """Orders the axes as (b, *shape), if they can be read in one way only."""
    if array.shape[1:] == shape:
        return array
    readings: dict[str, NDArray[Any]] = {}
    if array.shape == shape:
        readings["one input (c, h, w)" if len(shape) == 3 else "one input"] = array[None]
    if len(shape) == 3:
        channels, *plane = shape
        if array.shape[-3:] == (*plane, channels):
            last = np.moveaxis(array, -1, -3)
            if array.ndim == 4:
                readings["(b, h, w, c)"] = last
            elif array.ndim == 3:
                readings["one input (h, w, c)"] = last[None]
        if channels == 1 and array.ndim in (2, 3) and array.shape[-2:] == tuple(plane):
            one = array.ndim == 2
            readings["one input (h, w)" if one else "(b, h, w)"] = array.reshape(-1, *shape)
    found = list(readings.values())
    if not found:
        return array  # check_inputs says what is wrong with it
    if any(other.shape != found[0].shape or (other != found[0]).any() for other in found[1:]):
        raise InvalidInputs(
            f"inputs of shape {array.shape} may be {' or '.join(readings)}; "
            f"expected (b, {', '.join(map(str, shape))}): use inputs[None] or numpy.transpose"
        )
    return found[0]
