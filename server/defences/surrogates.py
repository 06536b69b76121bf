"""Networks like the victim, asked what a student would learn: posteriors, and scores of classes.

A score is s_k = <grad log p_k, z>, the share of a target direction z in what a student learns from
class k. All classes of a batch take one forward-mode product (`torch.func.jvp`), about three
forward passes; back-propagating twice, as the released code does, takes twice that and more.
"""

from __future__ import annotations

import copy
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, jvp, vjp, vmap

from core.arrays import softmax
from core.learning import training
from core.learning.networks import Network
from server.defences import Rows

Tangents = dict[str, Tensor]
"""A direction in parameter space: one tensor for each parameter, by name."""


class Surrogates:
    """Surrogates of one victim; what they say is averaged.

    Raises ValueError where there is none, or where they differ in images or classes.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        kinds = {(network.shape, network.classes) for network in networks}
        if len(kinds) != 1:
            raise ValueError(f"surrogates are for {sorted(kinds)}, expected all for one victim")
        ((self.shape, self.classes),) = kinds
        self.networks = [copy.deepcopy(network).eval() for network in networks]
        self._steered: dict[tuple[str, str, bytes], list[Steered]] = {}

    def check(self, images: NDArray[Any], posterior: NDArray[np.floating[Any]]) -> None:
        """Raises ValueError for images or a posterior (b, k) of another victim."""
        given = (images.shape[1:], *posterior.shape[1:])
        if given != (self.shape, self.classes):
            raise ValueError(
                f"inputs and classes are {given}; the surrogates expect "
                f"{(self.shape, self.classes)}"
            )

    def posterior(self, images: NDArray[np.float32]) -> Rows:
        """Mean class probabilities (b, k) of images."""
        each = [softmax(training.logits(network, images)) for network in self.networks]
        mean: Rows = np.mean(each, axis=0, dtype=np.float64)
        return mean

    def scores(
        self,
        images: NDArray[np.float32],
        posterior: NDArray[np.floating[Any]],
        *,
        target: str,
        layers: str,
        key: bytes,
    ) -> Rows:
        """Mean score (b, k) of each class.

        The target "all-ones" adds the same to every parameter, "watermark" teaches a student a
        secret pair of image and class drawn from `key`, "clean" is the opposite of what the
        posterior (b, k) itself would teach. Raises ValueError where every score would be zero, and
        for scores that are not finite.
        """
        if target == "clean":
            found = [against_clean(network, images, posterior, layers) for network in self.networks]
        else:
            chosen = target, layers, key
            if chosen not in self._steered:
                self._steered[chosen] = [
                    Steered(network, self._direction(network, target, layers, key))
                    for network in self.networks
                ]
            found = [steered.scores(images) for steered in self._steered[chosen]]
        mean: Rows = np.mean(found, axis=0)
        if not np.isfinite(mean).all():
            raise ValueError("a surrogate gives scores that are not finite; prepare it again")
        return mean

    def _direction(self, network: Network, target: str, layers: str, key: bytes) -> Tangents:
        if target == "all-ones":
            return all_ones(network, layers)
        secret = hmac.new(key, b"watermark", hashlib.sha256).digest()
        rng = np.random.default_rng(list(secret))
        image = rng.random((1, *self.shape), dtype=np.float32)
        return towards_label(network, image, int(rng.integers(self.classes)), layers)


class Steered:
    """A network and a direction of its parameters, ready for one product a batch."""

    def __init__(self, network: Network, direction: Mapping[str, Tensor]) -> None:
        self._network, tangents = _folded(network, direction)
        self._parameters = _parameters(self._network)
        self._tangents = {name: tangents[name] for name in self._parameters}

    def scores(self, images: NDArray[np.float32]) -> Rows:
        """s_k (b, k): how fast log p_k of each image grows in the direction."""
        log_p = _log_p(self._network, _tensor(self._network, images))
        with torch.no_grad():
            return _wide(jvp(log_p, (self._parameters,), (self._tangents,))[1])


def all_ones(network: Network, layers: str = "all") -> Tangents:
    """The direction that adds the same to every parameter.

    Raises ValueError where only the last layer could move: equal steps there shift all logits by
    the same amount, so that every score is zero.
    """
    direction = {name: torch.ones_like(value) for name, value in _parameters(network).items()}
    hidden = [name for name in direction if not name.startswith("head.")]
    if layers == "last" or not hidden:
        where = "gradients of the last layer only" if hidden else "a linear surrogate"
        raise ValueError(
            f"the target all-ones with {where} scores every class exactly zero: equal steps of the "
            "last layer shift all logits alike; expected a surrogate with a hidden layer, and "
            "layers 'all'"
        )
    return direction


def towards_label(
    network: Network, images: NDArray[np.float32], label: int, layers: str = "all"
) -> Tangents:
    """What a student learns from images (b, c, h, w) of one class: mean gradient of log p_label."""
    x = _tensor(network, images)
    labels = torch.zeros(len(x), network.classes, dtype=x.dtype)
    labels[:, label] = 1 / len(x)
    _, pull, *_ = vjp(_log_p(network, x), _parameters(network))
    return _kept(pull(labels)[0], layers)


AT_ONCE = 32
"""Images whose own directions are held in memory together: each is as large as the network."""


def against_clean(
    network: Network,
    images: NDArray[np.float32],
    posterior: NDArray[np.floating[Any]],
    layers: str = "all",
) -> Rows:
    """Scores (b, k) against the gradient of each image's own posterior: s = -G G^T y."""
    parameters = _parameters(network)

    def one(image: Tensor, y: Tensor) -> Tensor:
        log_p = _log_p(network, image[None])
        _, pull, *_ = vjp(log_p, parameters)
        along: Tensor = jvp(log_p, (parameters,), (_kept(pull(y[None])[0], layers),))[1]
        return -along[0]

    x = _tensor(network, images)
    with torch.no_grad():
        return _wide(vmap(one, chunk_size=AT_ONCE)(x, torch.from_numpy(posterior).to(x.dtype)))


