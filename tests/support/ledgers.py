"""What tests of ledgers need: batches, a clock, tariffs, and a client that asks and pays."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import count

from pow.puzzle import Puzzle, puzzle_for
from server.ledger import DIGEST_BYTES, NANO, Account, Batch, Charge, Payment
from server.puzzles import Puzzles

_numbers = count()

HONEST = 1 * NANO  # nano-units an honest image costs


def batch(images: int, cost: int) -> Batch:
    """Images never seen before, of together `cost` nano-units."""
    each, rest = divmod(cost, images)
    return Batch(
        (each + rest, *[each] * (images - 1)),
        tuple(next(_numbers).to_bytes(DIGEST_BYTES, "big") for _ in range(images)),
    )


@dataclass
class Clock:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class FixedTariff:
    """1 000 hashes an image, or another price, once something counts."""

    price: Callable[[Account, int], int] = lambda account, images: 1_000 * images

    thresholds = ()

    def counts_at_once(self, before: Account, after: Account) -> bool:
        expensive = after.cost - before.cost > HONEST * (after.counted - before.counted)
        return expensive and after.cost * max(before.counted, 1) > before.cost * after.counted

    def work(self, account: Account, images: int) -> int:
        assert account.counted > 0  # priced with the batch counted in
        return self.price(account, images)

    def puzzle(self, work: int, images: int, account: Account) -> Puzzle:
        return puzzle_for(work)


@dataclass(frozen=True)
class Flat(FixedTariff):
    """The same work for every batch, which counts at once."""

    hashes: int = 64
    algorithm: str = "sha1"

    def counts_at_once(self, before: Account, after: Account) -> bool:
        return True

    def work(self, account: Account, images: int) -> int:
        return self.hashes

    def puzzle(self, work: int, images: int, account: Account) -> Puzzle:
        return Puzzles(self.algorithm).choose(work, Fraction(work * 64, images))


@dataclass(frozen=True)
class Steps(FixedTariff):
    """Ten images that count double the price; nothing counts before it is paid for."""

    price: Callable[[Account, int], int] = lambda account, n: n * 1_000 << account.counted // 10

    def counts_at_once(self, before: Account, after: Account) -> bool:
        return False


class Tail(FixedTariff):
    """What lies above three honest images counts by itself, too."""

    thresholds = (3 * NANO,)


@dataclass(frozen=True)
class Client:
    """One client of a ledger. All its requests are for the inputs `digest`."""

    ledger: object
    name: str = "anne"
    digest: bytes = b"d"

    def ask(self, request_id: str, images: int | Batch = 1, cost: int = NANO) -> Charge:
        asked = images if isinstance(images, Batch) else batch(images, cost)
        return self.ledger.ask(self.name, request_id, self.digest, asked).result()

    def again(self, request_id: str) -> Charge | Account:
        return self.ledger.recall(self.name, request_id, self.digest).result()

    def payment(self, request_id: str) -> Payment:
        """What a solved challenge of a charge says."""
        return Payment(self.ledger.books, request_id, self.digest, self.ask(request_id).puzzle)

    def pay(self, request_id: str) -> bool:
        """Whether the payment was new."""
        return self.ledger.settle(self.name, self.payment(request_id)).result()

    @property
    def account(self) -> Account:
        return self.ledger.account(self.name).result()
