"""The generator of data-free attacks: noise in, images out."""

import math

import torch
from torch import Tensor, nn


class Generator(nn.Module):
    """A generator: a linear layer, then two doublings of the side, with convolutions.

    After Truong, Maini, Walls, Papernot, CVPR 2021, with `width` channels instead of 128. Fresh
    weights are drawn from the seed; the global torch generator is untouched.
    """

    def __init__(self, shape: tuple[int, int, int], *, latent: int, width: int, seed: int) -> None:
        super().__init__()
        channels, self._height, self._width = shape
        # A quarter of the side, rounded up: what is too much is cut off at the end.
        small = (width, -(-self._height // 4), -(-self._width // 4))
        half = max(1, width // 2)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers = nn.Sequential(
                nn.Linear(latent, math.prod(small)),
                nn.Unflatten(1, small),
                nn.BatchNorm2d(width),
                nn.Upsample(scale_factor=2),
                nn.Conv2d(width, width, 3, padding=1),
                nn.BatchNorm2d(width),
                nn.LeakyReLU(0.2),
                nn.Upsample(scale_factor=2),
                nn.Conv2d(width, half, 3, padding=1),
                nn.BatchNorm2d(half),
                nn.LeakyReLU(0.2),
                nn.Conv2d(half, channels, 3, padding=1),
                nn.BatchNorm2d(channels, affine=False),
            )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, z: Tensor) -> Tensor:
        """Drafts (b, c, h, w) from noise (b, latent); the sigmoid of a draft is an image."""
        out: Tensor = self.layers(z)
        return out[:, :, : self._height, : self._width]
