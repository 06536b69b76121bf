"""Honest drift: what it does to images, and that it does no more."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from core.learning.drift import DRIFTS, drifted, turned

shapes = st.tuples(st.integers(0, 4), st.sampled_from([1, 3]), st.integers(1, 9), st.integers(1, 9))
images_of = arrays.arrays(np.uint8, shapes)


def drift(name, images, seed=0, **options):
    return drifted(name, images, np.random.default_rng(seed), **options)


def discs(count=32, side=21):
    """Grey discs (count, 1, side, side) on black: the same, however one turns them."""
    at = np.arange(side) - side // 2
    inside = at[:, None] ** 2 + at[None, :] ** 2 < (side // 3) ** 2
    return np.tile((100 * inside).astype(np.uint8), (count, 1, 1, 1))


@pytest.mark.parametrize("name", DRIFTS)
@settings(deadline=None)
@given(images=images_of)
def test_images_stay_images_and_the_seed_decides(name, images):
    before = images.copy()
    out = drift(name, images)
    assert out.shape == images.shape
    assert out.dtype == np.uint8
    np.testing.assert_array_equal(out, drift(name, images))
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("name", ["tilted", "blurred"])
@settings(deadline=None)
@given(images=images_of.filter(lambda images: images.size))
def test_no_pixel_leaves_the_range_of_its_channel(name, images):
    out = drift(name, images)
    assert (out.max(axis=(2, 3)) <= images.max(axis=(2, 3))).all()
    assert (out.min(axis=(2, 3)) >= images.min(axis=(2, 3))).all()


@pytest.mark.parametrize("name", ["tilted", "blurred"])
@settings(deadline=None)
@given(level=st.integers(0, 255), shape=shapes)
def test_what_is_plain_stays_plain(name, level, shape):
    images = np.full(shape, level, np.uint8)
    np.testing.assert_array_equal(drift(name, images), images)


def test_tilted_to_either_side_about_the_centre():
    bar = np.zeros((64, 1, 21, 21), np.uint8)
    bar[:, :, 10] = 200
    out = drift("tilted", bar)
    sides = {image.tobytes() for image in out}
    assert sides == {turned(bar[:1], degrees).tobytes() for degrees in (15, -15)}
    one = turned(bar[:1], 15)[0, 0].astype(float)
    assert one[10, 10] == 200
    columns = np.arange(4, 17)
    middle = (np.arange(21)[:, None] * one).sum(axis=0)[columns] / one.sum(axis=0)[columns]
    slope = np.polyfit(columns, middle, 1)[0]
    assert abs(slope) == pytest.approx(np.tan(np.radians(15)), abs=0.01)


def test_dimmed_down_or_up_and_clipped():
    out = drift("dimmed", discs())
    assert {tuple(np.unique(image)) for image in out} == {(0, 70), (0, 130)}
    bright = np.full((64, 3, 2, 2), 250, np.uint8)
    assert set(np.unique(drift("dimmed", bright))) == {175, 255}


def test_blurred_by_seven_tenths_of_a_pixel():
    point = np.zeros((1, 1, 15, 15), np.uint8)
    point[..., 7, 7] = 255
    out = drift("blurred", point)[0, 0].astype(float)
    away = np.arange(15) - 7
    variance = (out.sum(axis=0) * away**2).sum() / out.sum()
    assert variance == pytest.approx(0.7**2, rel=0.05)
    np.testing.assert_array_equal(out, out.T)
    assert out.sum() == pytest.approx(255, rel=0.05)


def test_twice_as_strong_goes_twice_as_far():
    bar = np.zeros((64, 1, 21, 21), np.uint8)
    bar[:, :, 10] = 200
    sides = {image.tobytes() for image in drift("tilted", bar, strength=2)}
    assert sides == {turned(bar[:1], degrees).tobytes() for degrees in (30, -30)}
    levels = {tuple(np.unique(image)) for image in drift("dimmed", discs(), strength=2)}
    assert levels == {(0, 40), (0, 160)}
    black = {tuple(np.unique(image)) for image in drift("dimmed", discs(), strength=4)}
    assert black == {(0,), (0, 220)}
    point = np.zeros((1, 1, 21, 21), np.uint8)
    point[..., 10, 10] = 255
    out = drift("blurred", point, strength=2)[0, 0].astype(float)
    away = np.arange(21) - 10
    assert (out.sum(axis=0) * away**2).sum() / out.sum() == pytest.approx(1.4**2, rel=0.1)


@pytest.mark.parametrize("name", DRIFTS)
@settings(deadline=None)
@given(images=images_of)
def test_no_strength_leaves_images_as_they_are(name, images):
    np.testing.assert_array_equal(drift(name, images, strength=0), images)


def test_channels_do_not_mix():
    red = np.zeros((8, 3, 9, 9), np.uint8)
    red[:, 0, 3:6, 2:7] = 180
    for name in DRIFTS:
        out = drift(name, red)
        assert out[:, 0].any(axis=(1, 2)).all()
        assert not out[:, 1:].any()


def test_what_is_not_known_is_refused():
    with pytest.raises(ValueError, match=r"unknown drift 'rotated', .* tilted, dimmed, blurred"):
        drift("rotated", discs())
    with pytest.raises(ValueError, match=r"tilted is given float32 .* expected uint8 \(n, c, h"):
        drift("tilted", discs().astype(np.float32))
    for strength in (-0.5, np.nan, np.inf):
        with pytest.raises(ValueError, match=rf"tilted is given strength {strength:g}, expected"):
            drift("tilted", discs(), strength=strength)
    with pytest.raises(ValueError, match=r"dimmed is given uint8 \(21, 21\)"):
        drift("dimmed", discs()[0, 0])
