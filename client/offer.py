"""An offer: a sealed answer and its price. An exchange: what an answer took in the end."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from pow.audience import Audience
from pow.challenge import Challenge, ChallengeError
from pow.puzzle import Puzzle
from pow.solver import Solution
from protos import gate_pb2 as pb

ARGON2ID_TRY = 1 << 17
"""Hashes that a try of argon2id counts for: a thread that makes 800 tries a second makes about
100 million hashes of SHA-1, so that a price stays what it is under either."""


def expected_hashes(puzzle: Puzzle) -> int:
    """Work of a puzzle, read from its stamps; tries of argon2id are converted."""
    return puzzle.work * (ARGON2ID_TRY if puzzle.algorithm == "argon2id" else 1)


@dataclass(frozen=True, slots=True, eq=False)
class Offer:
    """A sealed answer and its price; `Session.accept` pays for it."""

    request_id: str
    images: NDArray[Any]
    until: float  # when it expires, on the clock of time.monotonic
    seconds: float  # it took
    cpu: float  # seconds of this process
    sent: int  # bytes
    sealed: pb.SealedPrediction
    challenge: Challenge

    @property
    def work(self) -> int:
        """What is asked, in expected hashes."""
        return int(self.sealed.receipt.work)

    @property
    def victim(self) -> str:
        """Fingerprint of the model and its measure, as the challenge names it."""
        return Audience.parse(self.challenge.audience).fingerprint

    def to_json(self) -> dict[str, Any]:
        """The offer but for its images; `until` is in seconds of Unix time."""
        return {
            "request_id": self.request_id,
            "until": time.time() + self.until - time.monotonic(),
            "seconds": self.seconds,
            "cpu": self.cpu,
            "sent": self.sent,
            "sealed": base64.b64encode(self.sealed.SerializeToString()).decode(),
        }

    @classmethod
    def from_json(cls, images: NDArray[Any], kept: Mapping[str, Any]) -> Offer:
        """The offer of an answer to images that `to_json` wrote. Raises ValueError."""
        try:
            sealed = pb.SealedPrediction.FromString(base64.b64decode(kept["sealed"], validate=True))
            return cls(
                request_id=str(kept["request_id"]),
                images=images,
                until=time.monotonic() + float(kept["until"]) - time.time(),
                seconds=float(kept["seconds"]),
                cpu=float(kept["cpu"]),
                sent=int(kept["sent"]),
                sealed=sealed,
                challenge=Challenge.parse(sealed.challenge),
            )
        except (ChallengeError, DecodeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"an offer that cannot be read: {error!r}") from error


@dataclass(frozen=True, slots=True)
class Exchange:
    """One predict(): seconds, work and bytes. total = network + server + solve + open."""

    request_id: str
    images: int
    total: float
    network: float
    server: float
    solve: float
    open: float
    cpu: float  # seconds of this process
    hashes: int  # tried
    work: int  # asked, in expected hashes
    bits: int
    count: int  # stamps, k
    sent: int  # bytes
    received: int  # bytes
    solver: str
    virtual: bool


class Spent:
    """Sums up what an answer has taken: offers, solving, redeeming."""

    def __init__(self, offer: Offer) -> None:
        self.seconds, self.cpu = offer.seconds, offer.cpu  # and of paying, in the end
        self.work = 0  # solved, in expected hashes
        self._sums = {"server": 0.0, "solve": 0.0, "hashes": 0, "sent": 0, "received": 0}
        self._virtual = False
        self.asked(offer)

    def asked(self, offer: Offer) -> None:
        """Adds an offer."""
        self._add(server=offer.sealed.receipt.server_seconds)
        self.moved(offer.sent, offer.sealed.ByteSize())

    def moved(self, sent: int, received: int) -> None:
        """Adds bytes."""
        self._add(sent=sent, received=received)

    def solved(self, puzzle: Puzzle, solution: Solution) -> None:
        """Adds a puzzle that was solved, or drawn."""
        self.work += expected_hashes(puzzle)
        self._add(hashes=solution.hashes, solve=solution.seconds)
        self._virtual = solution.virtual

    def _add(self, **amounts: float) -> None:
        for name, amount in amounts.items():
            self._sums[name] += amount

    def exchange(self, offer: Offer, *, solver: str, opened: float) -> Exchange:
        """The sums. Virtual work takes no time here: its drawn seconds are added."""
        sums: dict[str, Any] = self._sums
        total = self.seconds + (sums["solve"] if self._virtual else 0.0)
        puzzle = offer.challenge.puzzle
        return Exchange(
            request_id=offer.request_id,
            images=len(offer.images),
            total=total,
            network=total - sums["server"] - sums["solve"] - opened,
            open=opened,
            cpu=self.cpu,
            work=offer.work,
            bits=puzzle.bits,
            count=puzzle.count,
            solver=solver,
            virtual=self._virtual,
            **sums,
        )
