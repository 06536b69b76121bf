"""Laws of the charging rules, over any order of asking, retrying, paying and waiting."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledgers import Steps, batch

from pow.hashcash import CLOCK_SKEW
from server.ledger import DIGEST_BYTES, NANO, RECENT, WINDOWS, Account, Batch, Charge, Payment
from server.ledger.rules import charge, check_retention, period, retry, settle
from server.refusals import NothingToRedeem, RetriesExhausted, TooManyUnpaid

REQUESTS = 3
IMAGES = 10

which = st.integers(0, REQUESTS - 1)
steps = st.lists(
    st.one_of(
        *[st.tuples(st.just("ask"), which)] * 3,
        *[st.tuples(st.sampled_from(("pay", "pay the first price")), which)] * 3,
        st.tuples(st.just("wait"), st.sampled_from((50, 661))),
        st.tuples(st.just("clock back"), st.sampled_from((30, 661))),
    ),
    min_size=6,
    max_size=16,
)


class Books:
    """The simplest back end: asks for equal batches, and pays with any challenge it was given."""

    def __init__(self, tariff, done):
        self.tariff = tariff
        self.now = 1_000_000.0
        self.account = Account()
        self.charges: dict[int, Charge] = {}
        self.given = [[] for _ in range(REQUESTS)]
        self.paid: dict[int, int] = {}
        for what, value in done:
            match what:
                case "ask":
                    self.ask(value)
                case "wait":
                    self.now += value
                case "clock back":
                    self.now -= value
                case _:
                    self.pay(value, 0 if what == "pay the first price" else -1)

    def unpaid(self):
        latest, earliest = period(self.now)
        return [
            known
            for known in self.charges.values()
            if not known.paid and known.issued <= latest and known.expires >= earliest
        ]

    def ask(self, number):
        account = replace(self.account, unpaid=len(self.unpaid()))
        waiting = [known.waiting for known in self.unpaid() if known.waiting is not None]
        known = self.charges.get(number)
        try:
            if known is None:
                named = {"request_id": f"r{number}", "digest": b"d"}
                asked = batch(IMAGES, NANO)
                found = charge(account, waiting, asked, self.tariff, **named, now=self.now)
            else:
                known = replace(known, account=account)
                found = retry(known, waiting, b"d", self.tariff, now=self.now)
        except (RetriesExhausted, TooManyUnpaid):
            return
        self.charges[number], self.account = found, found.account
        assert found.account.unpaid == len(self.unpaid())
        if known is not None:
            assert found.work >= known.work
        if not found.paid:
            self.given[number].append((found.puzzle, self.now, found.expires))

    def pay(self, number, at):
        if not self.given[number]:
            return
        puzzle, issued, expires = self.given[number][at]
        if not issued - CLOCK_SKEW <= self.now <= expires + CLOCK_SKEW:
            return  # as the gate refuses its token
        known = replace(self.charges[number], account=self.account)
        try:
            after = settle(known, Payment("", f"r{number}", b"d", puzzle), self.tariff.thresholds)
        except NothingToRedeem:
            return
        if after is not known:
            self.paid[number] = puzzle.work
            self.charges[number], self.account = after, after.account
        assert settle(after, Payment("", f"r{number}", b"d", puzzle), ()) is after


@settings(max_examples=150)
@given(steps)
def test_no_order_of_asking_and_paying_makes_answers_cheaper(done):
    """As many answers, asked and paid one by one, cost no more; each request is charged once."""
    books = Books(Steps(), done)
    direct = sum(IMAGES * 1_000 << (number + 1) for number in range(len(books.paid)))
    assert sum(books.paid.values()) >= direct * (1 - 1 / 33)  # as far as a puzzle may be off
    assert books.account.counted == IMAGES * len(books.paid)
    assert books.account.charged == IMAGES * len(books.charges)


def charged(account=Account(), waiting=(), images=1, cost=NANO, tariff=None):  # noqa: B008
    tariff = tariff or Steps()
    named = {"request_id": "r", "digest": b"d", "now": 0.0}
    return charge(account, waiting, batch(images, cost), tariff, **named)


@given(st.lists(st.integers(1, 30), max_size=4), st.integers(1, 20))
def test_what_waits_never_lowers_a_price(waiting, images):
    before = Account().with_batch(batch(5, NANO))
    alone = charged(before, images=images)
    after = charged(before, [batch(n, NANO) for n in waiting], images=images)
    assert after.work >= alone.work
    assert after.account == replace(alone.account)


def test_nothing_that_can_be_redeemed_may_be_deleted():
    check_retention(86_460)
    with pytest.raises(ValueError, match="retention is 86459 s; expected at least 86460 s"):
        check_retention(86_459)


batches = st.lists(
    st.tuples(st.integers(1, 256), st.integers(0, 300)).map(
        lambda pair: (pair[0], pair[0] * pair[1] * NANO // 100)
    ),
    min_size=1,
    max_size=8,
)


@given(batches)
def test_totals_are_exact_and_a_window_weighs_what_its_number_of_images_says(charges):
    """With a constant cost per image the forgetting mean is that cost, whatever the batches."""
    account, constant = Account(), Account()
    for images, cost in charges:
        account = account.counting(images, cost)
        constant = constant.counting(images, images * NANO)
    assert account.counted == sum(images for images, _ in charges)
    assert account.cost == sum(cost for _, cost in charges)
    for window, total in zip(WINDOWS, constant.sums, strict=True):
        weight = window * (1 - (1 - 1 / window) ** constant.counted)
        assert total / weight == pytest.approx(NANO)
    first, second = Account().counting(1, 5 * NANO), Account().counting(1, 3 * NANO)
    kept = first.counting(1, 3 * NANO).sums[0] - second.sums[0]
    assert kept == pytest.approx(first.sums[0] * (1 - 1 / WINDOWS[0]))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=20))
def test_what_counts_of_a_batch_is_each_image_once(shown):
    digests = tuple(number.to_bytes(DIGEST_BYTES, "big") for number in shown)
    account = Account().with_batch(Batch(tuple(10**number for number in shown), digests))
    assert account.cost == sum(10**number for number in set(shown))
    assert account.counted == len(account.recent) == len(set(shown))


def test_it_remembers_the_images_that_were_shown_last():
    probe, account = batch(1, NANO), Account()
    for _ in range(3):  # showing it again keeps it in mind
        account = account.with_batch(probe)
        for _ in range(RECENT - 1):
            account = account.with_batch(batch(1, NANO))
    assert account.recent[0] == probe.digests[0]
    assert account.with_batch(probe).counted == account.counted
    account = account.with_batch(batch(1, NANO))
    assert len(account.recent) == RECENT
    assert account.with_batch(probe).counted == account.counted + 1  # forgotten


def test_a_batch_that_is_none_is_refused():
    for costs, digests, message in (
        ((1, 2), (bytes(DIGEST_BYTES),), "1 digests for 2 costs"),
        ((1,), (b"short",), "a digest is not of 16 bytes"),
    ):
        with pytest.raises(ValueError, match=message):
            Batch(costs, digests)
