"""The contract of every ledger, and what SQLite adds: files, processes, a full disk."""

import multiprocessing
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.ledger import MAX_RETRIES, MAX_UNPAID, NANO, WINDOWS, Account
from server.ledger.sqlite import SqliteLedger
from server.refusals import (
    LedgerUnavailable,
    NothingToRedeem,
    RequestIdReused,
    RetriesExhausted,
    TooManyUnpaid,
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

    def is_dear(self, images: int, cost: int) -> bool:
        return cost > HONEST * images

    def raises(self, before: Account, after: Account) -> bool:
        return after.cost * max(before.counted, 1) > before.cost * after.counted

    def work(self, account: Account, images: int) -> int:
        assert account.counted >= images  # priced with the batch counted in
        return 0 if self.free else 1_000 * images

    def lifetime(self, work: int) -> float:
        return 600.0


class LedgerContract:
    """What the gate relies on. A back end's test class gives `open_ledger(tmp_path, ...)`."""

    @pytest.fixture
    def clock(self):
        return Clock()

    @pytest.fixture
    def ledger(self, tmp_path, clock):
        ledger = self.open_ledger(tmp_path, clock=clock)
        yield ledger
        ledger.close()

    def test_a_client_never_seen_has_an_empty_account(self, ledger):
        assert ledger.account("anne").result() == Account()

    def test_a_charge_is_priced_and_shows_in_the_account(self, ledger):
        charge = ledger.ask("anne", "r1", b"d", 16, 16 * HONEST + 1).result()
        assert (charge.images, charge.cost, charge.work) == (16, 16 * HONEST + 1, 16_000)
        assert charge.account == ledger.account("anne").result()
        assert (charge.account.charged, charge.account.unpaid) == (16, 1)

    def test_asking_again_returns_the_same_charge_and_charges_nothing(self, ledger):
        first = ledger.ask("anne", "r1", b"d", 16, 5 * NANO).result()
        again = ledger.ask("anne", "r1", b"d", 16, 99 * NANO).result()
        assert (again.cost, again.work) == (first.cost, first.work)
        assert ledger.account("anne").result().charged == 16

    def test_a_retry_keeps_its_work_however_the_account_changed(self, ledger):
        first = ledger.ask("anne", "r1", b"d", 4, 40 * NANO).result()
        ledger.ask("anne", "r2", b"e", 64, 640 * NANO).result()
        retry = ledger.recall("anne", "r1", b"d").result()
        assert (retry.work, retry.cost, retry.retries) == (first.work, first.cost, 1)

    def test_recalling_a_new_request_shows_the_account(self, ledger):
        assert ledger.recall("anne", "r1", b"d").result() == Account()
        ledger.ask("anne", "r1", b"d", 3, NANO).result()
        assert ledger.recall("anne", "r2", b"d").result() == ledger.account("anne").result()

    def test_the_sixth_retry_is_refused(self, ledger):
        ledger.ask("anne", "r1", b"d", 1, NANO).result()
        for number in range(1, MAX_RETRIES + 1):
            assert ledger.recall("anne", "r1", b"d").result().retries == number
        with pytest.raises(RetriesExhausted, match="at most 5"):
            ledger.recall("anne", "r1", b"d").result()

    def test_a_request_id_stands_for_one_set_of_inputs(self, ledger):
        ledger.ask("anne", "r1", b"d", 1, NANO).result()
        for again in (
            ledger.ask("anne", "r1", b"other", 1, NANO),
            ledger.recall("anne", "r1", b"other"),
        ):
            with pytest.raises(RequestIdReused, match="r1"):
                again.result()
        assert ledger.account("anne").result().charged == 1

    def test_clients_do_not_share_request_ids_or_accounts(self, ledger):
        ledger.ask("anne", "r1", b"d", 1, NANO).result()
        ledger.ask("bob", "r1", b"other", 2, NANO).result()
        assert ledger.account("anne").result().charged == 1
        assert ledger.account("bob").result().charged == 2

    def test_the_ninth_unpaid_batch_is_refused_until_one_is_paid(self, ledger):
        for number in range(MAX_UNPAID):
            ledger.ask("anne", f"r{number}", b"d", 1, NANO).result()
        with pytest.raises(TooManyUnpaid, match="8 batches are unpaid"):
            ledger.ask("anne", "late", b"d", 1, NANO).result()
        assert ledger.recall("anne", "r0", b"d").result().retries == 1  # old ones may be retried
        assert ledger.account("anne").result().charged == MAX_UNPAID
        ledger.settle("anne", "r0").result()
        ledger.ask("anne", "late", b"d", 1, NANO).result()

    def test_expired_challenges_free_their_places(self, ledger, clock):
        for number in range(MAX_UNPAID):
            ledger.ask("anne", f"r{number}", b"d", 1, NANO).result()
        clock.now += 599
        assert ledger.account("anne").result().unpaid == MAX_UNPAID
        clock.now += 2
        assert ledger.account("anne").result().unpaid == 0
        ledger.ask("anne", "late", b"d", 1, NANO).result()

    def test_a_retry_takes_its_place_again(self, ledger, clock):
        ledger.ask("anne", "r1", b"d", 1, NANO).result()
        clock.now += 601
        ledger.recall("anne", "r1", b"d").result()
        assert ledger.account("anne").result().unpaid == 1

    def test_a_retry_finds_its_place_taken(self, ledger, clock):
        ledger.ask("anne", "old", b"d", 1, NANO).result()
        clock.now += 601
        for number in range(MAX_UNPAID):
            ledger.ask("anne", f"r{number}", b"d", 1, NANO).result()
        with pytest.raises(TooManyUnpaid):
            ledger.recall("anne", "old", b"d").result()
        ledger.settle("anne", "r0").result()
        assert ledger.recall("anne", "old", b"d").result().retries == 1
        assert ledger.account("anne").result().unpaid == MAX_UNPAID

    def test_callers_who_stop_waiting_harm_nobody(self, ledger):
        futures = [ledger.ask("anne", f"r{number}", b"d", 1, NANO) for number in range(200)]
        given_up = [future.cancel() for future in futures]
        assert ledger.ask("bob", "r", b"d", 1, NANO).result(5).account.charged == 1
        assert ledger.account("anne").result(5).charged <= MAX_UNPAID
        assert any(given_up)

    def test_an_error_in_one_job_is_its_own(self, tmp_path, clock):
        class Broken(FixedTariff):
            def work(self, account, images):
                if images == 13:
                    raise ArithmeticError("13")
                return super().work(account, images)

        ledger = self.open_ledger(tmp_path, clock=clock, tariff=Broken())
        asked = [
            ledger.ask("anne", f"r{n}", b"d", images, NANO) for n, images in enumerate((1, 13, 2))
        ]
        assert [type(future.exception()) for future in asked] == [
            type(None),
            ArithmeticError,
            type(None),
        ]
        assert ledger.account("anne").result().charged == 3
        ledger.close()

    def test_settling_is_idempotent(self, ledger):
        ledger.ask("anne", "r1", b"d", 2, NANO).result()
        ledger.settle("anne", "r1").result()
        once = ledger.account("anne").result()
        ledger.settle("anne", "r1").result()
        assert ledger.account("anne").result() == once
        assert (once.unpaid, once.counted) == (0, 2)

    def test_settling_what_was_never_charged_is_refused(self, ledger):
        with pytest.raises(NothingToRedeem, match="r9"):
            ledger.settle("anne", "r9").result()

    def test_another_clients_charge_cannot_be_settled(self, ledger):
        ledger.ask("anne", "r1", b"d", 2, NANO).result()
        with pytest.raises(NothingToRedeem):
            ledger.settle("bob", "r1").result()

    def test_a_cheap_unpaid_batch_never_dilutes(self, ledger):
        ledger.ask("anne", "dear", b"d", 10, 100 * HONEST).result()
        before = ledger.account("anne").result()
        ledger.ask("anne", "cheap", b"e", 10, 1).result()
        after = ledger.account("anne").result()
        assert (after.counted, after.cost, after.sums) == (10, before.cost, before.sums)
        ledger.settle("anne", "cheap").result()
        assert ledger.account("anne").result().counted == 20

    def test_an_unpaid_batch_between_honest_and_the_account_never_dilutes(self, ledger):
        ledger.ask("anne", "dear", b"d", 10, 100 * HONEST).result()
        before = ledger.account("anne").result()
        ledger.ask("anne", "less dear", b"e", 10, 11 * HONEST).result()
        after = ledger.account("anne").result()
        assert (after.counted, after.sums) == (before.counted, before.sums)
        ledger.settle("anne", "less dear").result()
        assert ledger.account("anne").result().counted == 20

    def test_a_dear_unpaid_batch_counts_at_once_and_only_once(self, ledger):
        ledger.ask("anne", "dear", b"d", 10, 100 * HONEST).result()
        counted = ledger.account("anne").result()
        assert counted.cost == 100 * HONEST
        ledger.settle("anne", "dear").result()
        settled = ledger.account("anne").result()
        assert (settled.cost, settled.sums) == (counted.cost, counted.sums)

    def test_free_batches_are_settled_when_charged(self, tmp_path, clock):
        ledger = self.open_ledger(tmp_path, clock=clock, tariff=FixedTariff(free=True))
        charge = ledger.ask("anne", "r1", b"d", 3, 1).result()
        assert (charge.work, charge.account.unpaid, charge.account.counted) == (0, 0, 3)
        ledger.close()

    def test_threads_at_once_charge_every_request_exactly_once(self, ledger):
        def ask(number):
            ledger.ask("anne", f"r{number % 40}", b"d", 1, NANO).result()
            ledger.settle("anne", f"r{number % 40}").result()

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(ask, range(200)))
        account = ledger.account("anne").result()
        assert (account.charged, account.counted, account.cost) == (40, 40, 40 * NANO)

    def test_a_race_for_the_last_place_has_one_winner(self, ledger):
        for number in range(MAX_UNPAID - 1):
            ledger.ask("anne", f"r{number}", b"d", 1, NANO).result()
        futures = [ledger.ask("anne", f"x{number}", b"d", 1, NANO) for number in range(8)]
        errors = [future.exception() for future in futures]
        assert errors.count(None) == 1
        assert sum(isinstance(error, TooManyUnpaid) for error in errors) == 7

    def test_a_closed_ledger_refuses(self, ledger):
        ledger.close()
        with pytest.raises(LedgerUnavailable):
            ledger.account("anne").result()
        ledger.close()


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
        ledger.ask("anne", "r1", b"d", 7, 70 * HONEST).result()
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
            lambda: ledger.ask("anne", "r1", b"d", 1, NANO),
            lambda: ledger.settle("anne", "r1"),
            lambda: ledger.ask("anne", "r2", b"d", 1, NANO),
        ):
            said.clear()
            call().result()
            ledger.account("anne").result()  # the trace of the commit is complete
            levels.append(next(line for line in said if "synchronous" in line).split()[-1])
        assert levels == ["FULL", "NORMAL", "FULL"]

    def test_accounts_of_another_calibration_are_apart(self, tmp_path, clock):
        first = self.open_ledger(tmp_path, clock=clock)
        first.ask("anne", "r1", b"d", 7, NANO).result()
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
        asked = [ledger.ask("anne", f"r{number}", b"d" * 32, 1, NANO) for number in range(5_000)]
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
            ledger.ask("anne", "r1", b"d", 1, NANO).result()
        other.execute("ROLLBACK")
        other.close()
        assert ledger.ask("anne", "r1", b"d", 1, NANO).result().account.charged == 1
        ledger.close()

    def test_what_is_no_ledger_cannot_be_opened(self, tmp_path):
        (tmp_path / "ledger.db").write_bytes(b"not a database, but a text that is long enough" * 9)
        with pytest.raises(LedgerUnavailable, match=r"ledger\.db cannot be opened"):
            self.open_ledger(tmp_path)
        with pytest.raises(LedgerUnavailable, match="cannot be opened"):
            self.open_ledger(tmp_path / "missing")


def _charge_forty(path):
    ledger = SqliteLedger(path, fingerprint="f", tariff=FixedTariff(), clock=Clock())
    for number in range(40):
        ledger.ask("anne", f"r{number}", b"d", 1, NANO).result()
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
