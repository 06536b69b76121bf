"""The contract of every ledger: what the gate relies on."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from ledgers import HONEST, Client, Clock, FixedTariff, Flat, Steps, Tail, batch

from pow.hashcash import CLOCK_SKEW
from pow.puzzle import Puzzle, puzzle_for
from server.ledger import MAX_RETRIES, MAX_UNPAID, NANO, Account, Batch
from server.ledger.sqlite import RETENTION
from server.refusals import (
    LedgerUnavailable,
    NothingToRedeem,
    RequestIdReused,
    RetriesExhausted,
    TooManyUnpaid,
)

EXPIRED = 661  # seconds after which the challenge of a cheap batch can no longer be redeemed


class LedgerContract:
    """What the gate relies on. A back end's test class gives `open_ledger(tmp_path, ...)`."""

    @pytest.fixture
    def clock(self):
        return Clock()

    @pytest.fixture
    def client(self, tmp_path, clock):
        """A client of an empty ledger with a tariff of its own: `client(tariff)`."""
        opened = []

        def make(tariff=None):
            opened.append(self.open_ledger(tmp_path, clock=clock, tariff=tariff))
            return Client(opened[-1])

        yield make
        for ledger in opened:
            ledger.close()

    @pytest.fixture
    def anne(self, client):
        return client()

    @pytest.fixture
    def bob(self, anne):
        return replace(anne, name="bob")

    def test_a_new_request_shows_the_account_and_a_new_client_an_empty_one(self, anne):
        assert anne.again("r1") == anne.account == Account()
        anne.ask("r1", 3)
        assert anne.again("r2") == anne.account

    def test_a_charge_is_priced_and_shows_in_the_account(self, anne):
        charge = anne.ask("r1", 16, 16 * HONEST + 1)
        assert (charge.images, charge.cost, charge.work) == (16, 16 * HONEST + 1, 16_000)
        assert charge.account == anne.account
        assert (charge.account.charged, charge.account.unpaid) == (16, 1)

    def test_asking_again_returns_the_same_charge_and_charges_nothing(self, anne):
        first = anne.ask("r1", 4, 40 * NANO)
        assert anne.ask("r1", 16, 99 * NANO) == first
        assert anne.account.charged == 4
        anne.ask("r2", 64, 640 * NANO)
        for number in range(MAX_RETRIES):
            retry = anne.again("r1")  # keeps its work however the account changed
            assert (retry.work, retry.cost, retry.retries) == (first.work, first.cost, number + 1)
        with pytest.raises(RetriesExhausted, match=r"request r1 .* at most 5"):
            anne.again("r1")

    def test_a_request_id_of_a_client_stands_for_one_set_of_inputs(self, anne, bob):
        anne.ask("r1")
        other = replace(anne, digest=b"other")
        for again in (other.ask, other.again):
            with pytest.raises(RequestIdReused, match="r1"):
                again("r1")
        replace(bob, digest=b"other").ask("r1", 2)
        assert (anne.account.charged, bob.account.charged) == (1, 2)

    def test_the_ninth_unpaid_batch_is_refused_until_one_is_paid(self, anne):
        for number in range(MAX_UNPAID):
            anne.ask(f"r{number}")
        with pytest.raises(TooManyUnpaid, match="8 batches are unpaid"):
            anne.ask("late")
        assert anne.again("r0").retries == 1  # old ones may be retried
        assert anne.account.charged == MAX_UNPAID
        anne.pay("r0")
        anne.ask("late")

    def test_a_retry_takes_its_place_again_or_finds_it_taken(self, anne, clock):
        anne.ask("old")
        clock.now += EXPIRED - 2
        assert anne.account.unpaid == 1
        clock.now += 2
        assert anne.account.unpaid == 0
        assert anne.again("old").account.unpaid == anne.account.unpaid == 1
        clock.now += EXPIRED
        for number in range(MAX_UNPAID):
            anne.ask(f"r{number}")
        with pytest.raises(TooManyUnpaid):
            anne.again("old")
        anne.pay("r0")
        assert anne.again("old").retries == 2
        assert anne.account.unpaid == MAX_UNPAID

    def test_a_place_is_held_as_long_as_its_challenge_can_be_redeemed(self, client, clock):
        anne = client(FixedTariff(lambda *given: 103_000_001))  # rounded up by the puzzle
        clock.now += 0.9
        clock.now = anne.ask("r1").expires + CLOCK_SKEW
        assert anne.account.unpaid == 1
        clock.now += 1
        assert anne.account.unpaid == 0

    def test_a_clock_set_back_locks_nobody_out(self, client, clock):
        anne = client(Steps())
        clock.now += 86_400
        for number in range(MAX_UNPAID):
            anne.ask(f"r{number}")
        clock.now -= 86_400
        assert anne.account.unpaid == 0
        assert anne.ask("today").account.unpaid == 1
        assert anne.again("r0").account.unpaid == 2

    def test_callers_who_stop_waiting_harm_nobody(self, anne, bob):
        ask = anne.ledger.ask
        futures = [ask("anne", f"r{number}", b"d", batch(1, NANO)) for number in range(200)]
        given_up = [future.cancel() for future in futures]
        assert bob.ask("r").account.charged == 1
        assert anne.account.charged <= MAX_UNPAID
        assert any(given_up)

    def test_an_error_in_one_job_is_its_own(self, client):
        anne = client(FixedTariff(lambda account, images: 1_000 // (images - 13)))
        ask = anne.ledger.ask
        asked = [ask("anne", f"r{images}", b"d", batch(images, NANO)) for images in (14, 13, 15)]
        errors = [type(future.exception()) for future in asked]
        assert errors == [type(None), ZeroDivisionError, type(None)]
        assert anne.account.charged == 14 + 15

    def test_settling_is_idempotent_and_says_whether_it_was_new(self, anne, clock):
        assert not anne.ask("r1", 2).paid
        assert not anne.again("r1").paid
        assert anne.pay("r1")
        once = anne.account
        assert (once.unpaid, once.counted) == (0, 2)
        assert not anne.pay("r1")
        clock.now += 100_000
        retried = anne.again("r1")
        assert (retried.paid, retried.account) == (True, once)

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
    def test_a_payment_settles_what_it_was_asked_for_and_nothing_else(self, anne, changed, why):
        anne.ask("r1", 2, 2 * NANO)
        before, right = anne.account, anne.payment("r1")
        with pytest.raises(NothingToRedeem, match=why):
            anne.ledger.settle("anne", replace(right, **changed)).result()
        with pytest.raises(NothingToRedeem):
            anne.ledger.settle("bob", right).result()
        assert anne.account == before
        assert anne.ledger.settle("anne", right).result()

    @pytest.mark.parametrize("cost", [1, 11 * HONEST])
    def test_an_unpaid_batch_counts_at_once_where_it_is_expensive_and_only_once(self, anne, cost):
        before = anne.ask("expensive", 10, 100 * HONEST).account
        assert before.cost == 100 * HONEST
        after = anne.ask("cheaper", 10, cost).account  # below the account: never dilutes
        assert (after.counted, after.cost, after.sums) == (10, before.cost, before.sums)
        anne.pay("expensive")
        assert (anne.account.cost, anne.account.sums) == (before.cost, before.sums)
        anne.pay("cheaper")
        assert anne.account.counted == 20

    def test_free_batches_are_settled_when_charged(self, client):
        charge = client(Flat(hashes=0)).ask("r1", 3, 1)
        assert (charge.work, charge.paid, charge.account.counted) == (0, True, 3)
        assert (charge.account.unpaid, charge.account.entered) == (0, False)

    def test_threads_at_once_charge_every_request_exactly_once(self, anne):
        def ask(number):
            anne.ask(f"r{number % 40}")
            anne.pay(f"r{number % 40}")

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(ask, range(200)))
        account = anne.account
        assert (account.charged, account.counted, account.cost) == (40, 40, 40 * NANO)

    def test_a_race_for_the_last_place_has_one_winner(self, anne):
        for number in range(MAX_UNPAID - 1):
            anne.ask(f"r{number}")
        ask = anne.ledger.ask
        futures = [ask("anne", f"x{number}", b"d", batch(1, NANO)) for number in range(8)]
        errors = [future.exception() for future in futures]
        assert errors.count(None) == 1
        assert sum(isinstance(error, TooManyUnpaid) for error in errors) == 7

    @pytest.mark.parametrize("cost", [1, 30 * NANO])  # counts when it is paid, or at once
    def test_an_image_counts_once_however_often_it_is_shown(self, anne, cost):
        same, more = batch(2, cost), batch(1, 7 * NANO)
        both = Batch(same.costs + more.costs, same.digests + more.digests)
        charges = [anne.ask(str(n), shown) for n, shown in enumerate((same, same, both))]
        for number in range(3):
            anne.pay(str(number))
        assert (charges[2].images, charges[2].cost) == (3, both.cost)  # as the record shows it
        account = anne.account
        assert (account.counted, account.cost, account.charged) == (3, both.cost, 7)

    def test_what_waits_for_payment_keeps_its_tail(self, client):
        anne = client(Tail())
        cheap = Batch((0, 0, 0, 0, 0, 5 * NANO), batch(6, 0).digests)
        assert anne.ask("r1", cheap).account.counted == 0
        anne.pay("r1")
        expected = Account(charged=6, entered=True, recent=cheap.digests)
        assert anne.account == expected.counting(6, 5 * NANO, 2 * NANO)

    def test_batches_that_wait_raise_the_price_of_the_next(self, client, clock):
        anne = client(Steps(lambda account, n: n * account.cost // account.counted // 1_000))
        assert anne.ask("expensive", 10, 90 * HONEST).work == 90_000_000
        assert anne.ask("cheap", 10, 10 * HONEST).work == 50_000_000  # alone it were 10 000 000
        clock.now += 961  # what can no longer be paid for does not wait
        assert anne.ask("late", 10, 10 * HONEST).work == 10_000_000
        bob = replace(anne, name="bob")
        bob.ask("cheap", 10, 10 * HONEST)
        assert bob.ask("expensive", 10, 90 * HONEST).work == 90_000_000  # no price is lowered

    def test_an_account_enters_with_its_first_payment(self, client):
        anne = client(FixedTariff(lambda account, n: 1_000 * n + 50_000 * (not account.entered)))
        assert [anne.ask(f"r{number}").work for number in range(2)] == [51_000, 51_000]
        assert not anne.account.entered
        anne.pay("r1")
        assert anne.account.entered
        assert anne.ask("r2").work == 1_000
        assert replace(anne, name="bob").ask("r2").work == 51_000
        assert anne.again("r0").work == 51_000  # as it was first asked

    @pytest.mark.parametrize("paid", [True, False])  # those not paid wait for each other
    def test_what_expired_before_it_counted_is_priced_again(self, client, clock, paid):
        """Otherwise whoever lets batches expire pays for all of them what the first one cost."""
        anne = client(Steps())
        for number in range(3):
            assert anne.ask(f"r{number}", 10).work == 20_000
            clock.now += EXPIRED
        old = anne.payment("r1")
        for number, work in enumerate((20_000, 40_000, 80_000)):
            retried = anne.again(f"r{number}")
            assert (retried.work, retried.puzzle) == (work, puzzle_for(work))
            assert retried.account.unpaid == (1 if paid else number + 1)
            if number == 1:
                with pytest.raises(NothingToRedeem, match="r1 has another price by now"):
                    anne.ledger.settle("anne", old).result()
            assert not paid or anne.pay(f"r{number}")
        assert anne.account.charged == 30

    def test_charges_are_deleted_when_they_ended_long_ago(self, anne, clock):
        anne.ask("paid", 2)
        anne.pay("paid")
        anne.ask("unpaid", 3)
        clock.now += 600 + RETENTION - 1
        assert anne.ledger.prune().result() == 0
        clock.now += 2
        assert anne.ledger.prune().result() == 2
        for name in ("paid", "unpaid"):
            assert isinstance(replace(anne, digest=b"other").again(name), Account)
        assert anne.account.charged == 5

    def test_a_closed_ledger_refuses(self, anne):
        anne.ledger.close()
        with pytest.raises(LedgerUnavailable):
            anne.ask("r1")
        anne.ledger.close()
