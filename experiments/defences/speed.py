"""What defences take on one thread for 64 images, beside plain ways to compute the same.

Times are CPU milliseconds of the calling thread. All contestants take turns in every round, so that
a machine that slows down slows them all, and ratios are taken round by round. Networks, images and
posteriors are random: how long a defence takes does not depend on what they say.

The plain ways are those of the method's released code in our own words: scores by back-propagating
twice, one image's classes filled one by one, MAD with a backward pass for each class and image.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from core import records
from core.learning import artifacts, networks, training
from core.learning.networks import Network
from experiments.terminal import command_line, say
from server.defences import Context
from server.defences.gradient_redirection import Config as Redirection
from server.defences.gradient_redirection import redirect
from server.defences.keeping_top import redirect_keeping_top
from server.defences.mad import poisoned
from server.defences.mad_argmax import poisoned_below_top
from server.defences.modelguard_w import guarded
from server.defences.surrogates import Surrogates

BATCH = 64
PLAIN_IMAGES = 2
"""Images that plain MAD is timed with; it goes image by image, and the time is multiplied."""

NETWORKS = {"lenet": (1, 28, 28), "resnet10-thin": (3, 32, 32)}

GOALS = {
    "redirect, 10 classes": 1.0,
    "redirect, 100 classes": 3.0,
    "mad, 10 classes": 1.0,
    "mad, 100 classes": 1.0,
}
"""Milliseconds of one core aimed at, beyond the surrogate's forward pass."""

GOAL_RATIO = 4.0
"""Surrogate forward passes that gradient redirection may take in all."""

Call = Callable[[], object]


