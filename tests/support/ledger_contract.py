"""The contract of every ledger: what the gate relies on."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from ledger_payments import PaymentContract
from ledgers import HONEST, Clock, FixedTariff, batch, pay, payment

from pow.puzzle import Puzzle
from server.ledger import MAX_RETRIES, MAX_UNPAID, NANO, Account, Batch, Payment
from server.refusals import (
    LedgerUnavailable,
    NothingToRedeem,
    RequestIdReused,
    RetriesExhausted,
    TooManyUnpaid,
)


class LedgerContract(PaymentContract):
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
        charge = ledger.ask("anne", "r1", b"d", batch(16, 16 * HONEST + 1)).result()
        assert (charge.images, charge.cost, charge.work) == (16, 16 * HONEST + 1, 16_000)
        assert charge.account == ledger.account("anne").result()
        assert (charge.account.charged, charge.account.unpaid) == (16, 1)

    def test_asking_again_returns_the_same_charge_and_charges_nothing(self, ledger):
        first = ledger.ask("anne", "r1", b"d", batch(16, 5 * NANO)).result()
        again = ledger.ask("anne", "r1", b"d", batch(16, 99 * NANO)).result()
        assert (again.cost, again.work) == (first.cost, first.work)
        assert ledger.account("anne").result().charged == 16

    def test_a_retry_keeps_its_work_however_the_account_changed(self, ledger):
        first = ledger.ask("anne", "r1", b"d", batch(4, 40 * NANO)).result()
        ledger.ask("anne", "r2", b"e", batch(64, 640 * NANO)).result()
        retry = ledger.recall("anne", "r1", b"d").result()
        assert (retry.work, retry.cost, retry.retries) == (first.work, first.cost, 1)

    def test_recalling_a_new_request_shows_the_account(self, ledger):
        assert ledger.recall("anne", "r1", b"d").result() == Account()
        ledger.ask("anne", "r1", b"d", batch(3, NANO)).result()
        assert ledger.recall("anne", "r2", b"d").result() == ledger.account("anne").result()

    def test_the_sixth_retry_is_refused(self, ledger):
        ledger.ask("anne", "r1", b"d", batch(1, NANO)).result()
        for number in range(1, MAX_RETRIES + 1):
            assert ledger.recall("anne", "r1", b"d").result().retries == number
        with pytest.raises(RetriesExhausted, match="at most 5"):
            ledger.recall("anne", "r1", b"d").result()

    def test_a_request_id_stands_for_one_set_of_inputs(self, ledger):
        ledger.ask("anne", "r1", b"d", batch(1, NANO)).result()
        for again in (
            ledger.ask("anne", "r1", b"other", batch(1, NANO)),
            ledger.recall("anne", "r1", b"other"),
        ):
            with pytest.raises(RequestIdReused, match="r1"):
                again.result()
        assert ledger.account("anne").result().charged == 1

    def test_clients_do_not_share_request_ids_or_accounts(self, ledger):
        ledger.ask("anne", "r1", b"d", batch(1, NANO)).result()
        ledger.ask("bob", "r1", b"other", batch(2, NANO)).result()
        assert ledger.account("anne").result().charged == 1
        assert ledger.account("bob").result().charged == 2

    def test_the_ninth_unpaid_batch_is_refused_until_one_is_paid(self, ledger):
        for number in range(MAX_UNPAID):
            ledger.ask("anne", f"r{number}", b"d", batch(1, NANO)).result()
        with pytest.raises(TooManyUnpaid, match="8 batches are unpaid"):
            ledger.ask("anne", "late", b"d", batch(1, NANO)).result()
        assert ledger.recall("anne", "r0", b"d").result().retries == 1  # old ones may be retried
        assert ledger.account("anne").result().charged == MAX_UNPAID
        pay(ledger, "anne", "r0")
        ledger.ask("anne", "late", b"d", batch(1, NANO)).result()

    def test_expired_challenges_free_their_places(self, ledger, clock):
        for number in range(MAX_UNPAID):
            ledger.ask("anne", f"r{number}", b"d", batch(1, NANO)).result()
        clock.now += 659
        assert ledger.account("anne").result().unpaid == MAX_UNPAID
        clock.now += 2
        assert ledger.account("anne").result().unpaid == 0
        ledger.ask("anne", "late", b"d", batch(1, NANO)).result()

    def test_a_retry_takes_its_place_again(self, ledger, clock):
        ledger.ask("anne", "r1", b"d", batch(1, NANO)).result()
        clock.now += 661
        ledger.recall("anne", "r1", b"d").result()
        assert ledger.account("anne").result().unpaid == 1

    def test_a_retry_finds_its_place_taken(self, ledger, clock):
        ledger.ask("anne", "old", b"d", batch(1, NANO)).result()
        clock.now += 661
        for number in range(MAX_UNPAID):
            ledger.ask("anne", f"r{number}", b"d", batch(1, NANO)).result()
        with pytest.raises(TooManyUnpaid):
            ledger.recall("anne", "old", b"d").result()
        pay(ledger, "anne", "r0")
        assert ledger.recall("anne", "old", b"d").result().retries == 1
        assert ledger.account("anne").result().unpaid == MAX_UNPAID

    def test_callers_who_stop_waiting_harm_nobody(self, ledger):
        futures = [ledger.ask("anne", f"r{number}", b"d", batch(1, NANO)) for number in range(200)]
        given_up = [future.cancel() for future in futures]
        assert ledger.ask("bob", "r", b"d", batch(1, NANO)).result(5).account.charged == 1
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
            ledger.ask("anne", f"r{n}", b"d", batch(images, NANO))
            for n, images in enumerate((1, 13, 2))
        ]
        assert [type(future.exception()) for future in asked] == [
            type(None),
            ArithmeticError,
            type(None),
        ]
        assert ledger.account("anne").result().charged == 3
        ledger.close()

    def test_settling_is_idempotent(self, ledger):
        ledger.ask("anne", "r1", b"d", batch(2, NANO)).result()
        pay(ledger, "anne", "r1")
        once = ledger.account("anne").result()
        pay(ledger, "anne", "r1")
        assert ledger.account("anne").result() == once
        assert (once.unpaid, once.counted) == (0, 2)

    def test_settling_what_was_never_charged_is_refused(self, ledger):
        with pytest.raises(NothingToRedeem, match="r9"):
            ledger.settle("anne", Payment(ledger.books, "r9", b"d", Puzzle("sha1", 0, 1))).result()

    def test_another_clients_charge_cannot_be_settled(self, ledger):
        ledger.ask("anne", "r1", b"d", batch(2, NANO)).result()
        with pytest.raises(NothingToRedeem):
            ledger.settle("bob", payment(ledger, "anne", "r1")).result()

    def test_a_cheap_unpaid_batch_never_dilutes(self, ledger):
        ledger.ask("anne", "dear", b"d", batch(10, 100 * HONEST)).result()
        before = ledger.account("anne").result()
        ledger.ask("anne", "cheap", b"e", batch(10, 1)).result()
        after = ledger.account("anne").result()
        assert (after.counted, after.cost, after.sums) == (10, before.cost, before.sums)
        pay(ledger, "anne", "cheap", b"e")
        assert ledger.account("anne").result().counted == 20

    def test_an_unpaid_batch_between_honest_and_the_account_never_dilutes(self, ledger):
        ledger.ask("anne", "dear", b"d", batch(10, 100 * HONEST)).result()
        before = ledger.account("anne").result()
        ledger.ask("anne", "less dear", b"e", batch(10, 11 * HONEST)).result()
        after = ledger.account("anne").result()
        assert (after.counted, after.sums) == (before.counted, before.sums)
        pay(ledger, "anne", "less dear", b"e")
        assert ledger.account("anne").result().counted == 20

    def test_a_dear_unpaid_batch_counts_at_once_and_only_once(self, ledger):
        ledger.ask("anne", "dear", b"d", batch(10, 100 * HONEST)).result()
        counted = ledger.account("anne").result()
        assert counted.cost == 100 * HONEST
        pay(ledger, "anne", "dear")
        settled = ledger.account("anne").result()
        assert (settled.cost, settled.sums) == (counted.cost, counted.sums)

    def test_free_batches_are_settled_when_charged(self, tmp_path, clock):
        ledger = self.open_ledger(tmp_path, clock=clock, tariff=FixedTariff(free=True))
        charge = ledger.ask("anne", "r1", b"d", batch(3, 1)).result()
        assert (charge.work, charge.account.unpaid, charge.account.counted) == (0, 0, 3)
        ledger.close()

    def test_threads_at_once_charge_every_request_exactly_once(self, ledger):
        def ask(number):
            ledger.ask("anne", f"r{number % 40}", b"d", batch(1, NANO)).result()
            pay(ledger, "anne", f"r{number % 40}")

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(ask, range(200)))
        account = ledger.account("anne").result()
        assert (account.charged, account.counted, account.cost) == (40, 40, 40 * NANO)

    def test_a_race_for_the_last_place_has_one_winner(self, ledger):
        for number in range(MAX_UNPAID - 1):
            ledger.ask("anne", f"r{number}", b"d", batch(1, NANO)).result()
        futures = [ledger.ask("anne", f"x{number}", b"d", batch(1, NANO)) for number in range(8)]
        errors = [future.exception() for future in futures]
        assert errors.count(None) == 1
        assert sum(isinstance(error, TooManyUnpaid) for error in errors) == 7

    def test_an_image_shown_again_does_not_count_again(self, ledger):
        same = batch(3, 30 * NANO)
        for number in range(5):
            ledger.ask("anne", f"r{number}", b"d", same).result()
            pay(ledger, "anne", f"r{number}")
        account = ledger.account("anne").result()
        assert (account.charged, account.counted, account.cost) == (15, 3, 30 * NANO)

    def test_an_image_counts_once_though_it_was_asked_twice_before_it_was_paid(self, ledger):
        same = batch(2, 1)  # cheap: counts only when it is paid
        for number in range(2):
            ledger.ask("anne", f"r{number}", b"d", same).result()
        assert ledger.account("anne").result().counted == 0
        for number in range(2):
            pay(ledger, "anne", f"r{number}")
        assert ledger.account("anne").result().counted == 2

    def test_a_batch_with_one_new_image_counts_that_one(self, ledger):
        first, more = batch(2, 20 * NANO), batch(1, 7 * NANO)
        both = Batch(first.costs + more.costs, first.digests + more.digests)
        for number, asked in enumerate((first, both)):
            charge = ledger.ask("anne", f"r{number}", b"d", asked).result()
            pay(ledger, "anne", f"r{number}")
        assert (charge.images, charge.cost) == (3, 27 * NANO)  # as the record shows it
        account = ledger.account("anne").result()
        assert (account.counted, account.cost) == (3, 27 * NANO)

    def test_what_lies_above_a_threshold_is_kept_apart(self, tmp_path, clock):
        class Tail(FixedTariff):
            thresholds = (3 * NANO,)

        ledger = self.open_ledger(tmp_path, clock=clock, tariff=Tail())
        few = Batch((NANO, 5 * NANO), batch(2, 0).digests)
        ledger.ask("anne", "r1", b"d", few).result()
        pay(ledger, "anne", "r1")
        account = ledger.account("anne").result()
        assert account == replace(
            Account().counting(2, 6 * NANO, 2 * NANO), charged=2, entered=True, recent=few.digests
        )
        ledger.close()

    def test_what_waits_for_payment_keeps_its_tail(self, tmp_path, clock):
        class Tail(FixedTariff):
            thresholds = (3 * NANO,)

        ledger = self.open_ledger(tmp_path, clock=clock, tariff=Tail())
        cheap = Batch((0, 0, 0, 0, 0, 5 * NANO), batch(6, 0).digests)  # dear in its tail alone
        ledger.ask("anne", "r1", b"d", cheap).result()
        assert ledger.account("anne").result().counted == 0
        pay(ledger, "anne", "r1")
        assert (
            ledger.account("anne").result().sums == Account().counting(6, 5 * NANO, 2 * NANO).sums
        )
        ledger.close()

    def test_batches_that_wait_raise_the_price_of_the_next(self, tmp_path, clock):
        class Mean(FixedTariff):
            def counts_at_once(self, before, after):
                return False  # nothing counts before it is paid for

            def work(self, account, images):
                return images * account.cost // account.counted // 1_000

        ledger = self.open_ledger(tmp_path, clock=clock, tariff=Mean())
        asked = {"dear": batch(10, 90 * HONEST), "cheap": batch(10, 10 * HONEST)}
        works = [ledger.ask("anne", name, b"d", asked[name]).result().work for name in asked]
        assert works == [90_000_000, 50_000_000]  # not the 10 000 000 it would cost alone
        clock.now += 961  # what can no longer be paid for does not wait
        assert ledger.ask("anne", "late", b"d", batch(10, 10 * HONEST)).result().work == 10_000_000
        ledger.ask("bob", "dear", b"d", batch(10, 10 * HONEST)).result()
        late = ledger.ask("bob", "dearer", b"d", batch(10, 90 * HONEST)).result()
        assert late.work == 90_000_000  # a cheap one that waits lowers no price
        ledger.close()

    def test_copies_of_a_known_image_do_not_hide_a_dear_batch(self, ledger):
        known = batch(1, 1)
        ledger.ask("anne", "known", b"d", known).result()
        pay(ledger, "anne", "known")
        dear = batch(2, 20 * HONEST)
        hidden = Batch(dear.costs + known.costs * 40, dear.digests + known.digests * 40)
        ledger.ask("anne", "hidden", b"d", hidden).result()
        assert ledger.account("anne").result().counted == 3

    def test_an_account_enters_with_its_first_payment(self, tmp_path, clock):
        class Entry(FixedTariff):
            def work(self, account, images):
                return 1_000 * images + 50_000 * (not account.entered)

        ledger = self.open_ledger(tmp_path, clock=clock, tariff=Entry())
        asked = [ledger.ask("anne", f"r{number}", b"d", batch(1, NANO)) for number in range(2)]
        assert [charge.result().work for charge in asked] == [51_000, 51_000]
        assert not ledger.account("anne").result().entered
        pay(ledger, "anne", "r1")
        assert ledger.account("anne").result().entered
        assert ledger.ask("anne", "r2", b"d", batch(1, NANO)).result().work == 1_000
        assert ledger.ask("bob", "r2", b"d", batch(1, NANO)).result().work == 51_000
        assert ledger.recall("anne", "r0", b"d").result().work == 51_000  # as it was first asked
        ledger.close()

    def test_a_closed_ledger_refuses(self, ledger):
        ledger.close()
        with pytest.raises(LedgerUnavailable):
            ledger.account("anne").result()
        ledger.close()
