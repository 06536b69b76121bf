"""Where the time of one predict() went, and its work and bytes."""

from __future__ import annotations

from dataclasses import dataclass

from client.bounds import expected_hashes
from client.offer import Offer
from pow.puzzle import Puzzle
from pow.solver import Solution


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
    """What an answer has taken so far: an offer, others where it ran out, and solving."""

    def __init__(self, offer: Offer) -> None:
        self._seconds, self._cpu = offer.seconds, offer.cpu
        self._server, self._sent, self._received = 0.0, 0, 0
        self._hashes, self._solving, self._virtual = 0, 0.0, False
        self.work = 0  # solved, in expected hashes (client.bounds)
        self.asked(offer)

    def asked(self, offer: Offer) -> None:
        """An offer was made."""
        self._server += offer.sealed.receipt.server_seconds
        self._sent += offer.sent
        self._received += offer.sealed.ByteSize()

    def solved(self, puzzle: Puzzle, solution: Solution) -> None:
        """A puzzle was solved, or drawn."""
        self.work += expected_hashes(puzzle)
        self._hashes += solution.hashes
        self._solving += solution.seconds
        self._virtual = solution.virtual

    def redeemed(self, sent: int, received: int) -> None:
        """A key was bought, for so many bytes."""
        self._sent += sent
        self._received += received

    def exchange(
        self, offer: Offer, *, solver: str, seconds: float, opened: float, cpu: float
    ) -> Exchange:
        """All of it, `seconds` and `cpu` of paying included.

        Virtual work takes no time here: its drawn seconds are added to what was measured.
        """
        total = self._seconds + seconds + (self._solving if self._virtual else 0.0)
        return Exchange(
            request_id=offer.request_id,
            images=len(offer.images),
            total=total,
            network=total - self._server - self._solving - opened,
            server=self._server,
            solve=self._solving,
            open=opened,
            cpu=self._cpu + cpu,
            hashes=self._hashes,
            work=offer.work,
            bits=offer.challenge.puzzle.bits,
            count=offer.challenge.puzzle.count,
            sent=self._sent,
            received=self._received,
            solver=solver,
            virtual=self._virtual,
        )
