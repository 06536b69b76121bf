"""Arrays survive the wire, and only arrays do."""

import contextlib

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from protos import codec
from protos import gate_pb2 as pb

shapes = arrays.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=5)
any_array = st.one_of(
    arrays.arrays(np.uint8, shapes),
    arrays.arrays(np.float32, shapes, elements=st.floats(width=32, allow_nan=False)),
)


@given(any_array)
def test_decoding_undoes_encoding(array):
    for back in (codec.decode(codec.encode(array)), codec.loads(codec.dumps(array))):
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back, array, strict=True)


def test_the_wire_is_little_endian_and_in_row_major_order():
    assert codec.encode(np.array([1.0], np.float32)).data == b"\0\0\x80?"
    assert codec.encode(np.arange(4, dtype=np.uint8).reshape(2, 2).T).data == b"\0\2\1\3"


def test_what_is_not_sent_and_not_taken():
    for dtype in (np.int64, np.float64, bool, ">f4", "U3"):
        with pytest.raises(codec.CodecError, match="expected uint8 or float32"):
            codec.encode(np.zeros(3, dtype))
    with pytest.raises(codec.CodecError, match="9 axes; expected at most 8"):
        codec.encode(np.zeros([1] * 9, np.uint8))
    with pytest.raises(codec.CodecError, match="2 bytes are not a serialized tensor"):
        codec.loads(b"\xff\xff")


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (pb.Tensor(shape=[1], data=b"1"), "dtype code 0 is unknown"),
        (pb.Tensor(shape=[2], dtype=pb.DTYPE_UINT8, data=b"1"), "holds 1 bytes.* needs 2"),
        (pb.Tensor(shape=[-1, -1], dtype=pb.DTYPE_UINT8, data=b"1"), "negative axis"),
        (pb.Tensor(shape=[1] * 9, dtype=pb.DTYPE_UINT8, data=b"1"), "9 axes"),
    ],
)
def test_a_tensor_that_does_not_hold_what_it_says(tensor, message):
    with pytest.raises(codec.CodecError, match=message):
        codec.decode(tensor)


axes = st.one_of(
    st.integers(0, 4),
    st.sampled_from([-(2**63), -1, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1]),
    st.integers(-(2**63), 2**63 - 1),
)


@given(st.lists(axes, max_size=10), st.integers(0, 3), st.binary(max_size=64))
@example([0, 2**62, 2**62, 4], pb.DTYPE_FLOAT32, b"")
@example([0, 2**31, 2**31, 2**31], pb.DTYPE_UINT8, b"")
@example([2**62, 0], pb.DTYPE_FLOAT32, b"")
def test_anything_whatever_is_an_array_or_a_codec_error(shape, dtype, data):
    tensor = pb.Tensor(shape=shape, dtype=dtype, data=data)
    for read in (lambda: codec.decode(tensor), lambda: codec.loads(tensor.SerializeToString())):
        try:
            array = read()
        except codec.CodecError:
            continue
        assert array.shape == tuple(shape)
        assert array.tobytes() == data
    with contextlib.suppress(codec.CodecError):
        codec.loads(data)
