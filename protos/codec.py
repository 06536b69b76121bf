"""numpy arrays to and from the wire's `Tensor`: little-endian bytes, shape and dtype."""

import math
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from protos import gate_pb2 as pb

MAX_RANK = 8
"""More axes than any image batch or posterior has; keeps a hostile shape cheap to refuse."""

MAX_BYTES = 2**31 - 1
"""What one protobuf message can hold; an axis beside one of length 0 is held to it, too."""

_WIRE = {np.dtype(np.uint8): pb.DTYPE_UINT8, np.dtype(np.float32): pb.DTYPE_FLOAT32}
_NUMPY: dict[int, np.dtype[Any]] = {
    pb.DTYPE_UINT8: np.dtype("u1"),
    pb.DTYPE_FLOAT32: np.dtype("<f4"),
}


class CodecError(ValueError):
    """A tensor that cannot be carried, or that does not hold what it says."""


def encode(array: NDArray[Any]) -> pb.Tensor:
    """Array as a `Tensor`. Raises CodecError for a dtype or a shape the wire does not carry."""
    dtype = _WIRE.get(array.dtype)
    if dtype is None:
        raise CodecError(f"dtype {array.dtype} cannot be sent; expected uint8 or float32")
    _check_shape(array.shape, array.dtype)
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return pb.Tensor(shape=array.shape, dtype=dtype, data=little.tobytes())


def dtype_name(tensor: pb.Tensor) -> str:
    """Name of the tensor's dtype, "uint8" or "float32". Raises CodecError for any other."""
    dtype = _NUMPY.get(tensor.dtype)
    if dtype is None:
        raise CodecError(
            f"dtype code {tensor.dtype} is unknown; expected DTYPE_UINT8 or DTYPE_FLOAT32"
        )
    return dtype.name


def decode(tensor: pb.Tensor) -> NDArray[Any]:
    """Read-only array of a `Tensor`; its size is checked before the bytes are touched.

    Raises CodecError for an unknown dtype, a rank above MAX_RANK, a negative axis, axes beyond
    MAX_BYTES, or data whose length is not what shape and dtype say.
    """
    name = dtype_name(tensor)
    dtype = _NUMPY[tensor.dtype]
    shape = tuple(tensor.shape)
    _check_shape(shape, dtype)
    expected = math.prod(shape) * dtype.itemsize
    if len(tensor.data) != expected:
        raise CodecError(
            f"tensor holds {len(tensor.data)} bytes; shape {shape} of {name} needs {expected}"
        )
    array: NDArray[Any] = np.frombuffer(tensor.data, dtype).reshape(shape)
    return array


def _check_shape(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raises CodecError for a shape that no tensor of the wire has."""
    if len(shape) > MAX_RANK:
        raise CodecError(f"tensor has {len(shape)} axes; expected at most {MAX_RANK}")
    if any(axis < 0 for axis in shape):
        raise CodecError(f"shape {shape} has a negative axis")
    # numpy multiplies the axes that are not 0, also of an array that holds nothing.
    if math.prod(axis for axis in shape if axis) * dtype.itemsize > MAX_BYTES:
        raise CodecError(
            f"shape {shape} needs more bytes of {dtype.name}; expected at most {MAX_BYTES}"
        )


def dumps(array: NDArray[Any]) -> bytes:
    """Array as the bytes of a serialized `Tensor`. Raises CodecError."""
    return encode(array).SerializeToString()


def loads(data: bytes) -> NDArray[Any]:
    """Array from the bytes of a serialized `Tensor`. Raises CodecError."""
    try:
        tensor = pb.Tensor.FromString(data)
    except DecodeError as error:
        raise CodecError(f"{len(data)} bytes are not a serialized tensor") from error
    return decode(tensor)
