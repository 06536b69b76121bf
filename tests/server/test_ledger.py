"""The ledger in SQLite: the contract, and what it adds: files, processes, a full disk."""

import contextlib
import itertools
import multiprocessing
import random
import shutil
import signal
import sqlite3
import time
from dataclasses import replace

import pytest
from ledger_contract import LedgerContract
from ledgers import HONEST, Client, Clock, FixedTariff, Flat, Tail, batch

from server.ledger import NANO, Account
from server.ledger.sqlite import RETENTION, SqliteLedger
from server.refusals import LedgerUnavailable


def opened(path, *, clock=None, tariff=None, fingerprint="f"):
    return SqliteLedger(
        path, fingerprint=fingerprint, tariff=tariff or FixedTariff(), clock=clock or Clock()
    )


class TestInMemory(LedgerContract):
    def open_ledger(self, tmp_path, **given):
        return opened(":memory:", **given)


class TestInFile(LedgerContract):
    def open_ledger(self, tmp_path, **given):
        return opened(tmp_path / "ledger.db", **given)

    def test_charges_are_flushed_to_disk_and_settlements_need_not_be(self, anne):
        said: list[str] = []
        anne.ledger._submit(lambda db: db.set_trace_callback(said.append)).result()
        levels = []
        right = anne.payment("r1")
        for call in (
            lambda: anne.ask("r2"),
            lambda: anne.ledger.settle("anne", right).result(),
            lambda: anne.ask("r3"),
        ):
            said.clear()
            call()
            assert anne.account  # the trace of the commit is complete
            levels.append(next(line for line in said if "synchronous" in line).split()[-1])
        assert levels == ["FULL", "NORMAL", "FULL"]

    def test_what_was_charged_is_there_after_reopening_under_the_same_fingerprint(
        self, tmp_path, anne
    ):
        account = anne.ask("r1", 7, 70 * HONEST).account
        anne.ledger.close()
        for fingerprint, expected in (("f", account), ("g", Account())):
            again = self.open_ledger(tmp_path, fingerprint=fingerprint)
            assert again.account("anne").result() == expected
            assert again.id == anne.ledger.id
            again.close()

    def test_solved_work_survives_a_restart_with_other_prices(self, tmp_path, client):
        before = client(Tail())
        before.ask("r1", 2, 8 * NANO)
        solved = before.payment("r1")
        before.ledger.close()
        second = Client(self.open_ledger(tmp_path, fingerprint="g"))
        second.ask("r1", 7, 70 * HONEST)
        assert second.ledger.settle("anne", solved).result()
        assert second.account.unpaid == 1  # its own charge is not paid by it
        second.ledger.close()
        account = client(Tail()).account
        assert (account.counted, account.unpaid, account.entered) == (2, 0, True)
        assert account.sums == Account().counting(2, 8 * NANO, 2 * NANO).sums

    def test_every_file_has_an_id_of_its_own_and_only_its_owner_can_read_it(self, tmp_path, anne):
        other = tmp_path / "other"
        other.mkdir()
        (other / "ledger.db").touch(0o644)
        ledger = self.open_ledger(other)
        Client(ledger).ask("r1")
        modes = {path.name: path.stat().st_mode & 0o777 for path in other.iterdir()}
        assert ledger.id != anne.ledger.id
        ledger.close()
        assert modes == dict.fromkeys(("ledger.db", "ledger.db-wal", "ledger.db-shm"), 0o600)

    @pytest.mark.parametrize("name", ["ledger.db", "ledger.db-wal"])
    @pytest.mark.parametrize("replaced", [False, True])
    def test_a_file_that_is_removed_or_replaced_is_noticed(self, tmp_path, anne, name, replaced):
        anne.ask("r1")
        (tmp_path / name).rename(tmp_path / "kept")
        if replaced:
            shutil.copy(tmp_path / "kept", tmp_path / name)
        for _ in range(2):
            with pytest.raises(LedgerUnavailable) as caught:
                anne.ask("r2")
            assert ("was replaced" if replaced else "is gone") in str(caught.value.__cause__)

    def test_it_prunes_when_it_is_opened_and_while_it_works(self, client, clock, monkeypatch):
        """More ends in a busy minute than one round deletes: the next one follows soon."""
        monkeypatch.setattr("server.ledger.sqlite.PRUNE_SECONDS", 0.0)
        anne = client()
        for number in range(2):
            anne.ask(f"r{number}")
            clock.now += RETENTION + 601
            assert anne.account == anne.account  # the second after what the first one set off
            assert anne.ledger._submit(_charges).result() == 0
        monkeypatch.setattr("server.ledger.rows.PRUNED", 2)
        monkeypatch.setattr("server.ledger.writer.BEHIND_SECONDS", 0.0)
        for number in range(6):
            anne.ask(f"r{number}")
        anne.ledger.close()
        clock.now += RETENTION + 601
        ledger = client().ledger
        left = [ledger._submit(_charges).result() for _ in range(4)]
        assert left[-1] == 0  # after one round for each job

    def test_a_full_disk_refuses_and_keeps_what_was_charged(self, client):
        anne = replace(client(Flat(hashes=0)), digest=b"d" * 4_000)
        anne.ledger._submit(lambda db: db.execute("PRAGMA max_page_count = 30")).result()
        done = 0
        with contextlib.suppress(LedgerUnavailable):
            for done in range(100):
                anne.ask(f"r{done}")
        assert 0 < done < 99
        assert anne.account.charged == done

    def test_a_locked_file_refuses(self, tmp_path, client, monkeypatch):
        monkeypatch.setattr("server.ledger.writer.BUSY_SECONDS", 0.05)
        anne = client()
        other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerUnavailable):
            anne.ask("r1")
        other.execute("ROLLBACK")
        other.close()
        assert anne.ask("r1").account.charged == 1

    def test_what_is_no_ledger_of_this_version_cannot_be_opened(self, tmp_path):
        with sqlite3.connect(tmp_path / "ledger.db") as db:
            db.execute("CREATE TABLE accounts (client TEXT)")
        db.close()
        with pytest.raises(LedgerUnavailable, match="its version is 0, expected 3; give a new"):
            self.open_ledger(tmp_path)
        (tmp_path / "ledger.db").write_bytes(b"not a database, but a text that is long enough" * 9)
        with pytest.raises(LedgerUnavailable, match=r"ledger\.db cannot be opened"):
            self.open_ledger(tmp_path)
        with pytest.raises(LedgerUnavailable, match="cannot be opened"):
            self.open_ledger(tmp_path / "missing")

    @pytest.mark.process
    def test_processes_at_once_charge_every_request_exactly_once(self, tmp_path):
        """They open the new file at once, too."""
        path = tmp_path / "ledger.db"
        assert _exits(*(_forked(_charge, path, 40) for _ in range(4))) == [0] * 4
        account = Client(self.open_ledger(tmp_path)).account
        assert (account.charged, account.counted) == (40, 40)

    @pytest.mark.process
    def test_kill_9_loses_no_acknowledged_charge(self, tmp_path):
        """Twenty times: a process that serves the ledger is killed at a random moment."""
        chance, path, acknowledged = random.Random(7), tmp_path / "ledger.db", set()
        for life in range(20):
            here, there = multiprocessing.Pipe(duplex=False)
            worker = _forked(_serve, path, life, there)
            there.close()
            acknowledged |= {here.recv() for _ in range(chance.randrange(1, 60))}
            worker.kill()
            try:
                while True:
                    acknowledged.add(here.recv())
            except (EOFError, OSError):  # the last message may be cut
                pass
            assert _exits(worker) == [-signal.SIGKILL]
        account = Client(self.open_ledger(tmp_path)).account
        with sqlite3.connect(path) as db:
            rows = {row[0] for row in db.execute("SELECT request_id FROM charges")}
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        db.close()
        assert len(acknowledged) >= 20
        assert acknowledged <= rows
        assert account.charged == len(rows)  # rows and balance never part


def _charges(db) -> int:
    return db.execute("SELECT count(*) FROM charges").fetchone()[0]


def _forked(target, *given):
    worker = multiprocessing.get_context("fork").Process(target=target, args=given)
    worker.start()
    return worker


def _exits(*workers):
    for worker in workers:
        worker.join(60)
    return [worker.exitcode for worker in workers]


def _charge(path, requests):
    anne = Client(opened(path))
    for number in range(requests):
        anne.ask(f"r{number}")
        anne.pay(f"r{number}")
    anne.ledger.close()


def _serve(path, life, told):
    """Tells of each charge once it is durable, until it is killed."""
    ledger = opened(path, tariff=Flat(hashes=0), clock=time.time)
    for number in itertools.count():
        # Several at once, so that kills also fall into the midst of a group commit.
        names = [f"{life}-{number}-{part}" for part in range(4)]
        futures = [ledger.ask("anne", name, b"d", batch(1, NANO)) for name in names]
        for name, future in zip(names, futures, strict=True):
            future.result()
            told.send(name)
