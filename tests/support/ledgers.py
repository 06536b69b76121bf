"""What tests of ledgers need: batches, a clock, tariffs, payments."""

from dataclasses import dataclass
from itertools import count

from pow.puzzle import Puzzle, puzzle_for
from server.ledger import DIGEST_BYTES, NANO, Account, Batch, Payment

_numbers = count()


def batch(images: int, cost: int) -> Batch:
    """Images never seen before, of together `cost` nano-units."""
    each, rest = divmod(cost, images)
    return Batch(
        (each + rest, *[each] * (images - 1)),
        tuple(next(_numbers).to_bytes(DIGEST_BYTES, "big") for _ in range(images)),
    )


HONEST = 1 * NANO  # nano-units an honest image costs


@dataclass
class Clock:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class FixedTariff:
    """1 000 hashes an image once something counts; `free` asks for nothing."""

    free: bool = False

    thresholds = ()

    def counts_at_once(self, before: Account, after: Account) -> bool:
        expensive = after.cost - before.cost > HONEST * (after.counted - before.counted)
        return expensive and after.cost * max(before.counted, 1) > before.cost * after.counted

    def work(self, account: Account, images: int) -> int:
        assert account.counted > 0  # priced with the batch counted in
        return 0 if self.free else 1_000 * images

    def puzzle(self, work: int, images: int, account: Account) -> Puzzle:
        return puzzle_for(work)


class Steps(FixedTariff):
    """Ten images that count double the price; nothing counts before it is paid for."""

    def counts_at_once(self, before: Account, after: Account) -> bool:
        return False

    def work(self, account: Account, images: int) -> int:
        return images * 1_000 << account.counted // 10


def payment(ledger, client, request_id, digest=b"d") -> Payment:
    """What a solved challenge of a charge says."""
    charge = ledger.ask(client, request_id, digest, batch(1, 1)).result()
    return Payment(ledger.books, request_id, digest, charge.puzzle)


def pay(ledger, client, request_id, digest=b"d") -> bool:
    """Whether the payment was new."""
    return ledger.settle(client, payment(ledger, client, request_id, digest)).result()
