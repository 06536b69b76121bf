"""From an account to a price: policies give seconds of work per 64 images, a tariff gives hashes.

A policy is a pure function of the account with the batch in question counted in. Seconds are those
of the native solver on one thread of the calibrating host; only `PolicyTariff` knows its rate.
"""

import math
from dataclasses import dataclass
from typing import Protocol

from pow import challenge
from server.ledger import NANO, Account
from server.pricing.paper import Paper
from server.pricing.rate import Rate
from server.puzzles import Puzzles

__all__ = ["BATCH", "POLICIES", "Free", "Paper", "Policy", "PolicyTariff", "Rate", "work_for"]

BATCH = 64
"""Images to which a price in seconds refers; n images pay n/64 of it."""

POLICIES = ("none", "paper", "rate")


class Policy(Protocol):
    """A price list."""

    def price(self, account: Account) -> float:
        """Seconds of work per 64 images."""
        ...

    def excess(self, account: Account) -> float:
        """What the price grows with, >= 0; unlike the price it knows no cap."""
        ...


@dataclass(frozen=True, slots=True)
class Free:
    """Policy `none`: the baseline against which all overheads are measured."""

    def price(self, account: Account) -> float:
        """Always 0.0 seconds."""
        return 0.0

    def excess(self, account: Account) -> float:
        """Always 0.0."""
        return 0.0


def work_for(seconds: float, images: int, rate: float) -> int:
    """Expected hashes for `images` images at `seconds` per 64, rounded up to a power of two.

    Fine steps would let a client read its own privacy cost off the price (DESIGN "Price leak").
    Never above the largest work a challenge can ask.
    """
    hashes = math.ceil(min(seconds * images / BATCH * rate, challenge.MAX_WORK))
    return 1 << (hashes - 1).bit_length() if hashes > 0 else 0


@dataclass(frozen=True, slots=True)
class PolicyTariff:
    """A policy, the hash rate its seconds rest on, what an honest image costs, and the puzzles."""

    policy: Policy
    rate: float  # hashes per second
    honest: float  # mean privacy cost of an honest image
    puzzles: Puzzles

    def is_dear(self, images: int, cost: int) -> bool:
        """Whether a batch of `cost` nano-units is dearer than an honest one."""
        return cost > self.honest * NANO * images

    def raises(self, before: Account, after: Account) -> bool:
        """Whether an account costs more after a batch counts than before."""
        return self.policy.excess(after) > self.policy.excess(before)

    def work(self, account: Account, images: int) -> int:
        """Expected hashes for `images` images, given the account with them counted."""
        return work_for(self.policy.price(account), images, self.rate)

    def lifetime(self, work: int) -> float:
        """Seconds that a challenge of `work` expected hashes stays open."""
        algorithm, tries = self.puzzles.choose(work)
        return challenge.lifetime(tries, algorithm)