def measure(*, rounds: int, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    """CPU milliseconds, median and least, by name; and ratios to a forward pass. ValueError."""
    if rounds < 1:
        raise ValueError(f"--rounds is {rounds}; expected at least 1")
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    found: dict[str, dict[str, float]] = {}
    ratios: dict[str, dict[str, float]] = {}

    def note(contest: Mapping[str, tuple[Call, float]]) -> dict[str, list[float]]:
        taken = _take_turns(contest, rounds)
        for name, times in taken.items():
            found[name] = {"median": float(np.median(times)), "least": min(times)}
            say(f"{name}: {found[name]['median']:.3g} ms")
        return taken

    for k in (10, 100):
        note(_arithmetic(rng, k))
    for name, shape in NETWORKS.items():
        network = networks.build(name, shape, 10, seed=seed).eval()
        taken = note(_redirections(rng, network, seed))
        forward = np.array(taken[f"{name}: forward"])
        for other, times in taken.items():
            if other != f"{name}: forward":
                ratios[other] = _ratio(np.array(times) / forward)
    note(_plain_mad(rng, seed))
    return {"cpu_ms": found, "forward_passes": ratios}


def _take_turns(contest: Mapping[str, tuple[Call, float]], rounds: int) -> dict[str, list[float]]:
    for call, _ in contest.values():
        call()  # the first allocates
    taken: dict[str, list[float]] = {name: [] for name in contest}
    for _ in range(rounds):
        for name, (call, factor) in contest.items():
            start = time.thread_time()
            call()
            taken[name].append((time.thread_time() - start) * 1e3 * factor)
    return taken


def _ratio(ratios: NDArray[np.float64]) -> dict[str, float]:
    return {"median": float(np.median(ratios)), "least": float(ratios.min())}


def _arithmetic(rng: np.random.Generator, k: int) -> dict[str, tuple[Call, float]]:
    """What comes after the surrogate's forward pass."""
    y, p = (rng.dirichlet(np.full(k, a), size=BATCH) for a in (0.3, 3.0))
    s = rng.normal(size=y.shape)
    calls: dict[str, Call] = {
        "redirect": lambda: redirect(y, s, 1.0),
        "redirect, plain loop": lambda: plain_redirect(y, s, 1.0),
        "redirect that keeps the top": lambda: redirect_keeping_top(y, s, 1.0, margin=1e-6),
        "mad": lambda: poisoned(y, p, 1.0),
        "mad_argmax": lambda: poisoned_below_top(y, p, 1.0),
        "modelguard_w": lambda: guarded(y, 1.0),
    }
    return {f"{name}, {k} classes": (call, 1.0) for name, call in calls.items()}


def _redirections(
    rng: np.random.Generator, network: Network, seed: int
) -> dict[str, tuple[Call, float]]:
    """Gradient redirection in all, in forward mode and plain, beside one forward pass."""
    images = rng.random((BATCH, *network.shape), dtype=np.float32)
    y = rng.dirichlet(np.full(network.classes, 0.3), size=BATCH)
    config, clean = Redirection(epsilon=1.0), Redirection(epsilon=1.0, target="clean")
    asking = Context(client="", key=bytes(32), surrogates=Surrogates([network]))
    three = [networks.build(network.name, network.shape, 10, seed=seed + i) for i in range(3)]
    asking_three = Context(client="", key=bytes(32), surrogates=Surrogates(three))
    calls: dict[str, Call] = {
        "forward": lambda: training.logits(network, images),
        "gradient redirection": lambda: config.perturb(y, images, asking),
        "gradient redirection, 3 surrogates": lambda: config.perturb(y, images, asking_three),
        "gradient redirection, target clean": lambda: clean.perturb(y, images, asking),
        "gradient redirection, plain": lambda: plain_redirect(
            y, plain_scores(network, images, y), 1.0
        ),
    }
    return {f"{network.name}: {name}": (call, 1.0) for name, call in calls.items()}


def _plain_mad(rng: np.random.Generator, seed: int) -> dict[str, tuple[Call, float]]:
    calls: dict[str, tuple[Call, float]] = {}
    for k in (10, 100):
        network = networks.build("lenet", NETWORKS["lenet"], k, seed=seed).eval()
        images = rng.random((PLAIN_IMAGES, *network.shape), dtype=np.float32)
        y = rng.dirichlet(np.full(k, 0.3), size=PLAIN_IMAGES).astype(np.float32)

        def call(network: Network = network, images: Any = images, y: Any = y) -> object:
            return plain_mad(network, images, y, 1.0)

        calls[f"lenet: mad with its forward pass, plain, {k} classes"] = call, BATCH / PLAIN_IMAGES
    return calls


def plain_scores(
    network: Network, images: NDArray[np.float32], posterior: NDArray[np.floating[Any]]
) -> NDArray[np.float32]:
    """Scores (b, k) for all-ones: the derivative by the answer of what a student would learn."""
    answer = torch.tensor(posterior, requires_grad=True)
    learnt = (network(torch.from_numpy(images)).log_softmax(1) * answer).sum()
    parameters = list(network.parameters())
    gradients = torch.autograd.grad(learnt, parameters, create_graph=True)
    inner = torch.stack([gradient.sum() for gradient in gradients]).sum()
    scores: NDArray[np.float32] = torch.autograd.grad(inner, answer)[0].numpy()
    return scores


def plain_redirect(
    posterior: NDArray[np.floating[Any]], scores: NDArray[Any], epsilon: float
) -> NDArray[np.float32]:
    """Gradient redirection (b, k) with a loop over images and classes."""
    out = posterior.copy()
    for row, score in zip(out, scores, strict=True):
        order = np.argsort(score)
        best = order[-1]
        left = min(epsilon / 2, 1 - float(row[best]))
        row[best] += left
        for k in order[:-1]:
            taken = min(left, float(row[k]))
            row[k] -= taken
            left -= taken
            if left <= 0:
                break
    return out


def plain_mad(
    network: Network,
    images: NDArray[np.float32],
    posterior: NDArray[np.floating[Any]],
    epsilon: float,
) -> NDArray[np.float32]:
    """MAD (b, k) from the gradients of the surrogate's last layer, one class at a time."""
    out = posterior.copy()
    parameters = list(network.head.parameters())
    for i, answer in enumerate(torch.from_numpy(posterior)):
        log_p = network(torch.from_numpy(images[i : i + 1])).log_softmax(1)[0]

        def gradient(value: torch.Tensor) -> torch.Tensor:
            parts = torch.autograd.grad(value, parameters, retain_graph=True)
            return torch.cat([part.ravel() for part in parts])

        clean = gradient(log_p @ answer)
        turned = [1 - torch.cosine_similarity(gradient(value), clean, dim=0) for value in log_p]
        vertex = np.eye(len(answer))[int(torch.stack(turned).argmax())]
        step = min(1.0, epsilon / float(np.abs(vertex - out[i]).sum()))
        out[i] += step * (vertex - out[i])
    return out


def table(result: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Markdown: a row for each contestant, with its goal."""
    lines = [
        "| | median ms | least ms | goal ms | forward passes | goal |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, taken in result["cpu_ms"].items():
        goal = GOALS.get(name)
        passes = result["forward_passes"].get(name, {}).get("median")
        aimed = name.endswith(": gradient redirection")
        lines.append(
            f"| {name} | {taken['median']:.3g}{_late(taken['median'], goal)} "
            f"| {taken['least']:.3g} | {'-' if goal is None else f'{goal:g}'} "
            f"| {'-' if passes is None else f'{passes:.2f}'}"
            f"{_late(passes, GOAL_RATIO if aimed else None)} | {GOAL_RATIO if aimed else '-'} |"
        )
    return "\n".join(lines)


def _late(value: float | None, goal: float | None) -> str:
    return " (missed)" if value is not None and goal is not None and value > goal else ""


def save(result: Mapping[str, Any], file: Path, command: Sequence[str]) -> None:
    """Writes figures, goals and where they come from. Raises ArtifactError."""
    content: dict[str, Any] = {
        "command": " ".join(command),
        "provenance": records.provenance(0),
        "goals_ms": GOALS,
        "goal_forward_passes": GOAL_RATIO,
        **{
            kind: {
                name: {key: float(f"{value:.4g}") for key, value in taken.items()}
                for name, taken in figures.items()
            }
            for kind, figures in result.items()
        },
    }
    artifacts.write_atomically(file, (json.dumps(content, indent=1) + "\n").encode())


@dataclass(frozen=True, slots=True)
class Flags:
    """Time the defences on one thread, beside plain ways to compute the same."""

    json: Path | None = None
    """Also write the figures to this file."""
    rounds: int = 30
    """Measurements of each; median and least are reported."""


def run(flags: Flags) -> None:
    """Times defences."""
    result = measure(rounds=flags.rounds, seed=0, say=say)
    print(table(result))
    if flags.json is not None:
        save(result, flags.json, command_line())
