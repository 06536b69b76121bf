"""The ledger in SQLite: the contract, and what it adds: files, processes, a full disk."""

import multiprocessing
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_contract import LedgerContract
from ledgers import HONEST, Clock, FixedTariff, batch, pay, payment

from pow.puzzle import puzzle_for
from server.ledger import DIGEST_BYTES, NANO, RECENT, WINDOWS, Account, Batch, Payment
from server.ledger.sqlite import RETENTION, SqliteLedger
from server.refusals import LedgerUnavailable


class TestInMemory(LedgerContract):
    def open_ledger(self, tmp_path, *, clock=None, tariff=None, fingerprint="f"):
        return SqliteLedger(
            ":memory:",
            fingerprint=fingerprint,
            tariff=tariff or FixedTariff(),
            clock=clock or Clock(),
        )


class TestInFile(LedgerContract):
    def open_ledger(self, tmp_path, *, clock=None, tariff=None, fingerprint="f"):
        return SqliteLedger(
            tmp_path / "ledger.db",
            fingerprint=fingerprint,
            tariff=tariff or FixedTariff(),
            clock=clock or Clock(),
        )

    def test_what_was_charged_is_there_after_reopening(self, tmp_path, clock):
        ledger = self.open_ledger(tmp_path, clock=clock)
        ledger.ask("anne", "r1", b"d", batch(7, 70 * HONEST)).result()
        account = ledger.account("anne").result()
        ledger.close()
        ledger = self.open_ledger(tmp_path, clock=clock)
        assert ledger.account("anne").result() == account
        ledger.close()

    def test_charges_are_flushed_to_disk_and_settlements_need_not_be(self, ledger):
        said: list[str] = []
        ledger._submit(lambda db: db.set_trace_callback(said.append)).result()
        levels = []
        for call in (
            lambda: ledger.ask("anne", "r1", b"d", batch(1, NANO)),
            lambda: ledger.settle("anne", Payment(ledger.books, "r1", b"d", puzzle_for(1_000))),
            lambda: ledger.ask("anne", "r2", b"d", batch(1, NANO)),
        ):
            said.clear()
            call().result()
            ledger.account("anne").result()  # the trace of the commit is complete
            levels.append(next(line for line in said if "synchronous" in line).split()[-1])
        assert levels == ["FULL", "NORMAL", "FULL"]

    def test_accounts_of_another_calibration_are_apart(self, tmp_path, clock):
        first = self.open_ledger(tmp_path, clock=clock)
        first.ask("anne", "r1", b"d", batch(7, NANO)).result()
        second = self.open_ledger(tmp_path, clock=clock, fingerprint="g")
        assert second.account("anne").result() == Account()
        first.close()
        second.close()

    def test_solved_work_survives_a_restart_with_other_prices(self, tmp_path, clock):
        class Tail(FixedTariff):
            thresholds = (NANO // 2,)

        first = self.open_ledger(tmp_path, clock=clock, tariff=Tail())
        first.ask("anne", "r1", b"d", batch(7, 7 * NANO)).result()
        solved = payment(first, "anne", "r1")
        first.close()
        second = self.open_ledger(tmp_path, clock=clock, fingerprint="g")
        second.ask("anne", "r1", b"d", batch(7, 70 * HONEST)).result()
        assert second.id == first.id
        assert second.settle("anne", solved).result()
        assert second.account("anne").result().unpaid == 1  # its own charge is not paid by it
        second.close()
        first = self.open_ledger(tmp_path, clock=clock, tariff=Tail())
        account = first.account("anne").result()
        assert (account.counted, account.unpaid, account.entered) == (7, 0, True)
        assert account.sums == Account().counting(7, 7 * NANO, 7 * NANO // 2).sums
        first.close()

    def test_every_file_has_an_id_of_its_own(self, tmp_path):
        names = set()
        for folder in ("a", "b"):
            (tmp_path / folder).mkdir()
            ledger = self.open_ledger(tmp_path / folder)
            names.add(ledger.id)
            ledger.close()
        assert len(names) == 2

    def test_only_its_owner_can_read_it(self, tmp_path):
        (tmp_path / "ledger.db").touch(0o644)
        ledger = self.open_ledger(tmp_path)
        ledger.ask("anne", "r1", b"d", batch(1, NANO)).result()
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
        ledger.close()
        assert modes == dict.fromkeys(("ledger.db", "ledger.db-wal", "ledger.db-shm"), 0o600)

    @pytest.mark.parametrize("name", ["ledger.db", "ledger.db-wal"])
    @pytest.mark.parametrize("replaced", [False, True])
    def test_a_file_that_is_removed_or_replaced_is_noticed(self, tmp_path, name, replaced):
        ledger = self.open_ledger(tmp_path)
        ledger.ask("anne", "r1", b"d", batch(1, NANO)).result()
        (tmp_path / name).rename(tmp_path / "kept")
        if replaced:
            shutil.copy(tmp_path / "kept", tmp_path / name)
        for _ in range(2):
            with pytest.raises(LedgerUnavailable) as caught:
                ledger.ask("anne", "r2", b"d", batch(1, NANO)).result()
            assert ("was replaced" if replaced else "is gone") in str(caught.value.__cause__)
        ledger.close()

    def test_it_prunes_when_it_is_opened_and_while_it_works(self, tmp_path, clock, monkeypatch):
        monkeypatch.setattr("server.ledger.sqlite.PRUNE_SECONDS", 0.0)
        ledger = self.open_ledger(tmp_path, clock=clock)
        for number in range(2):
            ledger.ask("anne", f"r{number}", b"d", batch(1, NANO)).result()
            clock.now += RETENTION + 601
            ledger.account("anne").result()
            ledger.account("anne").result()  # after what the first one set off
            assert ledger._submit(_charges).result() == 0
        ledger.ask("anne", "r3", b"d", batch(1, NANO)).result()
        ledger.close()
        clock.now += RETENTION + 601
        ledger = self.open_ledger(tmp_path, clock=clock)
        assert ledger._submit(_charges).result() == 0
        ledger.close()

    def test_it_prunes_as_fast_as_it_is_asked(self, tmp_path, clock, monkeypatch):
        """More ends in a busy minute than one round deletes: the next one follows soon."""
        monkeypatch.setattr("server.ledger.rows.PRUNED", 2)
        monkeypatch.setattr("server.ledger.writer.BEHIND_SECONDS", 0.0)
        ledger = self.open_ledger(tmp_path, clock=clock)
        for number in range(6):
            ledger.ask("anne", f"r{number}", b"d", batch(1, NANO)).result()
        ledger.close()
        clock.now += RETENTION + 601
        ledger = self.open_ledger(tmp_path, clock=clock)
        left = [ledger._submit(_charges).result() for _ in range(4)]
        assert left[-1] == 0  # after one round for each job
        ledger.close()

    def test_nothing_that_can_be_redeemed_may_be_deleted(self, tmp_path):
        with pytest.raises(ValueError, match="retention is 86459 s; expected at least 86460 s"):
            SqliteLedger(
                ":memory:",
                fingerprint="f",
                tariff=FixedTariff(),
                clock=Clock(),
                retention=86_459,
            )

    def test_processes_at_once_charge_every_request_exactly_once(self, tmp_path):
        path = tmp_path / "ledger.db"
        SqliteLedger(path, fingerprint="f", tariff=FixedTariff(), clock=Clock()).close()
        context = multiprocessing.get_context("fork")
        workers = [context.Process(target=_charge_forty, args=(path,)) for _ in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert [worker.exitcode for worker in workers] == [0, 0, 0]
        ledger = SqliteLedger(path, fingerprint="f", tariff=FixedTariff(), clock=Clock())
        account = ledger.account("anne").result()
        ledger.close()
        assert (account.charged, account.counted) == (40, 40)

    def test_a_full_disk_refuses_and_keeps_what_was_charged(self, tmp_path, clock):
        ledger = self.open_ledger(tmp_path, clock=clock, tariff=FixedTariff(free=True))
        ledger._submit(lambda db: db.execute("PRAGMA max_page_count = 18")).result()
        asked = [
            ledger.ask("anne", f"r{number}", b"d" * 32, batch(1, NANO)) for number in range(5_000)
        ]
        errors = [future.exception() for future in asked]
        done = errors.count(None)
        assert 0 < done < len(asked)
        assert all(isinstance(error, LedgerUnavailable) for error in errors if error)
        assert ledger.account("anne").result().charged == done
        ledger.close()

    def test_a_locked_file_refuses(self, tmp_path, clock, monkeypatch):
        monkeypatch.setattr("server.ledger.writer.BUSY_SECONDS", 0.05)
        ledger = self.open_ledger(tmp_path, clock=clock)
        other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerUnavailable):
            ledger.ask("anne", "r1", b"d", batch(1, NANO)).result()
        other.execute("ROLLBACK")
        other.close()
        assert ledger.ask("anne", "r1", b"d", batch(1, NANO)).result().account.charged == 1
        ledger.close()

    def test_processes_may_open_a_new_file_at_once(self, tmp_path):
        context = multiprocessing.get_context("fork")
        for life in range(5):
            path = tmp_path / f"{life}.db"
            openers = [context.Process(target=_open_and_close, args=(path,)) for _ in range(6)]
            for opener in openers:
                opener.start()
            for opener in openers:
                opener.join()
            assert [opener.exitcode for opener in openers] == [0] * 6

    def test_a_ledger_of_another_version_cannot_be_opened(self, tmp_path):
        with sqlite3.connect(tmp_path / "ledger.db") as db:
            db.execute("CREATE TABLE accounts (client TEXT)")
        db.close()
        with pytest.raises(LedgerUnavailable, match="its version is 0, expected 3; give a new"):
            self.open_ledger(tmp_path)

    def test_what_is_no_ledger_cannot_be_opened(self, tmp_path):
        (tmp_path / "ledger.db").write_bytes(b"not a database, but a text that is long enough" * 9)
        with pytest.raises(LedgerUnavailable, match=r"ledger\.db cannot be opened"):
            self.open_ledger(tmp_path)
        with pytest.raises(LedgerUnavailable, match="cannot be opened"):
            self.open_ledger(tmp_path / "missing")


def _charges(db) -> int:
    return db.execute("SELECT count(*) FROM charges").fetchone()[0]


def _open_and_close(path):
    SqliteLedger(path, fingerprint="f", tariff=FixedTariff(), clock=Clock()).close()


def _charge_forty(path):
    ledger = SqliteLedger(path, fingerprint="f", tariff=FixedTariff(), clock=Clock())
    for number in range(40):
        ledger.ask("anne", f"r{number}", b"d", batch(1, NANO)).result()
        pay(ledger, "anne", f"r{number}")
    ledger.close()


KILLS = 50
ACCOUNTANT = Path(__file__).parent / "accountant.py"


def test_kill_9_loses_no_acknowledged_charge(tmp_path):
    """Fifty times: a process that serves the ledger is killed at a random moment."""
    import random

    chance = random.Random(7)
    path = tmp_path / "ledger.db"
    acknowledged: set[str] = set()
    for life in range(KILLS):
        worker = subprocess.Popen(
            [sys.executable, str(ACCOUNTANT), str(path), str(life)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert worker.stdout is not None
        wanted = chance.randrange(1, 60)
        lines = [worker.stdout.readline() for _ in range(wanted)]
        worker.kill()
        lines += worker.stdout.read().splitlines(keepends=True)
        worker.wait()
        worker.stdout.close()
        acknowledged.update(line.strip() for line in lines if line.endswith("\n"))
    ledger = SqliteLedger(path, fingerprint="f", tariff=FixedTariff(), clock=Clock())
    account = ledger.account("anne").result()
    ledger.close()
    with sqlite3.connect(path) as db:
        rows = {row[0] for row in db.execute("SELECT request_id FROM charges")}
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()
    assert len(acknowledged) >= KILLS
    assert acknowledged <= rows
    assert account.charged == len(rows)  # rows and balance never part


batches = st.lists(
    st.tuples(st.integers(1, 256), st.integers(0, 300)).map(
        lambda pair: (pair[0], pair[0] * pair[1] * NANO // 100)
    ),
    min_size=1,
    max_size=8,
)


@given(batches, st.randoms(use_true_random=False))
def test_the_order_of_charges_does_not_change_the_totals(charges, shuffler):
    shuffled = list(charges)
    shuffler.shuffle(shuffled)
    one, other = Account(), Account()
    for images, cost in charges:
        one = one.counting(images, cost)
    for images, cost in shuffled:
        other = other.counting(images, cost)
    assert (one.counted, one.cost) == (other.counted, other.cost)


def test_it_remembers_the_last_images_only():
    many = [batch(1, NANO) for _ in range(RECENT + 1)]
    account = Account()
    for one in many:
        account = account.with_batch(one)
    assert len(account.recent) == RECENT
    assert account.with_batch(many[-1]).counted == RECENT + 1
    assert account.with_batch(many[0]).counted == RECENT + 2  # forgotten


def test_what_was_shown_last_is_remembered_longest():
    a, b = batch(1, NANO), batch(1, NANO)
    account = Account().with_batch(a).with_batch(b).with_batch(a)
    assert account.recent == b.digests + a.digests


def test_showing_an_image_again_keeps_it_in_mind():
    probe, account = batch(1, NANO), Account()
    for _ in range(3):
        account = account.with_batch(probe)
        for _ in range(RECENT - 1):
            account = account.with_batch(batch(1, NANO))
    assert account.with_batch(probe).counted == account.counted


@given(st.lists(st.integers(0, 9), min_size=1, max_size=20))
def test_what_counts_of_a_batch_is_each_image_once(shown):
    digests = tuple(number.to_bytes(DIGEST_BYTES, "big") for number in shown)
    account = Account().with_batch(Batch(tuple(10**number for number in shown), digests))
    assert account.cost == sum(10**number for number in set(shown))
    assert account.counted == len(account.recent) == len(set(shown))


@pytest.mark.parametrize(
    ("costs", "digests", "message"),
    [((1, 2), (bytes(DIGEST_BYTES),), "1 digests for 2 costs"), ((1,), (b"short",), "16 bytes")],
)
def test_a_batch_that_is_none_is_refused(costs, digests, message):
    with pytest.raises(ValueError, match=message):
        Batch(costs, digests)


@given(batches)
def test_a_window_weighs_what_its_number_of_images_says(charges):
    """With a constant cost per image the forgetting mean is that cost, whatever the batches."""
    account = Account()
    for images, _ in charges:
        account = account.counting(images, images * NANO)
    for window, total in zip(WINDOWS, account.sums, strict=True):
        weight = window * (1 - (1 - 1 / window) ** account.counted)
        assert total / weight == pytest.approx(NANO)


def test_a_window_forgets_image_by_image():
    window = WINDOWS[0]
    account = Account().counting(1, 5 * NANO).counting(1, 3 * NANO)
    assert account.sums[0] == pytest.approx(5 * NANO * (1 - 1 / window) + 3 * NANO)
