import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.learning.images import conform, from_channels_last, grey, patches, resize

seeds = st.integers(0, 2**32)
sides = st.integers(1, 12)


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def test_channels_move_to_the_front_and_grey_is_luma():
    images = noise(0, 2, 3, 4, 3)
    moved = from_channels_last(images)
    assert moved.shape == (2, 3, 3, 4)
    assert moved[1, 2, 0, 3] == images[1, 0, 3, 2]
    np.testing.assert_array_equal(from_channels_last(images[..., 0])[:, 0], images[..., 0])
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [10, 20, 30]])
    images = colours.astype(np.uint8)[:, :, None, None]
    assert grey(images).ravel().tolist() == [76, 150, 29, 255, 18]
    levels = np.arange(256, dtype=np.uint8)[:, None, None, None]
    np.testing.assert_array_equal(grey(np.repeat(levels, 3, axis=1)), levels)


@given(seeds, st.integers(1, 4), sides, sides)
@settings(max_examples=25)
def test_a_whole_factor_takes_means_of_blocks_or_repeats_pixels(seed, factor, h, w):
    images = noise(seed, 2, 3, h * factor, w * factor)
    blocks = images.reshape(2, 3, h, factor, w, factor).mean(axis=(3, 5))
    small = resize(images, h, w)
    assert (np.abs(small - blocks) <= 0.5 + 1e-9).all()
    grown = small.repeat(factor, axis=2).repeat(factor, axis=3)
    np.testing.assert_array_equal(resize(small, h * factor, w * factor), grown)


@given(seeds, sides, sides, sides, sides)
@settings(max_examples=25)
def test_any_size_keeps_range_and_mean(seed, h, w, new_h, new_w):
    images = noise(seed, 2, 1, h, w)
    out = resize(images, new_h, new_w)
    assert out.shape == (2, 1, new_h, new_w)
    assert (out.min(axis=(1, 2, 3)) >= images.min(axis=(1, 2, 3))).all()
    assert (out.max(axis=(1, 2, 3)) <= images.max(axis=(1, 2, 3))).all()
    assert (np.abs(out.mean(axis=(1, 2, 3)) - images.mean(axis=(1, 2, 3))) <= 0.51).all()


@pytest.mark.parametrize("source", [(1, 8, 8), (3, 5, 9)])
@pytest.mark.parametrize("target", [(1, 8, 8), (3, 8, 8), (1, 28, 28), (3, 4, 6)])
def test_every_image_fits_every_shape(source, target):
    images = noise(0, 3, *source)
    out = conform(images, target)
    assert (out.shape, out.dtype, out.flags.c_contiguous) == ((3, *target), np.uint8, True)
    if source[0] == 1 and target[0] == 3:
        assert (out == out[:, :1]).all()
    np.testing.assert_array_equal(conform(images, source), images)


PHOTOS = [noise(1, 3, 40, 60), noise(2, 3, 50, 30)]


@given(seeds, st.sampled_from([(1, 8, 8), (3, 8, 8), (1, 4, 9)]), st.integers(1, 30))
@settings(max_examples=25)
def test_a_longer_draw_begins_with_the_shorter(seed, shape, count):
    some, more = patches(PHOTOS, shape, count, seed), patches(PHOTOS, shape, count + 7, seed)
    assert some.shape == (count, *shape)
    np.testing.assert_array_equal(some, more[:count])
    assert (patches(PHOTOS, shape, 9, seed) != patches(PHOTOS, shape, 9, seed + 1)).any()


def test_patches_come_from_their_photos_at_several_scales():
    """On a slope, a patch shows where it was cut and how wide: its values and their steps."""
    slope = np.broadcast_to(np.arange(0, 200, 2, dtype=np.uint8), (1, 100, 100))
    cut = patches([slope], (1, 10, 10), 400, 0)[:, 0]
    assert (np.ptp(cut.astype(int), axis=1) == 0).all()  # constant down each column
    widths = (cut[:, 0, -1].astype(int) - cut[:, 0, 0]) / 2 / 9  # pixels of photo per pixel
    assert widths.min() == pytest.approx(1, abs=0.1)
    assert widths.max() == pytest.approx(10, rel=0.1)
    assert np.median(widths) == pytest.approx(np.sqrt(10), rel=0.2)  # log-uniform


@pytest.mark.parametrize(("photo", "patch"), [(1, 1), (1, 3), (3, 1), (3, 3)])
def test_photos_smaller_than_a_patch_are_enlarged(photo, patch):
    out = patches([np.full((photo, 4, 5), 77, np.uint8)], (patch, 16, 16), 3, 0)
    assert out.shape == (3, patch, 16, 16)
    assert (out == 77).all()
