"""Offers of a session that are open: what was priced is paid for as it was offered."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from attacks.world import Answers, Images
from client.session import Offer
from core.arrays import digest


class Seller(Protocol):
    """Who makes offers: a session, or several that take turns."""

    def offer(self, images: Images, *, request_id: str | None = None) -> Offer:
        """What an answer costs, and the answer under seal."""

    def accept(self, offer: Offer) -> Answers:
        """The answer, paid for."""


class Offers:
    """Asks a session for prices and answers. `seen` is told of every price."""

    def __init__(self, session: Seller, *, seen: Callable[[Offer], None]) -> None:
        self._session = session
        self._seen = seen
        self._open: dict[bytes, Offer] = {}

    def price(self, images: Images, request_id: str | None = None) -> int:
        """The work of an answer to images (b, c, h, w), in expected hashes. Pays nothing."""
        offer = self._session.offer(images, request_id=request_id)
        self._open[mark(images)] = offer
        self._seen(offer)
        return offer.work

    def predict(self, images: Images, request_id: str | None = None) -> Answers:
        """Probabilities (b, k), paid for: at the price that was asked, if one was."""
        offer = self._open.pop(mark(images), None)
        if offer is None:
            offer = self._session.offer(images, request_id=request_id)
        return self._session.accept(offer)


def mark(images: Images) -> bytes:
    """The digest by which a batch is known again."""
    return digest(images.dtype.str, images.shape, np.ascontiguousarray(images).data)
