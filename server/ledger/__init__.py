"""The ledger: what every client has asked, what it cost, what is still unpaid.

Charged when the answer is computed, credited when it is redeemed (DESIGN "Charged at Predict,
credited at Redeem"). Between the two a batch may only raise a price: it counts at once where it is
dearer than an honest one and does not dilute an account that is dearer still, and otherwise not
before it is paid for.

Privacy costs are int64 nano-units throughout, so that sums are exact.
"""

from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Protocol

NANO = 10**9
"""Nano-units of one unit of privacy cost."""

WINDOWS = (64, 512, 4096)
"""Images after which a window has forgotten all but 1/e of what it saw (DESIGN section 5)."""

MAX_RETRIES = 5
"""Times the same request may be asked again."""

MAX_UNPAID = 8
"""Batches an account may leave unredeemed at a time."""


@dataclass(frozen=True, slots=True)
class Account:
    """What a price depends on. `charged` is every image asked; the rest is what counts.

    `sums[w]` is the exponentially forgetting sum of cost over window `WINDOWS[w]`: each image
    multiplies it by a = 1 - 1/window and adds its cost. Its weight is window * (1 - a^counted), a
    function of the number of images alone, so one number a window is enough.
    """

    charged: int = 0  # images asked, paid or not
    unpaid: int = 0  # batches not redeemed, whose challenge has not expired
    counted: int = 0  # images that count towards the price
    cost: int = 0  # nano-units of those images
    sums: tuple[float, ...] = (0.0,) * len(WINDOWS)  # nano-units

    def counting(self, images: int, cost: int) -> "Account":
        """The account after `images` images of together `cost` nano-units count, too."""
        sums = []
        for window, total in zip(WINDOWS, self.sums, strict=True):
            kept = (1 - 1 / window) ** images
            sums.append(total * kept + cost / images * window * (1 - kept))
        return replace(self, counted=self.counted + images, cost=self.cost + cost, sums=tuple(sums))


@dataclass(frozen=True, slots=True)
class Charge:
    """One request as the ledger holds it; a retry sees the same images, cost and work."""

    images: int
    cost: int  # nano-units, the whole batch
    work: int  # expected hashes, priced once
    retries: int
    account: Account  # as it stands after this call


class Tariff(Protocol):
    """What a ledger must know of prices: how dear a batch is, and what it costs in work."""

    def is_dear(self, images: int, cost: int) -> bool:
        """Whether a batch (nano-units) is dearer than an honest one."""
        ...

    def raises(self, before: Account, after: Account) -> bool:
        """Whether the account costs more once a batch counts: all that an unpaid one may do."""
        ...

    def work(self, account: Account, images: int) -> int:
        """Expected hashes for `images` images, given the account with them counted."""
        ...

    def lifetime(self, work: int) -> float:
        """Seconds that a challenge of `work` expected hashes stays open."""
        ...


class Ledger(Protocol):
    """Charges by (client, request_id). Every method is atomic; its future is done once committed.

    A charge is then on disk, whatever happens to process or power. All futures raise
    LedgerUnavailable where the back end cannot answer.
    """

    def recall(self, client: str, request_id: str, digest: bytes) -> Future[Charge | Account]:
        """The charge of a request asked before, with one more retry counted.

        For a new request, the account as it stands. Raises RequestIdReused for another digest,
        RetriesExhausted beyond MAX_RETRIES, and TooManyUnpaid where the charge is unpaid, its
        challenge has expired, and its place was taken.
        """
        ...

    def ask(
        self, client: str, request_id: str, digest: bytes, images: int, cost: int
    ) -> Future[Charge]:
        """Charges a batch once, and prices it. Asking the same again returns the same charge.

        Raises RequestIdReused for another digest, TooManyUnpaid beyond MAX_UNPAID.
        """
        ...

    def settle(self, client: str, request_id: str) -> Future[None]:
        """Marks a charge as paid; settling again changes nothing. Raises NothingToRedeem."""
        ...

    def account(self, client: str) -> Future[Account]:
        """The client's account; an empty one for a client never seen."""
        ...

    def close(self) -> None:
        """Finishes what was asked and lets go of the back end."""
        ...
