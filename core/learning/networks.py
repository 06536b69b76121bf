"""Small image classifiers, built by name; a classifier is a body and one linear head.

Axes: b images, c channels, h rows, w columns, d features, k classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.suggest import suggest

SMALLEST = 4  # pixels a side: two poolings must leave something


class Network(nn.Module):
    """A classifier of images (b, c, h, w), float32 in [0, 1], into k classes.

    `features` is what the head sees, (b, d) with d = `width`; `forward` gives logits (b, k).
    It centres pixels itself.
    """

    def __init__(
        self, name: str, shape: tuple[int, int, int], classes: int, body: nn.Module, width: int
    ) -> None:
        super().__init__()
        self.name = name
        self.shape = shape
        self.classes = classes
        self.width = width
        self.body = body
        self.head = nn.Linear(width, classes)

    def features(self, x: Tensor) -> Tensor:
        """Penultimate activations (b, d)."""
        out: Tensor = self.body(x * 2 - 1)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Logits (b, k)."""
        out: Tensor = self.head(self.features(x))
        return out


def build(name: str, shape: tuple[int, ...], classes: int, *, seed: int) -> Network:
    """A network with fresh weights drawn from the seed; the global torch generator is untouched.

    Raises ValueError for an unknown name or impossible sizes.
    """
    if name not in NAMES:
        expected = f"expected one of {', '.join(NAMES)}{suggest(name, NAMES)}"
        raise ValueError(f"unknown network {name!r}, {expected}")
    if len(shape) != 3 or not all(isinstance(axis, int) and axis > 0 for axis in shape):
        raise ValueError(f"shape is {shape!r}, expected (c, h, w) of positive whole numbers")
    c, h, w = shape
    if min(h, w) < SMALLEST:
        raise ValueError(f"images are {h}x{w}, expected at least 4x4")
    if not isinstance(classes, int) or classes < 2:
        raise ValueError(f"classes is {classes!r}, expected at least 2")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body, width = _BODIES[name]((c, h, w))
        network = Network(name, (c, h, w), classes, body, width)
    # The layout in which CPU convolutions are fastest (1.6 times for lenet); values are the same.
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def restore(
    name: str, shape: tuple[int, ...], classes: int, arrays: Mapping[str, NDArray[Any]]
) -> Network:
    """A network in evaluation mode with the weights in `arrays`, by the names of its state.

    Nothing is allocated before names, shapes and types are seen to fit. Raises ValueError.
    """
    with torch.device("meta"):
        wanted = build(name, shape, classes, seed=0).state_dict()
    if odd := min(wanted.keys() ^ arrays.keys(), default=None):
        said = "is missing" if odd in wanted else "is not part of it"
        raise ValueError(f"{name}: the array {odd!r} {said}")
    state = {key: torch.from_numpy(array) for key, array in arrays.items()}
    for key, given in state.items():
        expected = wanted[key]
        if given.shape != expected.shape or given.dtype != expected.dtype:
            raise ValueError(
                f"{key} is {arrays[key].dtype} {tuple(given.shape)}, expected "
                f"{str(expected.dtype).removeprefix('torch.')} {tuple(expected.shape)}"
            )
        if not given.isfinite().all():
            raise ValueError(f"{key} holds numbers that are not finite")
    network = build(name, shape, classes, seed=0)
    network.load_state_dict(state)
    return network.eval()


def _lenet(first: int, second: int, width: int) -> Callable[[tuple[int, int, int]], _Body]:
    """conv5x5-first, pool, conv5x5-second, pool, FC-width, all with ReLU (LeCun et al. 1998)."""

    def body(shape: tuple[int, int, int]) -> _Body:
        c, *sides = shape
        # Without padding a side below 16 would vanish in the second convolution.
        pad = 2 if min(sides) < 16 else 0
        for _ in range(2):
            sides = [(side - 4 + 2 * pad) // 2 for side in sides]
        layers = nn.Sequential(
            nn.Conv2d(c, first, 5, padding=pad),
            nn.MaxPool2d(2),  # before ReLU: the same values, a quarter of the comparisons
            nn.ReLU(),
            nn.Conv2d(first, second, 5, padding=pad),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(second * math.prod(sides), width),
            nn.ReLU(),
        )
        return layers, width

    return body


class _Block(nn.Module):
    """Two 3x3 convolutions with a shortcut (He et al. 2016, section 3.3, option B)."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            nn.Conv2d(c_in, c_out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(c_out),
            nn.ReLU(),
            nn.Conv2d(c_out, c_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(c_out),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or c_in != c_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.path(x) + self.shortcut(x))


def _resnet10_thin(shape: tuple[int, int, int]) -> _Body:
    """Four blocks of 16, 32, 64 and 128 channels (about 0.31 M parameters), mean-pooled."""
    layers = nn.Sequential(
        nn.Conv2d(shape[0], 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        _Block(16, 16, 1),
        _Block(16, 32, 2),
        _Block(32, 64, 2),
        _Block(64, 128, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    return layers, 128


_Body = tuple[nn.Module, int]

_BODIES: dict[str, Callable[[tuple[int, int, int]], _Body]] = {
    "lenet": _lenet(20, 50, 500),
    "lenet-thin": _lenet(8, 16, 64),
    "resnet10-thin": _resnet10_thin,
}
NAMES = tuple(_BODIES)
