"""Offers of a session that are open: what was priced is paid for as it was offered.

An offer may be kept in a file until it is paid for, so that a thief who was stopped in the midst of
its puzzle goes on with that same puzzle. Asking again would be a retry, of which a gate serves few.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

import numpy as np

from attacks.world import Answers, Images
from client.offer import Offer
from client.session import GateError, Refused
from core import records
from core.arrays import digest


class OtherVictim(GateError):
    """The gate has come to serve another model; what it says does not go with what it said."""


class Seller(Protocol):
    """Who makes offers: a session, or several that take turns."""

    def offer(self, images: Images, *, request_id: str | None = None) -> Offer:
        """What an answer costs, and the answer under seal."""

    def accept(self, offer: Offer) -> Answers:
        """The answer, paid for."""


class Offers:
    """Asks a session for prices and answers. `seen` is told of every price.

    With `file`, offers that ask for work are kept there, and those of a process before are known.
    Raises core.records.RecordError for a damaged file.
    """

    def __init__(
        self, session: Seller, *, seen: Callable[[Offer], None], file: Path | None = None
    ) -> None:
        self._session = session
        self._seen = seen
        self._victim: str | None = None  # as challenges name it
        self._open: dict[bytes, Offer] = {}
        self._kept: dict[str, Mapping[str, Any]] = {}  # of a process before, by request id
        self._writer: records.RecordWriter | None = None
        if file is not None and file.exists():
            self._kept = {str(line.get("request_id")): line for line in records.read(file)[1]}
            self._writer = records.RecordWriter.reopen(file)
        elif file is not None:
            self._writer = records.RecordWriter(file, {})

    def price(self, images: Images, request_id: str | None = None) -> int:
        """The work of an answer to images (b, c, h, w), in expected hashes. Pays nothing.

        Raises OtherVictim, and as `Session.offer` does.
        """
        offer = self._ask(images, request_id)
        self._open[mark(images)] = offer
        self._seen(offer)
        return offer.work

    def predict(self, images: Images, request_id: str | None = None) -> Answers:
        """Probabilities (b, k), paid for: at the price that was asked, if one was.

        Raises OtherVictim, ValueError for a kept offer that cannot be read, and as
        `Session.predict` does.
        """
        offer = self._open.pop(mark(images), None)
        if offer is None and request_id in self._kept:
            offer = Offer.from_json(images, self._kept.pop(request_id))
            try:
                if offer.until > monotonic():
                    return self._session.accept(offer)
            except Refused:
                pass  # of a gate with other secrets, say: it may still answer if asked again
            offer = None
        return self._session.accept(offer or self._ask(images, request_id))

    def close(self) -> None:
        """Closes the file."""
        if self._writer is not None:
            self._writer.close()

    def _ask(self, images: Images, request_id: str | None) -> Offer:
        offer = self._session.offer(images, request_id=request_id)
        victim = offer.victim
        if self._victim not in (None, victim):
            raise OtherVictim(f"the gate serves {victim} now; expected {self._victim}, as before")
        self._victim = victim
        if self._writer is not None and offer.work:
            self._writer.write("offer", **offer.to_json())
        return offer


def mark(images: Images) -> bytes:
    """The digest by which a batch is known again."""
    return digest(images.dtype.str, images.shape, np.ascontiguousarray(images).data)
