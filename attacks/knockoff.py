"""Knockoff Nets: natural images of another distribution, soft labels, soft cross-entropy.

Orekondy, Schiele, Fritz, *Knockoff Nets: Stealing Functionality of Black-Box Models*, CVPR 2019:
section 4.1 (random), and 4.2 (adaptive), where a bandit learns which classes of the pool pay.
Differs from the paper: the pool is the attacker's own, not ImageNet, and its classes are one
level without a hierarchy; a whole request is drawn from one policy, and each of its images then
moves the preferences; no image is asked twice, so that a class is closed once it is used up;
rewards are standardised by all that were seen so far, in place of scaling to [0, 1] and of a
baseline over the last 25; the surrogate whose loss is a reward learns one pass over every request,
and from everything at the end of a round.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from attacks.bandit import Bandit, Moments
from attacks.world import Answers, Plan, Rounds, TransferSet, World, ask_at_random, check_least
from core.learning import training

SOURCE = "Orekondy et al., CVPR 2019"
LABELS = "soft"
NEEDS = ("pool",)  # the adaptive strategy needs "classes", too, and says so itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Rounds):
    strategy: Literal["random", "adaptive"] = "random"
    reward: Literal["certainty", "diversity", "loss", "all"] = "all"  # of the bandit (adaptive)
    online_lr: float = 0.01  # of the pass over each request (adaptive)
    epochs: int = 100  # in each round
    momentum: float = 0.0
    weight_decay: float = 0.0
    scratch: bool = False  # begin every round with fresh weights
    decay: Literal["constant", "step", "cosine"] = "step"  # of the learning rate


def plan(cfg: Config, world: World) -> Plan:
    """Asks images of the pool, random or by the bandit, and trains after every round."""
    if cfg.strategy == "adaptive":
        yield from _adaptive(cfg, world)
        return
    if cfg.strategy != "random":
        raise ValueError(f"strategy is {cfg.strategy!r}; expected random or adaptive")
    yield from ask_at_random(cfg, world, "soft")


def _adaptive(cfg: Config, world: World) -> Plan:
    """Draws classes from the bandit's policy, and rewards it by the victim's answers."""
    if cfg.reward not in _RULES:
        raise ValueError(f"reward is {cfg.reward!r}; expected one of {', '.join(_RULES)}")
    check_least(cfg, 1, "rounds")
    schedule = cfg.schedule()
    once = replace(schedule, epochs=1, lr=cfg.online_lr, decay="constant")
    stock = _stock(world)
    bandit = Bandit(np.zeros(len(stock)))
    rules = _RULES[cfg.reward]
    moments = [Moments() for _ in rules]
    known = TransferSet()
    for share in np.array_split(np.arange(min(cfg.budget, len(world.pool))), cfg.rounds):
        for at in range(0, len(share), cfg.batch):
            policy = bandit.policy(_open(stock))
            classes, places = _draw(bandit, stock, len(share[at : at + cfg.batch]), world.rng)
            images = world.pool[places]
            answers = yield images
            known.add(images, answers)
            guess = log_softmax(world.surrogate.logits(images))
            usual = known.answers.mean(axis=0)
            scores = [
                moment.standardised(rule(answers, guess, usual))
                for moment, rule in zip(moments, rules, strict=True)
            ]
            bandit.reward(policy, classes, np.mean(scores, axis=0))
            seed = int(world.rng.integers(2**31))
            training.fit(world.surrogate.network, images, answers, once, seed=seed)
        world.surrogate.learn(known.images, known.answers, schedule, scratch=cfg.scratch)


def _stock(world: World) -> list[list[int]]:
    """For each class of the pool the places of its images, in random order."""
    if world.classes is None:
        raise ValueError("the pool has no classes; strategy adaptive draws its images by class")
    if world.classes.min() < 0:
        raise ValueError(f"the pool has a class {world.classes.min()}; expected 0 or more")
    stock: list[list[int]] = [[] for _ in range(int(world.classes.max()) + 1)]
    for place in world.rng.permutation(len(world.pool)):
        stock[world.classes[place]].append(int(place))
    missing = [label for label, places in enumerate(stock) if not places]
    if missing:
        raise ValueError(
            f"the pool has no image of class {missing[0]}; strategy adaptive expects some of each "
            f"of its {len(stock)} classes (--pool-size may be too small)"
        )
    return stock


def _open(stock: list[list[int]]) -> NDArray[np.bool_]:
    """Which classes (k,) have images left."""
    return np.array([len(places) > 0 for places in stock])


def _draw(
    bandit: Bandit, stock: list[list[int]], size: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], list[int]]:
    """Classes (size,) drawn from the policy, and an image of each, taken out of the stock."""
    classes, places = np.empty(size, np.int64), []
    for i in range(size):
        classes[i] = rng.choice(len(stock), p=bandit.policy(_open(stock)))
        places.append(stock[classes[i]].pop())
    return classes, places


Values = NDArray[np.float64]


def log_softmax(logits: NDArray[np.float32]) -> Values:
    """Log-probabilities (b, k) of logits (b, k), finite for finite logits."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    logs: Values = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return logs


def certainty(answers: Answers, guess: Values, usual: Values) -> Values:
    """By how much the most probable class leads the second (b,)."""
    top = np.sort(answers.astype(np.float64), axis=1)
    lead: Values = top[:, -1] - top[:, -2]
    return lead


def diversity(answers: Answers, guess: Values, usual: Values) -> Values:
    """How far an answer exceeds the mean answer (b,), against images of one label only."""
    more: Values = np.maximum(0.0, answers - usual).sum(axis=1, dtype=np.float64)
    return more


def loss(answers: Answers, guess: Values, usual: Values) -> Values:
    """Cross-entropy of the surrogate's guess, in log-probabilities, to the answers (b,); nats."""
    nats: Values = -(answers * guess).sum(axis=1)
    return nats


_RULES = {
    "certainty": (certainty,),
    "diversity": (diversity,),
    "loss": (loss,),
    "all": (certainty, diversity, loss),
}
