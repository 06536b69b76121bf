"""Inputs of a victim as arrays: checked, scaled to [0, 1], identified by a digest of their bytes.

A batch is (b, *shape), uint8 in 0..255 or float32 in [0, 1]; the shape of one input is the
victim's, (c, h, w) for images.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class InvalidInputs(ValueError):
    """Inputs that no victim would take; the message names the value and what was expected."""


RANGES = {"uint8": "uint8 (0..255)", "float32": "float32 (in [0, 1])"}
"""How a message names a type of inputs, with the values that are meant."""


def check_inputs(
    inputs: NDArray[Any],
    shape: Sequence[int],
    limit: int | None = None,
    dtypes: Sequence[str] = ("uint8", "float32"),
) -> None:
    """Refuses anything but 1..limit inputs (b, *shape) of one of the types; floats are in [0, 1].

    Cheap checks come first: nothing is read from the values until type and shape are right.
    Raises InvalidInputs.
    """
    if not isinstance(inputs, np.ndarray):
        raise InvalidInputs(f"inputs are a {type(inputs).__name__}, expected a numpy array")
    if inputs.dtype not in [np.dtype(name) for name in dtypes]:
        expected = " or ".join(RANGES.get(name, name) for name in dtypes)
        raise InvalidInputs(f"inputs have dtype {inputs.dtype}, expected {expected}")
    if inputs.ndim != 1 + len(shape):
        raise InvalidInputs(
            f"inputs have rank {inputs.ndim} (shape {_sizes(inputs.shape)}), "
            f"expected rank {1 + len(shape)}: ({', '.join(['b', *map(str, shape)])})"
        )
    if inputs.shape[1:] != tuple(shape):
        raise InvalidInputs(f"each input is {_sizes(inputs.shape[1:])}, expected {_sizes(shape)}")
    if len(inputs) == 0:
        raise InvalidInputs("the batch is empty, expected at least 1 input")
    if limit is not None and len(inputs) > limit:
        raise InvalidInputs(f"the batch holds {len(inputs)} inputs, expected at most {limit}")
    check_values(inputs)


def check_values(inputs: NDArray[Any]) -> None:
    """Refuses floats that are not in [0, 1]. Raises InvalidInputs."""
    if inputs.dtype.kind != "f" or not inputs.size:
        return
    low, high = float(inputs.min()), float(inputs.max())  # a NaN anywhere makes both NaN
    if np.isnan(low):
        raise InvalidInputs("inputs contain NaN, expected values in [0, 1]")
    if low < 0.0 or high > 1.0:
        value = low if low < 0.0 else high
        hint = " (divide values from 0 to 255 by 255)" if 1.0 < high <= 255.0 and low >= 0.0 else ""
        raise InvalidInputs(f"inputs contain {value:g}, expected values in [0, 1]{hint}")


def to_float(inputs: NDArray[Any]) -> NDArray[np.float32]:
    """The same inputs as float32 in [0, 1]; float32 inputs are returned as they are.

    Raises InvalidInputs for any other dtype.
    """
    if inputs.dtype == np.uint8:
        scaled: NDArray[np.float32] = np.divide(inputs, np.float32(255), dtype=np.float32)
        return scaled
    if inputs.dtype == np.float32:
        return inputs
    raise InvalidInputs(f"inputs have dtype {inputs.dtype}, expected uint8 or float32")


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
