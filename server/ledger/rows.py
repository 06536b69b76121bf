"""Reading and writing accounts and charges in the ledger's SQLite file, inside a transaction."""

import json
import sqlite3
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pow.puzzle import Puzzle
from server.ledger import DIGEST_BYTES, Account, Batch, Charge
from server.ledger.rules import period

PRUNED = 1_000
"""Most charges deleted at a time: a request never waits for more."""


_IMAGE = struct.Struct(f"<{DIGEST_BYTES}sQ")
"""Digest and cost of an image, as `waiting` holds them one after the other."""


class Key(NamedTuple):
    """Which charge: the primary key of `charges`."""

    client: str
    books: str
    request_id: str


_CHARGE = (
    "digest, images, cost, work, algorithm, bits, count, retries, waiting, paid, issued, expires"
)


def find(db: sqlite3.Connection, key: Key, now: float) -> Charge | None:
    """The charge of a request, if there is one, with its account."""
    row = db.execute(
        f"SELECT {_CHARGE} FROM charges WHERE client = ? AND books = ? AND request_id = ?", key
    ).fetchone()
    if row is None:
        return None
    digest, images, cost, work, *puzzle, retries, waiting, paid, issued, expires = row
    return Charge(
        request_id=key.request_id,
        digest=digest,
        images=images,
        cost=cost,
        work=work,
        puzzle=Puzzle(*puzzle),
        retries=retries,
        waiting=_batch(waiting) if waiting else None,
        paid=bool(paid),
        issued=issued,
        expires=expires,
        account=account(db, key, now),
    )


def store(db: sqlite3.Connection, key: Key, charge: Charge) -> None:
    """Writes a charge, new or changed, and its account, whose unpaid batches the charges tell."""
    puzzle, account = charge.puzzle, charge.account
    batch = charge.waiting or Batch((), ())
    images = zip(batch.digests, batch.costs, strict=True)
    db.execute(
        f"INSERT OR REPLACE INTO charges (client, books, request_id, {_CHARGE})"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *key,
            *(charge.digest, charge.images, charge.cost, charge.work),
            *(puzzle.algorithm, puzzle.bits, puzzle.count),
            charge.retries,
            b"".join(_IMAGE.pack(*image) for image in images),
            *(charge.paid, charge.issued, charge.expires),
        ),
    )
    db.execute(
        "INSERT OR REPLACE INTO accounts (client, books, charged, counted, cost, sums, entered,"
        " recent) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(key.client, key.books, account.charged, account.counted, account.cost),
            *(json.dumps(account.sums), account.entered, b"".join(account.recent)),
        ),
    )


def account(db: sqlite3.Connection, key: Key, now: float) -> Account:
    """The client's account; an empty one for a client never seen."""
    row = db.execute(
        "SELECT charged, counted, cost, sums, entered, recent FROM accounts"
        " WHERE client = ? AND books = ?",
        key[:2],
    ).fetchone()
    if row is None:
        return Account()
    (unpaid,) = db.execute(
        f"SELECT count(*) FROM charges WHERE {_UNPAID}", _open(key, now)
    ).fetchone()
    charged, counted, cost, sums, entered, recent = row
    return Account(
        charged=charged,
        unpaid=unpaid,
        counted=counted,
        cost=cost,
        sums=tuple(json.loads(sums)),
        entered=bool(entered),
        recent=tuple(digest for (digest,) in struct.iter_unpack(f"{DIGEST_BYTES}s", recent)),
    )


def waiting(db: sqlite3.Connection, key: Key, now: float) -> Iterator[Batch]:
    """Batches that can still be paid for and do not count yet; read when they are asked for."""
    found = db.execute(
        f"SELECT waiting FROM charges WHERE {_UNPAID} AND waiting <> x''", _open(key, now)
    )
    yield from (_batch(row) for (row,) in found)


_UNPAID = "client = ? AND books = ? AND paid = 0 AND issued <= ? AND expires >= ?"


def _open(key: Key, now: float) -> tuple[str, str, float, float]:
    """The parameters of _UNPAID: which charges can be redeemed."""
    return (key.client, key.books, *period(now))


def _batch(waiting: bytes) -> Batch:
    digests, costs = zip(*_IMAGE.iter_unpack(waiting), strict=True)
    return Batch(costs, digests)


def open_books(
    db: sqlite3.Connection, books: str, fingerprint: str, thresholds: Sequence[int]
) -> str:
    """Writes down what some books are about, so that a later server can settle in them.

    Returns the id of the ledger.
    """
    db.execute(
        "INSERT OR IGNORE INTO books VALUES (?, ?, ?)",
        (books, fingerprint, json.dumps(list(thresholds))),
    )
    (drawn,) = db.execute("SELECT id FROM ledger").fetchone()
    return str(drawn)


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
