"""The ledger: what every client has asked, what it cost, what is still unpaid.

Charged when the answer is computed, credited when it is redeemed. Between the two a batch may only
raise a price: it counts at once where it is more expensive than an honest one and does not dilute
an account that is more expensive still, and otherwise not before it is paid for; but the price of
the next one is never less than if it counted. `server.ledger.rules` says so in code, for every back
end.

Privacy costs are int64 nano-units throughout, so that sums are exact.
"""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from itertools import product
from typing import Protocol

from pow.puzzle import Puzzle

NANO = 10**9
"""Nano-units of one unit of privacy cost."""

WINDOWS = (64, 512, 4096)
"""Images after which a window has forgotten all but 1/e of what it saw."""

MAX_RETRIES = 5
"""Times the same request may be asked again."""

MAX_UNPAID = 8
"""Batches an account may leave unredeemed at a time."""

RECENT = 64
"""Images that an account remembers: asked again, they reveal nothing and do not count again."""

DIGEST_BYTES = 16
"""Length of an image's digest in the ledger: long enough that no two images share one."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The images of one request: the privacy cost of each in nano-units, and its digest.

    Raises ValueError for digests of another length, or more or fewer than costs.
    """

    costs: tuple[int, ...]
    digests: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if len(self.costs) != len(self.digests):
            raise ValueError(f"{len(self.digests)} digests for {len(self.costs)} costs")
        if any(len(digest) != DIGEST_BYTES for digest in self.digests):
            raise ValueError(f"a digest is not of {DIGEST_BYTES} bytes")

    def __len__(self) -> int:
        return len(self.costs)

    @property
    def cost(self) -> int:
        """Nano-units of all images."""
        return sum(self.costs)

    def scores(self, thresholds: Sequence[int]) -> tuple[int, ...]:
        """The cost, and by how much the images lie above each threshold: nano-units, summed."""
        above = (sum(max(0, cost - low) for cost in self.costs) for low in thresholds)
        return (self.cost, *above)

    def beyond(self, recent: tuple[bytes, ...]) -> "Batch":
        """The images that are not among `recent`, each once."""
        known, new = set(recent), dict[bytes, int]()
        for digest, cost in zip(self.digests, self.costs, strict=True):
            if digest not in known:
                new.setdefault(digest, cost)
        return Batch(tuple(new.values()), tuple(new))


@dataclass(frozen=True, slots=True)
class Account:
    """What a price depends on. `charged` is every image asked; the rest is what counts.

    `sums` has, score by score, the exponentially forgetting sums over WINDOWS: each image
    multiplies one by a = 1 - 1/window and adds its score. The weight of such a sum is
    window * (1 - a^counted), a function of the number of images alone, so one number is enough.
    Scores are set by the tariff's thresholds; without any image there are none yet.
    """

    charged: int = 0  # images asked, paid or not
    unpaid: int = 0  # batches not redeemed, whose challenge has not expired
    counted: int = 0  # images that count towards the price
    cost: int = 0  # nano-units of those images
    sums: tuple[float, ...] = ()  # nano-units, len(WINDOWS) for each score
    entered: bool = False  # has paid for a batch, and with the first one the work of entry
    recent: tuple[bytes, ...] = ()  # digests of the images that counted last

    def counting(self, images: int, *scores: int) -> "Account":
        """The account after so many more images count, with these sums of their scores.

        The first score is the cost; all in nano-units, as many as ever before.
        """
        before = self.sums or (0.0,) * (len(WINDOWS) * len(scores))
        sums = []
        for (score, window), total in zip(product(scores, WINDOWS), before, strict=True):
            kept = (1 - 1 / window) ** images
            sums.append(total * kept + score / images * window * (1 - kept))
        counted, cost = self.counted + images, self.cost + scores[0]
        return replace(self, counted=counted, cost=cost, sums=tuple(sums))

    def with_batch(self, batch: Batch, thresholds: Sequence[int] = ()) -> "Account":
        """The account after those images count that it does not remember.

        By their cost, and by how much of it lies above each threshold (nano-units). It remembers
        the last RECENT it saw: an image that is shown again and again, as by a health probe,
        counts once.
        """
        new = batch.beyond(self.recent)
        counting = self
        if len(new):
            counting = self.counting(len(new), *new.scores(thresholds))
        shown = set(batch.digests)
        before = [digest for digest in self.recent if digest not in shown]
        recent = (*before, *dict.fromkeys(batch.digests))[-RECENT:]
        return replace(counting, recent=recent)


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """One request as the ledger holds it; while it can be paid, a retry sees the same price."""

    request_id: str
    digest: bytes  # of the inputs
    images: int
    cost: int  # nano-units, the whole batch
    work: int  # expected hashes
    puzzle: Puzzle  # which stands for the work
    retries: int = 0
    waiting: Batch | None  # what does not count yet
    paid: bool = False
    issued: float  # Unix seconds: when its latest challenge was
    expires: int  # Unix seconds: when that challenge does
    account: Account  # as it stands


@dataclass(frozen=True, slots=True)
class Payment:
    """What a solved challenge pays for: it settles this charge and no other."""

    books: str
    request_id: str
    digest: bytes
    puzzle: Puzzle


class Tariff(Protocol):
    """What the rules ask of prices."""

    @property
    def thresholds(self) -> Sequence[int]:
        """Nano-units: an account keeps what lies above each of them, besides the cost."""
        ...

    def counts_at_once(self, before: Account, after: Account) -> bool:
        """Whether a batch counts before it is paid for; `after` is the account with it counted.

        So does one that is more expensive than an honest one, and raises the price.
        """
        ...

    def work(self, account: Account, images: int) -> int:
        """Expected hashes for `images` images, given the account with them counted.

        An account that has not entered pays its entry with them.
        """
        ...

    def puzzle(self, work: int, images: int, account: Account) -> Puzzle:
        """The puzzle that stands for `work` expected hashes, asked of an account for `images`."""
        ...


class Ledger(Protocol):
    """Charges by (client, books, request id). Every method is atomic; its future waits for commit.

    A charge is then on disk, whatever happens to process or power. All futures raise
    LedgerUnavailable where the back end cannot answer. What is charged is in `server.ledger.rules`.
    """

    id: str
    """16 hex digits, drawn when the ledger was made."""
    books: str
    """16 hex digits: which accounts of this ledger are meant."""

    def recall(self, client: str, request_id: str, digest: bytes) -> Future[Charge | Account]:
        """The charge of a request asked before, with one more retry counted (`rules.retry`).

        For a new request, the account as it stands.
        """
        ...

    def ask(self, client: str, request_id: str, digest: bytes, batch: Batch) -> Future[Charge]:
        """Charges a batch once, and prices it (`rules.charge`).

        Asking the same again returns the same charge. Raises RequestIdReused, TooManyUnpaid.
        """
        ...

    def settle(self, client: str, payment: Payment) -> Future[bool]:
        """Marks a charge as paid (`rules.settle`); False where it was paid before.

        The charge may be one of other books of this ledger. Raises NothingToRedeem.
        """
        ...

    def account(self, client: str) -> Future[Account]:
        """The client's account; an empty one for a client never seen."""
        ...

    def prune(self) -> Future[int]:
        """Deletes charges that ended longer ago than they are kept, some at a time; how many.

        A back end does so by itself, too.
        """
        ...

    def close(self) -> None:
        """Finishes what was asked and closes the back end."""
        ...
