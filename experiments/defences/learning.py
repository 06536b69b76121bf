"""How much the surrogates of gradient redirection have learnt, and what that does to a thief.

Redirection with surrogates that learnt more or less, from the server's own images or from those the
thief asks, against a thief who learns from probabilities and asks few images or many.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from core.arrays import softmax, to_float
from core.learning import networks, training
from core.learning.images import Images
from core.learning.networks import Network
from experiments.defences.cell import KEY, SURROGATES, Stage, benign, steal
from experiments.defences.plan import REDIRECTION, Learnt, Perturb, label
from server.defences import Perturbation
from server.defences.surrogates import Surrogates
from server.defences.trained import EARLY

if TYPE_CHECKING:
    from experiments.defences import Plan, Results

LOOKED_AT = 1_000
"""Images of each kind on which it is counted which class the best score is of."""


@dataclass(frozen=True, slots=True)
class Taught:
    """A set of surrogates: a defence that looks at them, and what can be said of them."""

    shield: Perturbation
    facts: Mapping[str, float]


def run(plan: Plan, results: Results, say: Callable[[str], None]) -> None:
    """Runs the cells that are missing. Raises DatasetError, ArtifactError."""
    stage = Stage(plan.bench, plan.place)
    thief = plan.bench.thieves[0]
    for seed in plan.seeds or plan.bench.seeds:
        for learnt in (None, *plan.bench.learnt):
            taught = None
            for queries in plan.bench.learnt_queries:
                asking = replace(thief, config={**thief.config, "budget": queries})
                setting = {"thief": asdict(asking), "surrogates": SURROGATES}
                key = {
                    "defence": label(REDIRECTION if learnt else Perturb()),
                    **asdict(learnt or Learnt()),
                    "queries": queries,
                    "seed": seed,
                }
                if results.has("learning", key, setting):
                    continue
                taught = taught or _taught(stage, learnt, seed)
                found = {**taught.facts, **steal(stage, taught.shield, asking, seed)}
                results.add("learning", key, setting, found)
                say(f"{key}: {found}")


def _taught(stage: Stage, learnt: Learnt | None, seed: int) -> Taught:
    if learnt is None:
        return Taught(stage.shield(Perturb(), seed), {})
    thief = stage.bench.thieves[0]
    asked = stage.pool(thief, seed)
    images = asked if learnt.source == "asked" else stage.dataset.splits["victim"].images
    surrogates = Surrogates(
        [_student(stage, images[: learnt.images], learnt.epochs, one) for one in _seeds(seed)]
    )
    shield = Perturbation(REDIRECTION.defence, REDIRECTION.config(), KEY, surrogates)
    honest, held_out = benign(stage, shield), stage.held_out[:LOOKED_AT]
    known = stage.labels[:LOOKED_AT]
    right = [training.logits(one, held_out).argmax(1) == known for one in surrogates.networks]
    return Taught(
        shield,
        {
            "right": float(np.mean(right)),
            **{f"honest_{name}": honest[name] for name in ("accuracy", "l1", "kept")},
            "own_class_honest": _own_class(surrogates, held_out),
            "own_class_asked": _own_class(surrogates, to_float(asked[:LOOKED_AT])),
        },
    )


def _seeds(seed: int) -> list[int]:
    """Of surrogates: neither the victim's nor a thief's."""
    return [5_000 + SURROGATES * seed + one for one in range(SURROGATES)]


def _student(stage: Stage, images: Images, epochs: int, seed: int) -> Network:
    network = networks.build(
        stage.bench.network, stage.network.shape, stage.network.classes, seed=seed
    )
    if epochs:
        clean = softmax(training.logits(stage.network, images))
        training.fit(network, images, clean, replace(EARLY, epochs=epochs), seed=seed)
    return network


def _own_class(surrogates: Surrogates, images: NDArray[np.float32]) -> float:
    """How often the best score is that of the class which the surrogates believe in."""
    posterior = surrogates.posterior(images)
    scores = surrogates.scores(images, posterior, target="all-ones", layers="all", key=KEY)
    return float(np.mean(scores.argmax(axis=1) == posterior.argmax(axis=1)))
