"""Solutions that were found and not redeemed yet: asked for again, they are not sought again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

from numpy.typing import NDArray

from client.offer import Offer
from core.arrays import digest
from pow.solver import Solution
from protos import codec

KEPT = 64
"""Solutions kept at a time; the oldest goes first."""


class Solved:
    """Solved offers by request id; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[Offer, Solution]] = OrderedDict()

    def keep(self, offer: Offer, solution: Solution) -> None:
        """Remembers how an offer was solved."""
        with self._lock:
            self._kept[offer.request_id] = offer, solution
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)

    def drop(self, offer: Offer) -> None:
        """Forgets an offer: it was redeemed, or never will be."""
        with self._lock:
            self._kept.pop(offer.request_id, None)

    def solution(self, offer: Offer) -> Solution | None:
        """How this very challenge was solved."""
        with self._lock:
            kept = self._kept.get(offer.request_id)
        return kept[1] if kept is not None and kept[0].challenge == offer.challenge else None

    def offer(self, request_id: str, images: NDArray[Any]) -> Offer | None:
        """The solved offer of a request for these images (b, c, h, w)."""
        with self._lock:
            kept = self._kept.get(request_id)
        if kept is None:
            return None
        inputs = digest(images.dtype.name, images.shape, codec.encode(images).data)
        return kept[0] if kept[0].challenge.digest == inputs else None
