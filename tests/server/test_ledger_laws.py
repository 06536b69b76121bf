"""Laws of the ledger over any order of asking, retrying, paying and waiting."""

from hypothesis import given, settings
from hypothesis import strategies as st
from ledgers import Clock, Steps, batch

from pow.hashcash import CLOCK_SKEW
from server.ledger import NANO, Account, Payment
from server.ledger.sqlite import SqliteLedger
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


class Client:
    """Asks for equal batches, and pays with any challenge it was ever given and the gate takes."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.ledger = SqliteLedger(":memory:", fingerprint="f", tariff=Steps(), clock=self.clock)
        self.batches = [batch(IMAGES, NANO) for _ in range(REQUESTS)]
        self.given = [[] for _ in range(REQUESTS)]
        self.paid: dict[int, int] = {}

    def ask(self, number: int) -> None:
        name = f"r{number}"
        try:
            charge = self.ledger.recall("anne", name, b"d").result()
            if not hasattr(charge, "puzzle"):
                charge = self.ledger.ask("anne", name, b"d", self.batches[number]).result()
        except (RetriesExhausted, TooManyUnpaid):
            return
        if not charge.paid:
            self.given[number].append((charge.puzzle, self.clock.now, charge.expires))

    def pay(self, number: int, at: int) -> None:
        if not self.given[number]:
            return
        puzzle, issued, expires = self.given[number][at]
        if not issued - CLOCK_SKEW <= self.clock.now <= expires + CLOCK_SKEW:
            return  # as the gate refuses its token
        try:
            payment = Payment(self.ledger.books, f"r{number}", b"d", puzzle)
            if self.ledger.settle("anne", payment).result():
                self.paid[number] = puzzle.work
        except NothingToRedeem:
            pass

    def run(self, done) -> None:
        for what, value in done:
            if what == "ask":
                self.ask(value)
            elif what == "wait":
                self.clock.now += value
            elif what == "clock back":
                self.clock.now -= value
            else:
                self.pay(value, 0 if what == "pay the first price" else -1)


def ran(done) -> tuple[Client, Account]:
    """A client that has done these steps, and its account."""
    client = Client()
    client.run(done)
    account = client.ledger.account("anne").result()
    client.ledger.close()
    return client, account


@settings(deadline=None, max_examples=400)
@given(steps)
def test_no_order_of_asking_and_paying_makes_answers_cheaper(done):
    """As many answers, asked and paid one by one, cost no more."""
    client, account = ran(done)
    direct = sum(IMAGES * 1_000 << (number + 1) for number in range(len(client.paid)))
    assert sum(client.paid.values()) >= direct * (1 - 1 / 33)  # as far as a puzzle may be off
    assert account.counted == IMAGES * len(client.paid)


@settings(deadline=None, max_examples=60)
@given(steps)
def test_every_request_is_charged_once(done):
    client, account = ran(done)
    asked = sum(bool(given) for given in client.given)
    assert account.charged == IMAGES * asked
    assert account.unpaid <= asked - len(client.paid)
