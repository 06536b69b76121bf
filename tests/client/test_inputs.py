"""Images as users hold them: taken as they are meant, or refused with how to convert."""

import numpy as np
import pytest
from fake_gate import FakeGate
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from client.inputs import as_inputs
from client.session import Session
from core.arrays import InvalidInputs

GREY, COLOUR = (1, 4, 5), (3, 4, 5)
RNG = np.random.default_rng(0)


def bytes_of(*shape):
    return RNG.integers(0, 256, shape, np.uint8)


def floats_of(*shape, dtype=np.float32):
    return RNG.random(shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, ">f4", ">f8"])
def test_what_is_right_is_not_touched_and_other_floats_become_float32(dtype):
    for right in (bytes_of(2, 3, 4, 5), floats_of(2, 3, 4, 5)):
        assert as_inputs(right, COLOUR, 8) is right
    inputs = floats_of(2, 3, 4, 5, dtype=dtype)
    taken = as_inputs(inputs, COLOUR, 8)
    assert taken.dtype == np.float32
    np.testing.assert_array_equal(taken, inputs.astype(np.float32))


@pytest.mark.parametrize("shape", [(7,), (3, 4), (2, 3, 4, 5)])
def test_inputs_have_the_shape_of_the_victim_s_whatever_it_is(shape):
    batch = floats_of(3, *shape)
    assert as_inputs(batch, shape, 8) is batch
    np.testing.assert_array_equal(as_inputs(batch[0], shape, 8), batch[:1])
    np.testing.assert_array_equal(as_inputs(list(batch), shape, 8), batch)
    with pytest.raises(InvalidInputs, match="expected"):
        as_inputs(batch[..., :-1], shape, 8)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("shape", [GREY, COLOUR])
def test_one_image_and_other_orders_of_axes(dtype, shape):
    batch = (floats_of(3, *shape) * 255).astype(dtype)
    if dtype != np.uint8:
        batch = batch / np.asarray(255, dtype)
    expected = batch.astype(np.float32) if dtype == np.float64 else batch
    np.testing.assert_array_equal(as_inputs(batch.transpose(0, 2, 3, 1), shape, 8), expected)
    one = expected[:1]
    np.testing.assert_array_equal(as_inputs(batch[0], shape, 8), one)
    np.testing.assert_array_equal(as_inputs(batch[0].transpose(1, 2, 0), shape, 8), one)
    np.testing.assert_array_equal(as_inputs(list(batch), shape, 8), expected)
    if dtype == np.float64:
        np.testing.assert_array_equal(as_inputs(batch.tolist(), shape, 8), expected)
    if shape == GREY:
        np.testing.assert_array_equal(as_inputs(batch[:, 0], shape, 8), expected)
        np.testing.assert_array_equal(as_inputs(batch[0, 0], shape, 8), one)


def test_torch_tensors():
    torch = pytest.importorskip("torch")
    images = torch.rand(2, 3, 4, 5, requires_grad=True)
    for tensors in (images, images.double(), list(images), images.permute(0, 2, 3, 1)):
        np.testing.assert_array_equal(as_inputs(tensors, COLOUR, 8), images.detach().numpy())
    for tensors in (images.bfloat16(), [list(images.bfloat16())]):
        with pytest.raises(InvalidInputs, match=r"tensor\.float\(\)"):
            as_inputs(tensors, COLOUR, 8)


@pytest.mark.parametrize(("mode", "shape"), [("L", GREY), ("RGB", COLOUR)])
def test_pil_images(mode, shape):
    pixels = bytes_of(4, 5) if mode == "L" else bytes_of(4, 5, 3)
    image = Image.fromarray(pixels)
    assert image.mode == mode
    expected = pixels.reshape(1, 4, 5, -1).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(as_inputs(image, shape, 8), expected)
    np.testing.assert_array_equal(as_inputs([image] * 2, shape, 8), expected.repeat(2, axis=0))
    for other in ("P", "1", "RGBA", "LA", "CMYK", "HSV", "YCbCr", "I", "F", "I;16"):
        image = (
            Image.new("L", (5, 4)).convert(other) if other != "HSV" else Image.new(other, (5, 4))
        )
        with pytest.raises(InvalidInputs, match=r"image\.convert"):  # its numbers mean another
            as_inputs(image, shape, 8)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (Image.new("L", (5, 4)).convert("P"), r"image\.convert"),
        (np.ma.masked_less(bytes_of(4, 5), 9), "mask"),
    ],
)
def test_lists_in_lists_are_looked_into(image, message):
    # numpy makes numbers of them without a question: those of a palette, what is under a mask.
    for images in ([[image]], [(image,)], ([image], [image])):
        with pytest.raises(InvalidInputs, match=message):
            as_inputs(images, GREY, 8)


