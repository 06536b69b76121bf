"""The simulator's prices are the gate's, step by step; and the laws of the rivals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.price_lists import CusumPrices, PaperPrices, WindowPrices, play, rounded
from server.ledger import NANO, Account
from server.pricing import Paper, PolicyTariff, Rate
from server.puzzles import Puzzles

RATE = Rate(honest=0.8, spread=0.4, kappa=8.0, tolerance=0.05, z=3.0, t_min=0.004, t_max=32.0)
PAPER = Paper(base=1.0075, slope=0.8, intercept=-3.0, t_min=0.004, t_max=3000.0)

step = st.tuples(
    st.integers(1, 256), st.lists(st.tuples(st.floats(0, 5), st.booleans()), min_size=2, max_size=2)
)


@settings(deadline=None)
@given(st.lists(step, min_size=1, max_size=12), st.booleans())
@pytest.mark.parametrize(
    ("policy", "prices"), [(RATE, WindowPrices(RATE)), (PAPER, PaperPrices(PAPER, 0.8))]
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
            if paid[at][client] or tariff.is_dear(size, nano[at][client]):
                account = counting
    found, _ = play(
        prices,
        images,
        np.array(nano) / NANO,
        paid=None if all_paid else np.array(paid),
    )
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=0)


def test_an_account_that_never_asked_pays_the_floor():
    prices = WindowPrices(RATE)
    assert prices.seconds(prices.start(3)).tolist() == [RATE.t_min] * 3


def test_an_unpaid_cheap_batch_never_counts_and_a_dear_one_at_once():
    prices = WindowPrices(RATE)
    unpaid = np.zeros((1, 2), dtype=bool)
    _, state = play(prices, [64], np.array([[64 * 0.7, 64 * 3.0]]), paid=unpaid)
    assert state[0].tolist() == [0, 64]


def test_prices_are_rounded_up_to_powers_of_two_above_the_floor():
    seconds = np.array([0.25, 0.26, 0.5, 1.01, 1900.0])
    assert rounded(seconds, 0.25, 2000.0).tolist() == [0.25, 0.5, 0.5, 2.0, 2000.0]


def test_a_tail_score_counts_what_one_honest_image_in_ten_exceeds():
    scores = WindowPrices(RATE, tail=True).scores(np.array([0.0, 2.3, 3.302585092994046]))
    assert scores == pytest.approx([0, 0, 1])


def test_a_band_of_quantiles_replaces_the_standard_errors():
    prices = WindowPrices(RATE, grid=(1, 64), band=((2.0, 1.0), (2.0, 1.0), (2.0, 1.0)))
    state = prices.counting(prices.start(1), 64, np.array([64 * 1.4]))
    assert prices.excess(state) == pytest.approx([(1.4 - 1.0) / 0.8 - 0.05])
    state = prices.counting(prices.start(1), 8, np.array([8 * 1.4]))  # half-way: the limit is 1.5
    assert prices.excess(state) == pytest.approx([0])


def test_a_cusum_forgets_and_has_a_cap():
    prices = CusumPrices(RATE, reference=1.0, reached=32.0)
    dear = np.full((1000, 1), 64 * 4.0)
    seconds, state = play(prices, [64] * 1000, dear)
    assert seconds[-1] == pytest.approx(RATE.t_max)
    seconds, _ = play(prices, [64] * 10, np.full((10, 1), 64 * 0.8), state=state)
    assert seconds[-1] == RATE.t_min


def test_unpaid_filler_may_only_raise_the_excess_where_that_is_asked_for():
    loose, strict = WindowPrices(RATE), WindowPrices(RATE, only_raising=True)
    state = strict.counting(strict.start(2), 64, np.array([64 * 2.0, 64 * 2.0]))
    batch = np.array([64 * 1.0, 64 * 3.0])  # dearer than honest ones, but only one than the account
    assert loose.at_once(state, 64, batch).tolist() == [True, True]
    assert strict.at_once(state, 64, batch).tolist() == [False, True]
    assert strict.at_once(strict.start(2), 64, batch).tolist() == [True, True]
    assert CusumPrices(RATE, reference=2.0, reached=9.0).at_once(state, 64, batch).tolist() == [
        False,
        True,
    ]
