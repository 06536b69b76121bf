"""Reading and writing accounts and charges in the ledger's SQLite file, inside a transaction."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pow.puzzle import Puzzle
from server.ledger import DIGEST_BYTES, Account, Batch, Charge
from server.ledger.rules import period
from server.ledger.schema import cut, packed, unpacked

PRUNED = 1_000
"""Most charges deleted at a time: a request never waits for more."""


class Key(NamedTuple):
    """Which charge: the primary key of `charges`."""

    client: str
    books: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Row:
    """One charge as it is stored."""

    digest: bytes
    images: int
    cost: int
    work: int
    puzzle: Puzzle
    retries: int
    waiting: Batch | None  # until it counts
    paid: bool
    issued: float
    expires: int

    def open_at(self, now: float) -> bool:
        """Whether its challenge can be redeemed."""
        latest_issue, earliest_expiry = period(now)
        return self.issued <= latest_issue and self.expires >= earliest_expiry

    def charge(self, account: Account) -> Charge:
        """The charge, with the account as it stands."""
        return Charge(
            images=self.images,
            cost=self.cost,
            work=self.work,
            puzzle=self.puzzle,
            paid=self.paid,
            retries=self.retries,
            expires=self.expires,
            account=account,
        )


_WHERE = "WHERE client = ? AND books = ? AND request_id = ?"


def find(db: sqlite3.Connection, key: Key) -> Row | None:
    """The charge of a request, if there is one."""
    row = db.execute(
        "SELECT digest, images, cost, work, algorithm, bits, count, retries, waiting, paid, issued,"
        f" expires FROM charges {_WHERE}",
        key,
    ).fetchone()
    if row is None:
        return None
    digest, images, cost, work, algorithm, bits, count, retries, waiting, paid, issued, expires = (
        row
    )
    return Row(
        digest=digest,
        images=images,
        cost=cost,
        work=work,
        puzzle=Puzzle(algorithm, bits, count),
        retries=retries,
        waiting=unpacked(waiting) if waiting else None,
        paid=bool(paid),
        issued=issued,
        expires=expires,
    )


def store(db: sqlite3.Connection, key: Key, row: Row) -> None:
    """Writes a charge, new or changed."""
    db.execute(
        "INSERT OR REPLACE INTO charges VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *key,
            row.digest,
            row.images,
            row.cost,
            row.work,
            row.puzzle.algorithm,
            row.puzzle.bits,
            row.puzzle.count,
            row.retries,
            b"" if row.waiting is None else packed(row.waiting),
            row.paid,
            row.issued,
            row.expires,
        ),
    )


def account(db: sqlite3.Connection, client: str, books: str, now: float) -> Account:
    """The client's account; an empty one for a client never seen."""
    row = db.execute(
        "SELECT charged, counted, cost, sums, entered, recent FROM accounts"
        " WHERE client = ? AND books = ?",
        (client, books),
    ).fetchone()
    if row is None:
        return Account()
    (unpaid,) = db.execute(
        "SELECT count(*) FROM charges"
        " WHERE client = ? AND books = ? AND paid = 0 AND issued <= ? AND expires >= ?",
        (client, books, *period(now)),
    ).fetchone()
    charged, counted, cost, sums, entered, recent = row
    return Account(
        charged,
        unpaid,
        counted,
        cost,
        tuple(json.loads(sums)),
        bool(entered),
        tuple(cut(recent, DIGEST_BYTES)),
    )


def store_account(db: sqlite3.Connection, client: str, books: str, account: Account) -> None:
    """Writes an account; its unpaid batches are counted from the charges."""
    db.execute(
        "INSERT OR REPLACE INTO accounts VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            client,
            books,
            account.charged,
            account.counted,
            account.cost,
            json.dumps(account.sums),
            account.entered,
            b"".join(account.recent),
        ),
    )


def waiting(db: sqlite3.Connection, client: str, books: str, now: float) -> list[Batch]:
    """Batches that can still be paid for and do not count yet."""
    rows = db.execute(
        "SELECT waiting FROM charges WHERE client = ? AND books = ? AND paid = 0"
        " AND issued <= ? AND expires >= ? AND waiting <> x''",
        (client, books, *period(now)),
    )
    return [unpacked(waiting) for (waiting,) in rows]


def ledger_id(db: sqlite3.Connection) -> str:
    """16 hex digits, drawn when the file was made."""
    (drawn,) = db.execute("SELECT id FROM ledger").fetchone()
    return str(drawn)


def name_books(
    db: sqlite3.Connection, books: str, fingerprint: str, thresholds: Sequence[int]
) -> None:
    """Writes down what some books are about, so that a later server can settle in them."""
    db.execute(
        "INSERT OR IGNORE INTO books VALUES (?, ?, ?)",
        (books, fingerprint, json.dumps(list(thresholds))),
    )


def thresholds_of(db: sqlite3.Connection, books: str) -> tuple[int, ...]:
    """The thresholds of some books, in nano-units; none for unknown books."""
    row = db.execute("SELECT thresholds FROM books WHERE books = ?", (books,)).fetchone()
    return () if row is None else tuple(json.loads(row[0]))


def prune(db: sqlite3.Connection, before: float) -> int:
    """Deletes charges whose challenge expired before a time (Unix seconds); returns how many."""
    return db.execute(
        "DELETE FROM charges WHERE (client, books, request_id) IN"
        " (SELECT client, books, request_id FROM charges WHERE expires < ? LIMIT ?)",
        (before, PRUNED),
    ).rowcount
