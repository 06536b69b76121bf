"""The accounts of one thief, among whom he deals his batches: one surrogate, one budget.

He deals batch by batch (`share` is None), or goes on with the next account once `share` images were
answered to one. Who is asked depends on what was answered before and on nothing else, so that an
attack which is resumed asks each batch under the account it was charged to; an answer that was
priced is paid by the account that was told the price.
"""

from collections.abc import Callable, Sequence

from attacks.offers import mark
from attacks.world import Answers, Images
from client.offer import Offer
from client.pace import Pace
from client.session import Service, Session


class Accounts:
    """Sessions of several accounts that ask in turn, at one pace, where one session would."""

    def __init__(self, sessions: Sequence[Session], *, share: int | None, pace: Pace) -> None:
        self._sessions = sessions
        self._share = share
        self._pace = pace
        self._batches = 0  # answered
        self._images = 0  # answered
        self._priced: dict[bytes, int] = {}  # a batch that is not paid for -> who asked its price
        self._asking = 0

    @property
    def service(self) -> Service:
        """What the gate serves. Raises Refused, Unreachable."""
        return self._sessions[0].service

    def predict(self, images: Images, ask: Callable[[Images], Answers]) -> Answers:
        """The answers (b, k) of `ask`, who asks under the account whose turn it is."""
        self._asking = self._priced.pop(mark(images), self._turn())
        answers = ask(images)
        self._batches += 1
        self._images += len(images)
        return answers

    def price(self, images: Images, ask: Callable[[Images], int]) -> int:
        """The price that `ask` is told under the account whose turn it is."""
        self._asking = self._priced[mark(images)] = self._turn()
        return ask(images)

    def offer(self, images: Images, *, request_id: str | None = None) -> Offer:
        """As `Session.offer`, under the account that asks now, when it is due."""
        self._pace.wait()
        return self._sessions[self._asking].offer(images, request_id=request_id)

    def accept(self, offer: Offer) -> Answers:
        """As `Session.accept`, under the account that asks now."""
        return self._sessions[self._asking].accept(offer)

    def _turn(self) -> int:
        if self._share is None:
            return self._batches % len(self._sessions)
        return min(self._images // self._share, len(self._sessions) - 1)
