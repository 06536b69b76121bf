"""Images into another form: grey or colour, another size, patches of photographs.

Element by element in whole numbers and float64, without a matrix library or an image decoder whose
version would show in the result. Axes: n images, c channels, h rows, w columns; uint8.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]


def from_channels_last(images: NDArray[np.uint8]) -> Images:
    """(n, h, w) or (n, h, w, c) to (n, c, h, w), contiguous."""
    if images.ndim == 3:
        images = images[..., None]
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def conform(images: Images, shape: tuple[int, ...]) -> Images:
    """The same images as (n, *shape): colour made grey, grey repeated, sides resized.

    Grey is ITU-R BT.601 luma; resizing is `resize`. The aspect ratio is not kept.
    """
    c, h, w = shape
    # the smaller of the two forms is resized
    images = resize(_in_channels(images, min(c, images.shape[1])), h, w)
    return np.ascontiguousarray(_in_channels(images, c))


def _in_channels(images: Images, c: int) -> Images:
    if images.shape[1] == 3 and c == 1:
        return grey(images)
    return np.repeat(images, 3, axis=1) if images.shape[1] == 1 and c == 3 else images


def grey(images: Images) -> Images:
    """(n, 3, h, w) to (n, 1, h, w): ITU-R BT.601 luma, 0.299 R + 0.587 G + 0.114 B, rounded."""
    r, g, b = (images[:, i : i + 1].astype(np.uint32) for i in range(3))
    return ((299 * r + 587 * g + 114 * b + 500) // 1000).astype(np.uint8)


def resize(images: Images, h: int, w: int) -> Images:
    """(n, c, H, W) to (n, c, h, w): every new pixel is the mean over the area it covers."""
    if images.shape[2:] == (h, w):
        return images
    out = np.empty((*images.shape[:2], h, w), np.uint8)
    whole = np.array([[0, 0, *images.shape[2:]]])
    for i, image in enumerate(images):
        out[i] = _box_means(_area_sums(image), whole, h, w)[0]
    return out


def patches(photos: Sequence[Images], shape: tuple[int, ...], count: int, seed: int) -> Images:
    """`count` patches (count, *shape) of photographs (c, H, W) at random place and scale.

    The scale is log-uniform from 1 (a patch of the size asked for) to the largest that keeps the
    aspect ratio and fits. A longer draw with the same seed begins with the shorter one.
    """
    c, h, w = shape
    draws = np.random.Generator(np.random.PCG64(seed)).random((count, 4))
    which = (draws[:, 0] * len(photos)).astype(np.int64)
    out = np.empty((count, *shape), np.uint8)
    for index, photo in enumerate(photos):
        image = _in_channels(photo[None], c)
        high, wide = image.shape[2:]
        largest = min(high / h, wide / w)
        mine = np.flatnonzero(which == index)
        scale = np.exp(draws[mine, 1] * math.log(largest)) if largest > 1 else largest
        scale = np.broadcast_to(scale, len(mine))
        rows = np.clip(np.rint(scale * h), 1, high).astype(np.int64)
        columns = np.clip(np.rint(scale * w), 1, wide).astype(np.int64)
        top = (draws[mine, 2] * (high - rows + 1)).astype(np.int64)
        left = (draws[mine, 3] * (wide - columns + 1)).astype(np.int64)
        boxes = np.stack([top, left, rows, columns], axis=1)
        sums = _area_sums(image[0])
        for start in range(0, len(mine), 256):  # bounds the memory of the gathers
            part = slice(start, start + 256)
            out[mine[part]] = _box_means(sums, boxes[part], h, w)
    return out


def _area_sums(image: Images) -> NDArray[np.float64]:
    """Summed areas (c, H + 1, W + 1) of (c, H, W) (Crow 1984); whole numbers, exact in float64."""
    sums = np.zeros((image.shape[0], image.shape[1] + 1, image.shape[2] + 1))
    np.cumsum(image, axis=1, out=sums[:, 1:, 1:], dtype=np.float64)
    np.cumsum(sums[:, 1:, 1:], axis=2, out=sums[:, 1:, 1:])
    return sums


def _box_means(
    sums: NDArray[np.float64], boxes: NDArray[np.int64], h: int, w: int
) -> NDArray[np.uint8]:
    """Means (n, c, h, w) of an h x w grid laid over each box (n, 4) of (top, left, rows, columns).

    Between whole pixels the summed area is bilinear, so the means are exact for split pixels too.
    """
    top, left, rows, columns = boxes.T[:, :, None]
    y = top + rows * np.arange(h + 1) / h  # (n, h + 1)
    x = left + columns * np.arange(w + 1) / w
    y0 = np.minimum(y.astype(np.int64), sums.shape[1] - 2)
    x0 = np.minimum(x.astype(np.int64), sums.shape[2] - 2)
    fy, fx = (y - y0)[:, :, None], (x - x0)[:, None, :]
    yy, xx = y0[:, :, None], x0[:, None, :]
    at = (
        sums[:, yy, xx] * (1 - fy) * (1 - fx)
        + sums[:, yy + 1, xx] * fy * (1 - fx)
        + sums[:, yy, xx + 1] * (1 - fy) * fx
        + sums[:, yy + 1, xx + 1] * fy * fx
    )  # (c, n, h + 1, w + 1)
    totals = at[:, :, 1:, 1:] - at[:, :, 1:, :-1] - at[:, :, :-1, 1:] + at[:, :, :-1, :-1]
    means = totals / (rows * columns / (h * w))[None, :, :, None]
    # The differences carry rounding noise, which must not decide how a half is rounded.
    pixels: Images = np.clip(np.rint(means.round(6)), 0, 255).astype(np.uint8)
    return pixels.transpose(1, 0, 2, 3)
