"""A process that only serves a ledger, to be killed: prints each charge once it is durable."""

import itertools
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from ledgers import batch

from pow.puzzle import Puzzle, puzzle_for
from server.ledger import NANO, Account
from server.ledger.sqlite import SqliteLedger


class NoPrice:
    thresholds = ()

    def counts_at_once(self, before: Account, after: Account) -> bool:
        return True

    def work(self, account: Account, images: int) -> int:
        return 0

    def puzzle(self, work: int, images: int, account: Account) -> Puzzle:
        return puzzle_for(work)


def main() -> None:
    path, life = sys.argv[1:]
    ledger = SqliteLedger(path, fingerprint="f", tariff=NoPrice(), clock=time.time)
    for number in itertools.count():
        # Several at once, so that kills also fall into the midst of a group commit.
        names = [f"{life}-{number}-{part}" for part in range(4)]
        futures = [ledger.ask("anne", name, b"d", batch(1, NANO)) for name in names]
        for name, future in zip(names, futures, strict=True):
            future.result()
            sys.stdout.write(f"{name}\n")
            sys.stdout.flush()


main()
