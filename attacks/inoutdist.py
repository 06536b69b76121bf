"""In and out of distribution: random foreign images and random genuine ones, round by round.

Dziedzic, Kaleem, Lu, Papernot, *Increasing the Cost of Model Extraction with Calibrated Proof of
Work*, ICLR 2022, section 5 ("InOut"): cheap genuine queries between the expensive foreign ones.
Differs from the paper: rounds are shares of the budget, two foreign images for each genuine one as
there, and none of the genuine ones is from the held-out images.
"""

from dataclasses import dataclass

import numpy as np

from attacks.world import LabelledRounds, Plan, TransferSet, World, check_least

SOURCE = "Dziedzic et al., ICLR 2022"
LABELS = "soft or hard"
NEEDS = ("pool", "inside")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(LabelledRounds):
    rounds: int = 10  # times the surrogate is trained; foreign and genuine images in turn
    ratio: float = 2.0  # foreign images for each genuine one


def plan(cfg: Config, world: World) -> Plan:
    """Asks foreign, then genuine images, without repeats; a pool that is used up is left out."""
    schedule = cfg.schedule()
    if world.inside is None:
        raise ValueError("inoutdist needs a second pool, of genuine images")
    check_least(cfg, 1, "rounds")
    check_least(cfg, 0, "ratio", beyond=True)
    pools = (world.pool, world.inside)
    orders = [iter(world.rng.permutation(len(pool))) for pool in pools]
    known = TransferSet()
    for turn, size in enumerate(sizes(cfg.budget, cfg.rounds, cfg.ratio)):
        pool, order = pools[turn % 2], orders[turn % 2]
        chosen = np.array([at for at, _ in zip(order, range(size), strict=False)], np.int64)
        yield from known.ask(pool[chosen], cfg.batch)
        if len(chosen):
            world.surrogate.learn(
                known.images, known.targets(cfg.labels), schedule, scratch=cfg.scratch
            )


def sizes(budget: int, rounds: int, ratio: float) -> list[int]:
    """Images in each round, `budget` in total: foreign rounds are `ratio` times genuine ones."""
    shares = np.where(np.arange(rounds) % 2 == 0, ratio, 1.0)
    ends = np.rint(budget * shares.cumsum() / shares.sum())
    return [int(size) for size in np.diff(ends, prepend=0)]
