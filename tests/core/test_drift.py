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
@settings(max_examples=20)
@given(images=images_of, level=st.integers(0, 255))
def test_images_stay_images_and_the_seed_decides(name, images, level):
    before = images.copy()
    out = drift(name, images)
    assert (out.shape, out.dtype) == (images.shape, np.uint8)
    np.testing.assert_array_equal(out, drift(name, images))
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(drift(name, images, strength=0), images)
    if images.size and name != "dimmed":  # no pixel leaves the range of its channel
        assert (out.max(axis=(2, 3)) <= images.max(axis=(2, 3))).all()
        assert (out.min(axis=(2, 3)) >= images.min(axis=(2, 3))).all()
        plain = np.full_like(images, level)
        np.testing.assert_array_equal(drift(name, plain), plain)
    red = images * np.uint8([1, 0, 0])[: images.shape[1], None, None]
    assert not drift(name, red)[:, 1:].any()  # channels do not mix


@pytest.mark.parametrize("strength", [1, 2])
def test_tilted_to_either_side_about_the_centre(strength):
    bar = np.zeros((64, 1, 21, 21), np.uint8)
    bar[:, :, 10] = 200
    degrees = 15 * strength
    sides = {image.tobytes() for image in drift("tilted", bar, strength=strength)}
    assert sides == {turned(bar[:1], angle).tobytes() for angle in (degrees, -degrees)}
    one = turned(bar[:1], degrees)[0, 0].astype(float)
    assert one[10, 10] == 200
    columns = np.arange(4, 17)
    middle = (np.arange(21)[:, None] * one).sum(axis=0)[columns] / one.sum(axis=0)[columns]
    slope = np.polyfit(columns, middle, 1)[0]
    assert abs(slope) == pytest.approx(np.tan(np.radians(degrees)), abs=0.01)


@pytest.mark.parametrize(
    ("strength", "expected"),
    [(1, {(0, 70), (0, 130)}), (2, {(0, 40), (0, 160)}), (4, {(0,), (0, 220)})],
)
def test_dimmed_down_or_up_and_clipped(strength, expected):
    out = drift("dimmed", discs(), strength=strength)
    assert {tuple(np.unique(image)) for image in out} == expected
    bright = np.full((64, 3, 2, 2), 250, np.uint8)
    assert set(np.unique(drift("dimmed", bright))) == {175, 255}


@pytest.mark.parametrize("strength", [1, 2])
def test_blurred_by_seven_tenths_of_a_pixel(strength):
    point = np.zeros((1, 1, 21, 21), np.uint8)
    point[..., 10, 10] = 255
    out = drift("blurred", point, strength=strength)[0, 0].astype(float)
    variance = (out.sum(axis=0) * (np.arange(21) - 10) ** 2).sum() / out.sum()
    assert variance == pytest.approx((0.7 * strength) ** 2, rel=0.1)
    np.testing.assert_array_equal(out, out.T)
    assert out.sum() == pytest.approx(255, rel=0.1)


@pytest.mark.parametrize(
    ("name", "images", "strength", "message"),
    [
        ("rotated", discs(), 1, r"unknown drift 'rotated', .* tilted, dimmed, blurred"),
        ("tilted", discs().astype("f4"), 1, r"is given float32 .* expected uint8 \(n, c, h"),
        ("dimmed", discs()[0, 0], 1, r"dimmed is given uint8 \(21, 21\)"),
        *(("tilted", discs(), s, f"strength {s:g}, expected") for s in (-0.5, np.nan, np.inf)),
    ],
)
def test_what_is_not_known_is_refused(name, images, strength, message):
    with pytest.raises(ValueError, match=message):
        drift(name, images, strength=strength)