def _kept(direction: Tangents, layers: str) -> Tangents:
    """The direction; of the last layer only, if so wished."""
    return {
        name: value if layers == "all" or name.startswith("head.") else torch.zeros_like(value)
        for name, value in direction.items()
    }


def _folded(network: Network, direction: Mapping[str, Tensor]) -> tuple[Network, Tangents]:
    """The same function with batch normalisation folded into the convolutions before it.

    The direction goes along, by the chain rule. Forward mode takes batch normalisation apart into
    many passes over the activations; without, the product takes two thirds of the time.
    """
    folded, tangents = copy.deepcopy(network).eval(), dict(direction)
    for path, block in folded.named_modules():
        if not isinstance(block, nn.Sequential):
            continue
        names = [f"{path}.{child}" for child, _ in block.named_children()]
        for i in range(len(block) - 1):
            conv, norm = block[i], block[i + 1]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                _fold(conv, norm, names[i], names[i + 1], tangents)
                block[i + 1] = nn.Identity()
    return folded, tangents


def _fold(
    conv: nn.Conv2d, norm: nn.BatchNorm2d, conv_name: str, norm_name: str, tangents: Tangents
) -> None:
    """Folds one normalisation into its convolution, in the network and in the direction."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None

    def fold(weight: Tensor, bias: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        factor = scale * torch.rsqrt(variance + norm.eps)
        return weight * factor[:, None, None, None], shift + (bias - mean) * factor

    bias = torch.zeros_like(mean) if conv.bias is None else conv.bias.detach()
    given = (conv.weight.detach(), bias, norm.weight.detach(), norm.bias.detach())
    turned = (
        tangents[f"{conv_name}.weight"],
        tangents.get(f"{conv_name}.bias", torch.zeros_like(mean)),
        tangents.pop(f"{norm_name}.weight"),
        tangents.pop(f"{norm_name}.bias"),
    )
    (weight, bias), turned, *_ = jvp(fold, given, turned)
    conv.weight, conv.bias = nn.Parameter(weight), nn.Parameter(bias)
    tangents[f"{conv_name}.weight"], tangents[f"{conv_name}.bias"] = turned


def _log_p(network: Network, x: Tensor) -> Callable[[Tangents], Tensor]:
    """Log probabilities (b, k) of images (b, c, h, w), as a function of the parameters."""

    def log_p(parameters: Tangents) -> Tensor:
        logits: Tensor = functional_call(network, parameters, (x,))
        return logits.log_softmax(1)

    return log_p


def _parameters(network: Network) -> Tangents:
    return {name: value.detach() for name, value in network.named_parameters()}


def _tensor(network: Network, images: NDArray[np.float32]) -> Tensor:
    x = torch.from_numpy(np.require(images, requirements=("C", "W")))
    return x.to(network.head.weight.dtype)


def _wide(scores: Tensor) -> Rows:
    return np.asarray(scores.numpy(), np.float64)
