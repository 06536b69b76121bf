"""One training loop with a frozen schedule, and inference in batches.

Torch is imported when something is trained or asked, so that a command line can hold a Schedule
without paying for it. How many threads torch uses is the caller's business; results repeat exactly
for the same seed, machine and number of threads.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

from core.arrays import check_inputs, to_float

if TYPE_CHECKING:
    import torch

    from core.learning.networks import Network


class TrainingDiverged(ArithmeticError):
    """The loss stopped being a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Stochastic gradient descent: how long, how large the steps, how they shrink."""

    epochs: int = 20  # passes over the images
    batch: int = 64  # images per step
    lr: float = 0.1  # learning rate at the start
    momentum: float = 0.5
    weight_decay: float = 1e-4
    decay: Literal["constant", "step", "cosine"] = "constant"
    step_every: int = 30  # epochs between two cuts (decay "step")
    step_factor: float = 0.1  # what a cut multiplies the rate by (decay "step")
    precision: Literal["float32", "bfloat16"] = "float32"  # bfloat16: faster on AMX and AVX512-BF16

    def __post_init__(self) -> None:
        for field in fields(self):
            name, value = field.name, getattr(self, field.name)
            if name in ("decay", "precision"):
                known = get_args(get_type_hints(Schedule)[name])
                fits, expected = value in known, f"one of {', '.join(known)}"
            elif name in ("epochs", "batch", "step_every"):
                fits, expected = isinstance(value, int) and value >= 1, "a whole number from 1"
            else:
                below = 1.0 if name == "momentum" else math.inf
                fits, expected = 0.0 <= value < below, f"at least 0 and below {below:g}"
            if not fits:
                raise ValueError(f"schedule: {name} is {value!r}, expected {expected}")

    def rate(self, epoch: int) -> float:
        """Learning rate of an epoch, counted from 0."""
        if self.decay == "step":
            return self.lr * self.step_factor ** (epoch // self.step_every)
        if self.decay == "cosine":
            return self.lr * (1 + math.cos(math.pi * epoch / self.epochs)) / 2
        return self.lr


def fit(
    network: Network,
    images: NDArray[Any],
    targets: NDArray[Any],
    schedule: Schedule,
    *,
    seed: int,
    progress: bool | str = False,
    loss_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
) -> float:
    """Train in place on images (n, c, h, w); the mean loss of the last epoch (nats an image).

    Targets (n,) are labels (cross entropy), targets (n, k) probabilities (soft cross entropy);
    `loss_of` is another mean loss of logits (b, k) and targets.
    The order of the images comes from the seed; the global torch generator is untouched. With
    `progress`, a bar on standard error, described by the string. Raises InvalidInputs, ValueError
    for targets that do not fit, TrainingDiverged.
    """
    import torch
    from torch.nn.functional import cross_entropy

    check_inputs(images, network.shape)
    x = torch.from_numpy(_own(images))
    y = torch.from_numpy(_checked_targets(targets, len(images), network.classes))
    order = torch.Generator().manual_seed(seed)
    sgd = torch.optim.SGD(
        network.parameters(),
        lr=schedule.lr,
        momentum=schedule.momentum,
        weight_decay=schedule.weight_decay,
    )
    slices = _slices(len(x), schedule.batch)
    loss = math.nan
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=schedule.precision == "bfloat16")
    with _mode(network, training=True), _bar(progress, schedule.epochs * len(slices)) as advance:
        for epoch in range(schedule.epochs):
            sgd.param_groups[0]["lr"] = schedule.rate(epoch)
            shuffled = torch.randperm(len(x), generator=order)
            total = torch.zeros(())
            for part in slices:
                chosen = shuffled[part]
                with autocast:
                    out = network(_pixels(x[chosen]))
                batch_loss = (loss_of or cross_entropy)(out.float(), y[chosen])
                sgd.zero_grad()
                batch_loss.backward()  # type: ignore[no-untyped-call]
                sgd.step()
                total += batch_loss.detach() * len(chosen)
                advance()
            loss = float(total) / len(x)
            if not math.isfinite(loss):
                raise TrainingDiverged(
                    f"training diverged in epoch {epoch + 1} of {schedule.epochs} "
                    f"(loss {loss}); the learning rate was {schedule.rate(epoch):g}"
                )
    return loss


def logits(network: Network, images: NDArray[Any], batch: int = 256) -> NDArray[np.float32]:
    """Logits (n, k) of images (n, c, h, w), in evaluation mode."""
    return _map(network, network, images, batch, network.classes)


def features(network: Network, images: NDArray[Any], batch: int = 256) -> NDArray[np.float32]:
    """Penultimate features (n, d) of images (n, c, h, w), in evaluation mode."""
    return _map(network, network.features, images, batch, network.width)


def _map(
    network: Network,
    function: Callable[[torch.Tensor], torch.Tensor],
    images: NDArray[Any],
    batch: int,
    columns: int,
) -> NDArray[np.float32]:
    import torch

    out = np.empty((len(images), columns), np.float32)
    with _mode(network, training=False), torch.inference_mode():
        for start in range(0, len(images), batch):
            x = torch.from_numpy(_own(to_float(images[start : start + batch])))
            out[start : start + batch] = function(x).numpy()
    return out


@contextlib.contextmanager
def _mode(network: Network, *, training: bool) -> Iterator[None]:
    """The network in training or evaluation mode; afterwards in the mode it was in."""
    before = network.training
    if before != training:  # to set it takes time, however often it is set already
        network.train(training)
    try:
        yield
    finally:
        if before != training:
            network.train(before)


def _own(array: NDArray[Any]) -> NDArray[Any]:
    """The array itself, or a copy if torch could not hold it: strided, or read-only off a wire."""
    return np.require(array, requirements=("C", "W"))


def _pixels(x: torch.Tensor) -> torch.Tensor:
    """A batch as float32 in [0, 1]; the set itself stays uint8, a quarter of the memory."""
    return x if x.is_floating_point() else x.float().div_(255)


def _checked_targets(targets: NDArray[Any], n: int, k: int) -> NDArray[Any]:
    targets = np.asarray(targets)
    shape, kind = targets.shape, targets.dtype.kind
    if len(shape) == 0 or len(targets) != n:
        raise ValueError(f"targets have shape {shape}, expected {n}, one for each image")
    if len(shape) == 1 and kind in "iu":
        wrong = targets[(targets < 0) | (targets >= k)]
        if len(wrong):
            raise ValueError(f"targets contain the label {wrong[0]}, expected 0..{k - 1}")
        return targets.astype(np.int64)
    if len(shape) != 2 or kind != "f":
        raise ValueError(
            f"targets are {targets.dtype} of rank {len(shape)}, "
            "expected labels (n,) of integers or probabilities (n, k) of floats"
        )
    if shape[1] != k:
        raise ValueError(f"targets have {shape[1]} columns, expected {k} classes")
    if not np.isfinite(targets).all():
        raise ValueError("targets contain NaN or infinity, expected probabilities")
    return targets.astype(np.float32)


def _slices(n: int, batch: int) -> list[slice]:
    """Batches of an epoch; a last one of 1 image joins its neighbour, for batch normalisation."""
    starts = list(range(0, n, batch))
    if len(starts) > 1 and n - starts[-1] == 1:
        starts.pop()
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], n], strict=True)]


@contextlib.contextmanager
def _bar(progress: bool | str, steps: int) -> Iterator[Callable[[], None]]:
    if not progress:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    # Standard error: a server prints its address, and nothing else, on standard output.
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task(progress if isinstance(progress, str) else "training", total=steps)
        yield lambda: bar.advance(task)
