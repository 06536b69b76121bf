"""Price probe: prices are asked before they are paid, and show where the victim is uncertain.

No paper describes it; the price it reads is that of Dziedzic, Kaleem, Lu, Papernot, *Increasing
the Cost of Model Extraction with Calibrated Proof of Work*, ICLR 2022, which rises with what an
answer reveals. The pool falls into groups that look alike. One batch of every group is priced; the
most expensive (or cheapest) is paid for, and replaced by the next of its group, so that prices
lead through the pool.
Differs from the paper: there, no client can see a price without having been answered for it;
here it comes before the answer, in powers of two, and only so many batches may stay unpaid.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from attacks.world import Images, LabelledRounds, Plan, Price, TransferSet, World, check_least
from core.arrays import to_float

SOURCE = "Dziedzic et al., ICLR 2022"
LABELS = "soft or hard"
NEEDS = ("pool",)

_UNPAID = 8
"""Batches that a gate lets a client leave unpaid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(LabelledRounds):
    budget: int = 1_000  # images that are paid for, in total
    groups: int = 8  # of images that look alike, each with one batch that is priced and not paid
    prefer: Literal["expensive", "cheap"] = "expensive"  # which batch is paid for


def plan(cfg: Config, world: World) -> Plan:
    """Pays for the batch with the preferred price, again and again; trains after every round."""
    check_least(cfg, 1, "rounds")
    if not 1 <= cfg.groups <= _UNPAID:
        raise ValueError(
            f"--attack.groups is {cfg.groups}; expected 1 to {_UNPAID}, for that many batches may "
            "be left unpaid"
        )
    if cfg.prefer not in ("expensive", "cheap"):
        raise ValueError(f"--attack.prefer is {cfg.prefer!r}; expected expensive or cheap")
    schedule = cfg.schedule()

    def train(known: TransferSet) -> None:
        targets = known.targets(cfg.labels)
        world.surrogate.learn(known.images, targets, schedule, scratch=cfg.scratch)

    queues = batches_of_groups(world, cfg.groups, cfg.batch)
    budget = min(cfg.budget, len(world.pool))
    ends = [budget * (i + 1) // cfg.rounds for i in range(cfg.rounds)]
    known, trained = TransferSet(), 0
    works = {}  # group -> price of the batch at the head of its queue
    for group, queue in enumerate(queues):
        works[group] = yield Price(queue[0])
    while works:
        group = chosen(works, cfg.prefer, world.rng)
        images = queues[group][0]
        if len(known) + len(images) > budget:
            break
        yield from known.ask(images, cfg.batch)
        del queues[group][0], works[group]
        if len(known) >= ends[0]:
            ends = [end for end in ends if end > len(known)]
            train(known)
            trained = len(known)
        if queues[group] and len(known) + len(queues[group][0]) <= budget:
            works[group] = yield Price(queues[group][0])
    if len(known) > trained:
        train(known)


def batches_of_groups(world: World, groups: int, batch: int) -> list[list[Images]]:
    """The pool in groups by k-means on its pixels, each in random order, dealt into batches."""
    from sklearn.cluster import MiniBatchKMeans

    means = MiniBatchKMeans(
        min(groups, len(world.pool)), n_init=3, random_state=int(world.rng.integers(2**31))
    )
    group_of = means.fit_predict(to_float(world.pool).reshape(len(world.pool), -1))
    order = world.rng.permutation(len(world.pool))
    queues = []
    for group in np.unique(group_of):
        places = order[group_of[order] == group]
        queues.append([world.pool[places[at : at + batch]] for at in range(0, len(places), batch)])
    return queues


def chosen(
    works: Mapping[int, int], prefer: Literal["expensive", "cheap"], rng: np.random.Generator
) -> int:
    """The group whose batch has the highest (or lowest) price; of equals, any."""
    best = (max if prefer == "expensive" else min)(works.values())
    return int(rng.choice([group for group, work in works.items() if work == best]))
