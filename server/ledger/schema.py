"""What the ledger's SQLite file holds: tables and their version."""

import sqlite3
import time

from server.refusals import LedgerUnavailable

VERSION = 3
"""Of the schema, kept in the file; from one to another there is no way but a new file."""

SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS ledger (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    id TEXT NOT NULL           -- 16 hex digits, random: challenges name it
) WITHOUT ROWID;
INSERT OR IGNORE INTO ledger VALUES (1, lower(hex(randomblob(8))));
CREATE TABLE IF NOT EXISTS books (
    books TEXT PRIMARY KEY,    -- 16 hex digits: accounts under one model, policy and thresholds
    fingerprint TEXT NOT NULL, -- of those, in full
    thresholds TEXT NOT NULL   -- JSON: nano-units; what `sums` of the accounts are about
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS accounts (
    client TEXT NOT NULL, books TEXT NOT NULL,
    charged INTEGER NOT NULL,  -- images asked
    counted INTEGER NOT NULL,  -- images that count towards the price
    cost INTEGER NOT NULL,     -- nano-units of the counted images
    sums TEXT NOT NULL,        -- JSON: forgetting sums, score by score
    entered INTEGER NOT NULL,  -- 1 once a batch was paid for
    recent BLOB NOT NULL,      -- digests of the images that counted last
    PRIMARY KEY (client, books)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS charges (
    client TEXT NOT NULL, books TEXT NOT NULL, request_id TEXT NOT NULL,
    digest BLOB NOT NULL, images INTEGER NOT NULL, cost INTEGER NOT NULL, work INTEGER NOT NULL,
    algorithm TEXT NOT NULL, bits INTEGER NOT NULL, count INTEGER NOT NULL,  -- the puzzle
    retries INTEGER NOT NULL,
    waiting BLOB NOT NULL,     -- digest and cost of each image, nothing once they count
    paid INTEGER NOT NULL,
    issued REAL NOT NULL,      -- when its youngest challenge was, unix seconds
    expires INTEGER NOT NULL,  -- when its youngest challenge does
    PRIMARY KEY (client, books, request_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS unpaid ON charges (client, books, expires) WHERE paid = 0;
CREATE INDEX IF NOT EXISTS ending ON charges (expires);
PRAGMA user_version = {VERSION};
COMMIT;
"""


def write_ahead(db: sqlite3.Connection, patience: float) -> None:
    """Switches a new file to WAL; this one statement does not wait for others by itself.

    `patience` in seconds. Raises sqlite3.OperationalError.
    """
    until = time.monotonic() + patience
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)


def check_version(db: sqlite3.Connection) -> None:
    """Raises LedgerUnavailable for a ledger of another version."""
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if tables and version != VERSION:
        raise LedgerUnavailable(f"its version is {version}, expected {VERSION}; give a new file")
