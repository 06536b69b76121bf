"""The simulator's prices are the gate's, step by step; and the laws of the rivals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.prices.lists import CusumPrices, PaperPrices
from server.ledger import NANO, Account
from server.pricing import Band, Paper, PolicyTariff, Rate, Score
from server.pricing.vectorised import RatePrices, play
from server.puzzles import Puzzles

BAND = Band((1, 64, 4096), ((2.0, 1.0, 0.95), (2.0, 1.0, 0.9), (2.0, 1.0, 0.82)))
RATE = Rate((Score(0.0, 0.8, BAND, 8.0),), tolerance=0.05, t_min=0.004, t_max=32.0)
PAPER = Paper(base=1.0075, slope=0.8, intercept=-3.0, t_min=0.004, t_max=3000.0)
CUSUM = CusumPrices(0.8, 8.0, RATE.t_min, RATE.t_max, reference=1.0, reached=32.0)

step = st.tuples(
    st.integers(1, 256), st.lists(st.tuples(st.floats(0, 5), st.booleans()), min_size=2, max_size=2)
)


@settings(deadline=None)
@given(st.lists(step, min_size=1, max_size=12), st.booleans())
@pytest.mark.parametrize(
    ("policy", "prices"), [(RATE, RatePrices(RATE)), (PAPER, PaperPrices(PAPER, 0.8))]
)
def test_the_simulator_charges_what_the_gate_charges(policy, prices, history, all_paid):
    tariff = PolicyTariff(policy, 1e6, 0.8, Puzzles("sha1"))
    images = [size for size, _ in history]
    nano = [[round(size * cost * NANO) for cost, _ in clients] for size, clients in history]
    paid = [[all_paid or pays for _, pays in clients] for _, clients in history]
    expected = np.empty((len(history), 2))
    for client in range(2):
        account = Account()
        for at, size in enumerate(images):
            counting = account.counting(size, nano[at][client])
            expected[at, client] = policy.price(counting)
            if paid[at][client] or tariff.counts_at_once(account, counting):
                account = counting
    found, _ = play(
        prices,
        images,
        np.array(nano)[:, None] / NANO,
        paid=None if all_paid else np.array(paid),
    )
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=0)


def test_an_account_that_never_asked_pays_the_floor():
    prices = RatePrices(RATE)
    assert prices.seconds(prices.start(3)).tolist() == [RATE.t_min] * 3


def test_an_unpaid_cheap_batch_never_counts_and_a_dear_one_at_once():
    prices = RatePrices(RATE)
    unpaid = np.zeros((1, 2), dtype=bool)
    _, state = play(prices, [64], np.array([[[64 * 0.7, 64 * 3.0]]]), paid=unpaid)
    assert state[0].tolist() == [0, 64]


def test_a_cusum_forgets_and_has_a_cap():
    dear = np.full((1000, 1, 1), 64 * 4.0)
    seconds, state = play(CUSUM, [64] * 1000, dear)
    assert seconds[-1] == pytest.approx(RATE.t_max)
    seconds, _ = play(CUSUM, [64] * 10, np.full((10, 1, 1), 64 * 0.8), state=state)
    assert seconds[-1] == RATE.t_min


def test_unpaid_filler_may_only_raise_the_excess():
    prices = RatePrices(RATE)
    state = prices.counting(prices.start(2), 64, np.array([[64 * 2.0, 64 * 2.0]]))
    batch = np.array([[64 * 1.0, 64 * 3.0]])  # dearer than honest, but only one than the account
    assert prices.at_once(state, 64, batch).tolist() == [False, True]
    assert prices.at_once(prices.start(2), 64, 2 * batch).tolist() == [True, True]
    paper = PaperPrices(PAPER, 0.8)
    below = paper.counting(paper.start(2), 64, np.array([[0.0, 64 * 2.0]]))
    assert paper.at_once(below, 64, batch).tolist() == [False, True]  # nearer to the line: not
    gentle = CusumPrices(0.8, 8.0, 0.004, 32.0, reference=2.0, reached=9.0)
    assert gentle.at_once(gentle.start(2), 64, batch).tolist() == [False, True]
