"""The ledger in SQLite: the contract, and what it adds: files, processes, a full disk."""

import multiprocessing
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledgers import HONEST, Clock, FixedTariff, LedgerContract, batch

from server.ledger import DIGEST_BYTES, NANO, RECENT, WINDOWS, Account, Batch
from server.ledger.sqlite import SqliteLedger
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
            lambda: ledger.settle("anne", "r1"),
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
        ledger._submit(lambda db: db.execute("PRAGMA max_page_count = 12")).result()
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
        monkeypatch.setattr("server.ledger.sqlite.BUSY_SECONDS", 0.05)
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
        with pytest.raises(LedgerUnavailable, match="its version is 0, expected 2; give a new"):
            self.open_ledger(tmp_path)

    def test_what_is_no_ledger_cannot_be_opened(self, tmp_path):
        (tmp_path / "ledger.db").write_bytes(b"not a database, but a text that is long enough" * 9)
        with pytest.raises(LedgerUnavailable, match=r"ledger\.db cannot be opened"):
            self.open_ledger(tmp_path)
        with pytest.raises(LedgerUnavailable, match="cannot be opened"):
            self.open_ledger(tmp_path / "missing")


def _open_and_close(path):
    SqliteLedger(path, fingerprint="f", tariff=FixedTariff(), clock=Clock()).close()


def _charge_forty(path):
    ledger = SqliteLedger(path, fingerprint="f", tariff=FixedTariff(), clock=Clock())
    for number in range(40):
        ledger.ask("anne", f"r{number}", b"d", batch(1, NANO)).result()
        ledger.settle("anne", f"r{number}").result()
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
