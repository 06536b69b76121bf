"""From an account to a price: policies give seconds of work per 64 images, a tariff gives hashes.

A policy is a pure function of the account with the batch in question counted in. Seconds are those
of the native solver on one thread of the calibrating host; only `PolicyTariff` knows its rate.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from pow.puzzle import MAX_WORK, Puzzle
from server.ledger import NANO, Account
from server.puzzles import BATCH, Puzzles

POLICIES = ("none", "paper", "rate")


class Policy(Protocol):
    """A price list."""

    def price(self, account: Account) -> float:
        """Seconds of work per 64 images."""
        ...

    def excess(self, account: Account) -> float:
        """What the price grows with, >= 0; unlike the price it knows no cap."""
        ...

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Privacy costs: what lies above each counts by itself, too."""
        ...


class NoPrice:
    """Policy `none`: the baseline against which all overheads are measured."""

    thresholds: tuple[float, ...] = ()

    def price(self, account: Account) -> float:
        return 0.0

    def excess(self, account: Account) -> float:
        return 0.0


def work_for(seconds: float, images: int, rate: float) -> int:
    """Expected hashes for `images` images at `seconds` per 64, where 64 cost a power of two.

    Fine steps would let a client read its own privacy cost off the price. Linear in images: no size
    of batch is more expensive than another. Never above the largest work a challenge can ask.
    """
    hashes = math.ceil(min(seconds * rate, MAX_WORK))
    if hashes <= 0:
        return 0
    whole = 1 << (hashes - 1).bit_length()
    return min(-(-whole * images // BATCH), MAX_WORK)


@dataclass(frozen=True, slots=True)
class PolicyTariff:
    """A policy, the hash rate its seconds rest on, what an honest image costs, and the puzzles.

    `entry` expected hashes, once an account, keep many small accounts from being cheap: a first
    image tells little, so it is never expensive. All that is asked before the first payment carries
    it.
    """

    policy: Policy
    rate: float  # hashes per second
    honest: float  # mean privacy cost of an honest image
    puzzles: Puzzles
    entry: int = 0

    @property
    def thresholds(self) -> tuple[int, ...]:
        """Nano-units."""
        return tuple(round(threshold * NANO) for threshold in self.policy.thresholds)

    def counts_at_once(self, before: Account, after: Account) -> bool:
        """Whether the images between two accounts cost more than honest ones, and raise the price.

        They may only raise it before they are paid for.
        """
        images, cost = after.counted - before.counted, after.cost - before.cost
        expensive = cost > self.honest * NANO * images
        return expensive and self.policy.excess(after) > self.policy.excess(before)

    def work(self, account: Account, images: int) -> int:
        """Expected hashes for `images` images, given the account with them counted."""
        priced = work_for(self.policy.price(account), images, self.rate)
        if priced == 0 or account.entered:
            return priced
        return min(priced + self.entry, MAX_WORK)

    def puzzle(self, work: int, images: int, account: Account) -> Puzzle:
        """The puzzle that stands for `work` expected hashes, asked of an account for `images`.

        The entry does not depend on the number of images, so it is no part of their price.
        """
        entry = 0 if account.entered else min(self.entry, work)
        return self.puzzles.choose(work, Fraction((work - entry) * BATCH, images) + entry)


def no_price(algorithm: str) -> PolicyTariff:
    """The tariff of policy `none`, for a gate whose puzzles are of `algorithm`: asks no work."""
    return PolicyTariff(NoPrice(), rate=1.0, honest=0.0, puzzles=Puzzles(algorithm))
