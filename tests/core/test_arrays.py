import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from core.arrays import InvalidInputs, check_inputs, digest, softmax, to_float

SHAPE = (1, 4, 5)


def floats(value: float = 0.5) -> np.ndarray:
    return np.full((2, *SHAPE), value, np.float32)


def test_good_images_pass():
    for images in (floats(0.0), floats(1.0), np.zeros((3, *SHAPE), np.uint8)):
        check_inputs(images, SHAPE, limit=3)
        check_inputs(images.repeat(300, axis=0), SHAPE)  # without a limit, any number


def with_pixel(value: float) -> np.ndarray:
    images = floats()
    images[1, 0, 2, 3] = value
    return images


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([[1, 2]], "inputs are a list, expected a numpy array"),
        (floats().astype(np.float64), r"dtype float64, expected uint8 \(0..255\) or float32"),
        (np.zeros((2, *SHAPE), ">f4"), "dtype >f4, expected uint8"),
        (np.zeros((4, 5), np.uint8), r"rank 2 \(shape 4x5\), expected rank 4: \(b, 1, 4, 5\)"),
        (np.float32(0.5), "inputs are a float32, expected a numpy array"),
        (np.zeros((), np.uint8), r"rank 0 \(shape scalar\)"),
        (np.zeros((2, 3, 4, 5), np.uint8), "each input is 3x4x5, expected 1x4x5"),
        (np.zeros((0, *SHAPE), np.uint8), "the batch is empty, expected at least 1 input"),
        (np.zeros((5, *SHAPE), np.uint8), "the batch holds 5 inputs, expected at most 4"),
        (with_pixel(np.nan), r"inputs contain NaN, expected values in \[0, 1\]"),
        (with_pixel(1.0001), r"inputs contain 1.0001, expected values in \[0, 1\]"),
        (floats(255.0), r"inputs contain 255, expected values in \[0, 1\]"),
    ],
)
def test_each_kind_of_bad_images_is_named(images, message):
    with pytest.raises(InvalidInputs, match=message):
        check_inputs(images, SHAPE, limit=4)


def test_every_grey_level_scales_as_a_division_by_255():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    scaled = to_float(levels)
    assert scaled.dtype == np.float32
    assert scaled.min() == 0
    assert scaled.max() == 1
    np.testing.assert_array_equal(scaled, levels.astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(np.rint(scaled * 255).astype(np.uint8), levels)
    images = floats()  # not copied
    assert to_float(images) is images
    with pytest.raises(InvalidInputs, match="dtype float64, expected uint8 or float32"):
        to_float(images.astype(float))


def test_digest_is_the_documented_hash():
    expected = hashlib.sha256(
        struct.pack("<Q", 5) + b"uint8" + struct.pack("<Q2q", 2, 2, 3) + struct.pack("<Q", 6)
    )
    expected.update(b"abcdef")
    assert digest("uint8", (2, 3), b"abcdef") == expected.digest()
    data = np.arange(6, dtype=np.float32)  # of any size of items
    assert digest("float32", (6,), data.data) == digest("float32", (6,), data.tobytes())


parts = st.tuples(st.text(max_size=4), st.lists(st.integers(0, 2**40), max_size=3), st.binary())


@given(parts, parts)
@settings(max_examples=25)
def test_different_tensors_have_different_digests(one, other):
    assert (digest(*one) == digest(*other)) == (one == other)


@given(
    hnp.arrays(np.float32, (3, 4), elements=st.floats(-1000, 1000, width=32)), st.integers(-9, 9)
)
@settings(max_examples=25)
def test_softmax_gives_probabilities_in_the_order_of_the_logits(logits, shift):
    posterior = softmax(logits)
    assert posterior.dtype == np.float32
    np.testing.assert_allclose(posterior.sum(axis=1), 1, rtol=1e-5)
    assert (np.take_along_axis(posterior, logits.argmax(1)[:, None], 1) >= posterior).all()
    np.testing.assert_allclose(softmax(logits + np.float32(shift)), posterior, rtol=1e-3, atol=1e-6)
