"""Changes of honest users' images: cameras tilt, light fades, lenses blur.

A gate whose honest prices are fitted to clean images alone would charge for these. All are label
preserving and mild; how far they go is this project's choice, not a benchmark's. A strength of 2
goes twice as far, to where a calibration does not follow. Axes: n images, c channels, h rows, w
columns; uint8 in, uint8 out, of the same shape.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.learning.images import Images

DEGREES = 15.0  # an image is tilted, to one side or the other
BRIGHTNESS = (0.7, 1.3)  # the factors of the pixel values of an image, one or the other
SIGMA = 0.7  # standard deviation of the blur, in pixels


def turned(images: Images, degrees: float) -> Images:
    """Images turned about their centre, bilinear; what comes from outside repeats the border."""
    from scipy import ndimage

    x = images.astype(np.float32)
    return _pixels(ndimage.rotate(x, degrees, axes=(2, 3), reshape=False, order=1, mode="nearest"))


def tilted(images: Images, rng: np.random.Generator, strength: float) -> Images:
    """Each image turned by DEGREES times the strength, to a random side."""
    left = _coins(images, rng)
    out = np.empty_like(images)
    for chosen, degrees in ((left, DEGREES * strength), (~left, -DEGREES * strength)):
        if chosen.any():
            out[chosen] = turned(images[chosen], degrees)
    return out


def dimmed(images: Images, rng: np.random.Generator, strength: float) -> Images:
    """Each image darker or brighter, by one of BRIGHTNESS at random, and clipped.

    The strength multiplies how far the factor is from 1; what would be less than nothing is black.
    """
    darker, brighter = (1 + strength * (factor - 1) for factor in BRIGHTNESS)
    factor = np.where(_coins(images, rng), darker, brighter)
    return _pixels(images * factor[:, None, None, None])


def blurred(images: Images, rng: np.random.Generator, strength: float) -> Images:
    """Every image blurred by a Gaussian of SIGMA times the strength; nothing is random about it."""
    from scipy import ndimage

    x, sigma = images.astype(np.float32), SIGMA * strength
    return _pixels(ndimage.gaussian_filter(x, sigma, mode="nearest", axes=(2, 3)))


DRIFTS: dict[str, Callable[[Images, np.random.Generator, float], Images]] = {
    "tilted": tilted,
    "dimmed": dimmed,
    "blurred": blurred,
}


def drifted(name: str, images: Images, rng: np.random.Generator, strength: float = 1.0) -> Images:
    """Images (n, c, h, w) as the drift of that name leaves them; a strength of 0 leaves them alone.

    Raises ValueError for a name that is not in DRIFTS, for a strength that is no number from 0, and
    for anything but uint8 images.
    """
    if name not in DRIFTS:
        raise ValueError(f"unknown drift {name!r}, expected one of {', '.join(DRIFTS)}")
    if not 0 <= strength < np.inf:
        raise ValueError(f"drift {name} is given strength {strength:g}, expected a number from 0")
    if images.dtype != np.uint8 or images.ndim != 4:
        raise ValueError(
            f"drift {name} is given {images.dtype} {images.shape}, expected uint8 (n, c, h, w)"
        )
    return DRIFTS[name](images, rng, strength)


def _coins(images: Images, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Heads or tails (n,) for each image."""
    return rng.random(len(images)) < 0.5


def _pixels(values: NDArray[Any]) -> Images:
    """Rounded to the nearest grey level, and clipped."""
    pixels: Images = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return pixels