def test_lists_without_end_are_refused():
    cyclic, deep = [], [0.5]
    cyclic.append(cyclic)
    for _ in range(5_000):
        deep = [deep]
    for images in (cyclic, deep):
        with pytest.raises(InvalidInputs, match="no array"):
            as_inputs(images, GREY, 8)


@pytest.mark.parametrize(
    ("images", "shape", "message"),
    [
        (floats_of(2, 3, 4, 5) * 255, COLOUR, r"expected values in \[0, 1\] \(divide"),
        (floats_of(2, 3, 4, 5) * 2 - 1, COLOUR, r"expected values in \[0, 1\]$"),
        (np.full((1, 3, 4, 5), 1 + 1e-12), COLOUR, "expected values in"),
        (np.full((1, 3, 4, 5), np.nan), COLOUR, "NaN"),
        (bytes_of(2, 3, 4, 5).astype(np.int64), COLOUR, r"inputs\.astype\(numpy\.uint8\)"),
        (bytes_of(2, 3, 4, 5) > 9, COLOUR, r"inputs\.astype\(numpy\.float32\)"),
        (floats_of(1, 3, 4, 5).astype(complex), COLOUR, "complex"),
        (np.array([None] * 60).reshape(1, 3, 4, 5), COLOUR, "object"),
        (np.ma.masked_less(floats_of(1, 3, 4, 5), 0.5), COLOUR, "mask"),
        (floats_of(2, 60), COLOUR, "rank 2"),
        (floats_of(2, 3, 5, 4), COLOUR, "each input is 3x5x4"),
        ([], COLOUR, "empty"),
        ([floats_of(3, 4, 5), floats_of(3, 4, 4)], COLOUR, "input 1 .* inputs alike"),
        ([floats_of(3, 4, 5), bytes_of(3, 4, 5)], COLOUR, "input 1 is uint8"),
        ([[0.5], [0.5, 0.5]], COLOUR, "no array"),
        ("images", COLOUR, "are a str"),
        (None, COLOUR, "NoneType"),
    ],
)
def test_what_is_not_taken_says_how_to_convert(images, shape, message):
    with pytest.raises(InvalidInputs, match=message) as caught:
        as_inputs(images, shape, 8)
    assert "\n" not in str(caught.value)


def test_axes_that_can_be_read_in_two_ways_are_refused():
    square = (4, 4, 4)
    batch = floats_of(2, *square)
    assert as_inputs(batch, square, 8) is batch  # the order that is documented
    with pytest.raises(InvalidInputs, match=r"may be one input \(c, h, w\) or one input \(h, w, c"):
        as_inputs(batch[0], square, 8)


@given(st.data())
def test_no_value_is_ever_changed(data):
    shape = tuple(data.draw(st.tuples(*[st.integers(1, 4)] * 3), label="shape"))
    given_shape = data.draw(st.lists(st.integers(1, 4), min_size=2, max_size=4))
    size = int(np.prod(given_shape))
    dtype = data.draw(st.sampled_from([np.uint8, np.float16, np.float32, np.float64]))
    values = np.arange(size) if dtype == np.uint8 else np.linspace(0, 1, size)
    images = values.astype(dtype).reshape(given_shape)
    try:
        taken = as_inputs(images, shape, 999)
    except InvalidInputs:
        return
    assert taken.shape[1:] == shape
    expected = images.astype(taken.dtype)
    np.testing.assert_array_equal(np.sort(taken.ravel()), np.sort(expected.ravel()))


@pytest.mark.parametrize("images", [floats_of(4, 4), floats_of(1, 4, 4, dtype=np.float64)])
def test_a_session_takes_one_image_as_a_batch_of_one(images):
    gate = FakeGate()
    with Session("gate.example:1", client_id="anne", stub=gate) as session:
        assert session.predict(images).shape == (1, 3)
    assert list(gate.requests[0].inputs.shape) == [1, 1, 4, 4]
