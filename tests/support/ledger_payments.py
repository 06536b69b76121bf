"""The contract of every ledger, payments: what each settles, and when a charge is priced again."""

from dataclasses import replace

import pytest
from ledgers import HONEST, FixedTariff, Steps, batch, pay, payment

from pow.hashcash import CLOCK_SKEW
from pow.puzzle import Puzzle, puzzle_for
from server.ledger import MAX_UNPAID, NANO, Account
from server.ledger.sqlite import RETENTION
from server.refusals import NothingToRedeem


class PaymentContract:
    """Needs `open_ledger` and the fixtures `ledger` and `clock` of `LedgerContract`."""

    def test_what_expired_before_it_counted_is_priced_again_when_it_is_retried(
        self, tmp_path, clock
    ):
        """Otherwise whoever lets batches expire pays for all of them what the first one cost."""
        ledger = self.open_ledger(tmp_path, clock=clock, tariff=Steps())
        works = []
        for number in range(3):
            works.append(ledger.ask("anne", f"r{number}", b"d", batch(10, NANO)).result().work)
            clock.now += 661
        assert works == [20_000, 20_000, 20_000]
        for number in range(3):
            retried = ledger.recall("anne", f"r{number}", b"d").result()
            works[number] = retried.work
            assert retried.puzzle == puzzle_for(retried.work)
            assert pay(ledger, "anne", f"r{number}")
        assert works == [20_000, 40_000, 80_000]
        ledger.close()

    def test_those_retried_at_once_wait_for_each_other(self, tmp_path, clock):
        ledger = self.open_ledger(tmp_path, clock=clock, tariff=Steps())
        for number in range(3):
            ledger.ask("anne", f"r{number}", b"d", batch(10, NANO)).result()
            clock.now += 661
        retried = [ledger.recall("anne", f"r{number}", b"d").result() for number in range(3)]
        assert [charge.work for charge in retried] == [20_000, 40_000, 80_000]
        assert [charge.account.unpaid for charge in retried] == [1, 2, 3]
        assert retried[-1].account.charged == 30
        ledger.close()

    def test_a_price_asked_again_is_never_lower(self, tmp_path, clock):
        class Falling(Steps):
            def work(self, account, images):
                return 1_000_000 // account.counted

        ledger = self.open_ledger(tmp_path, clock=clock, tariff=Falling())
        first = ledger.ask("anne", "r1", b"d", batch(10, NANO)).result()
        clock.now += 961
        ledger.ask("anne", "r2", b"d", batch(90, NANO)).result()
        pay(ledger, "anne", "r2")
        assert ledger.recall("anne", "r1", b"d").result().work == first.work == 100_000
        ledger.close()

    def test_the_old_payment_does_not_settle_the_new_price(self, tmp_path, clock):
        ledger = self.open_ledger(tmp_path, clock=clock, tariff=Steps())
        ledger.ask("anne", "r1", b"d", batch(10, NANO)).result()
        old = payment(ledger, "anne", "r1")
        ledger.ask("anne", "r2", b"d", batch(10, NANO)).result()
        pay(ledger, "anne", "r2")
        clock.now += 661
        assert ledger.recall("anne", "r1", b"d").result().puzzle != old.puzzle
        with pytest.raises(NothingToRedeem, match="r1 has another price by now"):
            ledger.settle("anne", old).result()
        assert ledger.account("anne").result().unpaid == 1
        assert pay(ledger, "anne", "r1")
        ledger.close()

    def test_what_expired_and_counts_keeps_its_price(self, ledger, clock):
        first = ledger.ask("anne", "r1", b"d", batch(10, 100 * HONEST)).result()
        ledger.ask("anne", "r2", b"d", batch(10, 900 * HONEST)).result()
        clock.now += 661
        retried = ledger.recall("anne", "r1", b"d").result()
        assert (retried.work, retried.account.counted) == (first.work, 20)

    def test_a_retry_of_what_is_paid_says_so(self, ledger, clock):
        assert not ledger.ask("anne", "r1", b"d", batch(2, NANO)).result().paid
        assert not ledger.recall("anne", "r1", b"d").result().paid
        pay(ledger, "anne", "r1")
        clock.now += 100_000
        retried = ledger.recall("anne", "r1", b"d").result()
        assert (retried.paid, retried.account.unpaid) == (True, 0)

    @pytest.mark.parametrize(
        ("changed", "why"),
        [
            ({"digest": b"other"}, "no charge is known for request r1 and its inputs"),
            ({"books": "0" * 16}, "no charge is known"),
            ({"request_id": "r2"}, "no charge is known for request r2"),
            ({"puzzle": Puzzle("sha1", 0, 1)}, "r1 has another price by now"),
            ({"puzzle": puzzle_for(2_000, "sha256")}, "r1 has another price by now"),
        ],
    )
    def test_a_payment_settles_what_it_was_asked_for_and_nothing_else(self, ledger, changed, why):
        ledger.ask("anne", "r1", b"d", batch(2, 2 * NANO)).result()
        before = ledger.account("anne").result()
        right = payment(ledger, "anne", "r1")
        with pytest.raises(NothingToRedeem, match=why):
            ledger.settle("anne", replace(right, **changed)).result()
        assert ledger.account("anne").result() == before
        assert ledger.settle("anne", right).result()

    def test_a_payment_tells_whether_it_was_new(self, ledger):
        ledger.ask("anne", "r1", b"d", batch(2, NANO)).result()
        assert [pay(ledger, "anne", "r1") for _ in range(2)] == [True, False]

    def test_a_place_is_held_as_long_as_its_challenge_can_be_redeemed(self, tmp_path, clock):
        class Dear(FixedTariff):
            def work(self, account, images):
                return 100_000_000 + 3_000_001  # rounded up by the puzzle

        ledger = self.open_ledger(tmp_path, clock=clock, tariff=Dear())
        clock.now += 0.9
        charge = ledger.ask("anne", "r1", b"d", batch(1, NANO)).result()
        clock.now = charge.expires + CLOCK_SKEW
        assert ledger.account("anne").result().unpaid == 1
        clock.now += 1
        assert ledger.account("anne").result().unpaid == 0
        ledger.close()

    def test_a_clock_set_back_locks_nobody_out(self, tmp_path, clock):
        ledger = self.open_ledger(tmp_path, clock=clock, tariff=Steps())
        clock.now += 86_400
        for number in range(MAX_UNPAID):
            ledger.ask("anne", f"r{number}", b"d", batch(1, NANO)).result()
        clock.now -= 86_400
        assert ledger.account("anne").result().unpaid == 0
        assert ledger.ask("anne", "today", b"d", batch(1, NANO)).result().account.unpaid == 1
        assert ledger.recall("anne", "r0", b"d").result().account.unpaid == 2
        ledger.close()

    def test_charges_are_deleted_when_they_ended_long_ago(self, ledger, clock):
        ledger.ask("anne", "paid", b"d", batch(2, NANO)).result()
        pay(ledger, "anne", "paid")
        ledger.ask("anne", "unpaid", b"d", batch(3, NANO)).result()
        clock.now += 600 + RETENTION - 1
        assert ledger.prune().result() == 0
        clock.now += 2
        assert ledger.prune().result() == 2
        for name in ("paid", "unpaid"):
            assert isinstance(ledger.recall("anne", name, b"other").result(), Account)
        assert ledger.account("anne").result().charged == 5
