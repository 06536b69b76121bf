"""Prices: the paper's golden values, and the laws every price obeys."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.ledger import NANO, Account
from server.pricing import Free, Paper, PolicyTariff, Rate, work_for
from server.puzzles import Puzzles

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "paper_prices.json").read_text())

SHA1 = Puzzles("sha1")

RATE = Rate(honest=0.8, spread=0.4, kappa=8.0, tolerance=0.05, z=3.0, t_min=0.004, t_max=32.0)


def charged(*batches: tuple[int, float]) -> Account:
    """An account that counted batches of (images, cost per image)."""
    account = Account()
    for images, cost in batches:
        account = account.counting(images, round(images * cost * NANO))
    return account


@pytest.mark.parametrize("dataset", GOLDEN["datasets"])
def test_the_papers_prices(dataset):
    known = GOLDEN["datasets"][dataset]
    policy = Paper(*(known[name] for name in ("base", "slope", "intercept", "t_min", "t_max")))
    assert len(known["grid"]) > 20
    for point in known["grid"]:
        seconds = policy.seconds(point["queries"], point["privacy_cost"])
        assert seconds == pytest.approx(point["timing"], rel=1e-9, abs=0)


def test_the_papers_price_has_a_cap_that_does_not_crash():
    policy = Paper(1.0075, 0.26, -16.5, 0.1, 2948.467908)
    assert policy.seconds(64, 1e9) == 2948.467908
    assert policy.price(charged((64, 1e6))) == 2948.467908


@pytest.mark.parametrize(
    ("queries", "cost"), [(-1, 0.0), (1, -0.5), (1, math.nan), (math.inf, 1.0)]
)
def test_the_papers_price_refuses_what_is_no_cost(queries, cost):
    with pytest.raises(ValueError, match="expected a finite number"):
        Paper(1.0075, 0.26, -16.5, 0.1, 10.0).seconds(queries, cost)


def test_the_paper_prices_the_account():
    policy = Paper(1.0075, 0.25, 0.0, 0.001, 100.0)
    account = charged((64, 0.5))
    assert policy.price(account) == pytest.approx(1.0075 ** (64 * 0.25))


def test_an_honest_account_pays_the_floor():
    assert RATE.price(charged((64, 0.8), (64, 0.8))) == RATE.t_min
    assert RATE.price(Account()) == RATE.t_min


def test_the_excess_of_a_first_image_by_hand():
    # One image: mean 3.2, standard error = spread 0.4; (3.2 - 0.8 - 3 * 0.4) / 0.8 - 0.05
    assert RATE.excess(charged((1, 3.2))) == pytest.approx(1.45)


def test_the_band_narrows_with_the_number_of_images():
    excess = [RATE.excess(charged(*[(64, 1.2)] * batches)) for batches in (1, 4, 16, 64)]
    assert excess == sorted(excess)
    assert excess[0] > 0  # 64 images at 1.5 times the honest mean are no accident
    # The limit of the widest window: Q = 1 / (1 - a^2), N = window.
    a = 1 - 1 / 4096
    error = 0.4 * math.sqrt(1 / (1 - a * a)) / 4096
    limit = (1.2 - 0.8 - 3 * error) / 0.8 - 0.05
    assert RATE.excess(charged(*[(64, 1.2)] * 2000)) == pytest.approx(limit)


def test_the_shortest_window_sees_a_thief_behind_a_long_honest_past():
    past = charged(*[(256, 0.8)] * 200)
    assert RATE.price(past) == RATE.t_min
    thief = past.counting(128, round(128 * 2.3 * NANO))
    assert RATE.price(thief) == RATE.t_max


def test_the_price_forgives_after_enough_honest_images():
    account = charged((64, 2.3))
    assert RATE.price(account) > RATE.t_min
    for _ in range(200):
        account = account.counting(64, round(64 * 0.8 * NANO))
    assert RATE.price(account) == RATE.t_min


def test_cheap_images_are_not_punished():
    assert RATE.price(charged(*[(64, 0.1)] * 50)) == RATE.t_min


history = st.lists(st.tuples(st.integers(1, 256), st.floats(0, 5)), min_size=1, max_size=6)


@given(history, st.floats(0, 5), st.floats(0, 5))
def test_a_dearer_batch_never_costs_less_and_prices_are_bounded(past, one, other):
    account = charged(*past)
    low, high = sorted((one, other))
    prices = [RATE.price(account.counting(16, round(16 * cost * NANO))) for cost in (low, high)]
    assert RATE.t_min <= prices[0] <= prices[1] <= RATE.t_max


@given(st.floats(0, 1e6), st.integers(1, 256), st.floats(1, 1e9))
def test_work_is_a_power_of_two_that_covers_the_price(seconds, images, rate):
    work = work_for(seconds, images, rate)
    exact = math.ceil(seconds * images / 64 * rate)
    assert work >= exact
    assert work & (work - 1) == 0
    assert work < 2 * exact or exact == 0 == work


def test_work_is_linear_in_images():
    assert work_for(1.0, 64, 1024.0) == 64 * work_for(1.0, 1, 1024.0)


def test_nothing_is_free_but_the_free_policy():
    assert PolicyTariff(Free(), 1e6, 0.8, SHA1).work(charged((1, 9.0)), 1) == 0
    assert PolicyTariff(RATE, 1e6, 0.8, SHA1).work(charged((1, 0.8)), 1) > 0


def test_dear_is_dearer_than_honest():
    tariff = PolicyTariff(RATE, 1e6, 0.8, SHA1)
    assert not tariff.is_dear(10, round(8.0 * NANO))
    assert tariff.is_dear(10, round(8.0 * NANO) + 1)


def test_no_price_asks_more_than_a_challenge_can():
    assert work_for(1e300, 256, 1e9) == 2**60


def test_an_account_waits_as_long_as_its_challenge_stays_open():
    assert PolicyTariff(RATE, 1e6, 0.8, SHA1).lifetime(2**20) == 600
    assert PolicyTariff(RATE, 1e6, 0.8, SHA1).lifetime(2**28) == pytest.approx(2684, abs=1)
    # 2^28 hashes of SHA-1 are 2^10 tries: ten times what 250 tries a second need is 41 s.
    argon2id = Puzzles("argon2id", 2.0**-18)
    assert PolicyTariff(RATE, 1e6, 0.8, argon2id).lifetime(2**28) == 600


def test_an_unpaid_batch_may_only_raise_what_the_price_grows_with():
    tariff = PolicyTariff(RATE, 1e6, 0.8, SHA1)
    thief = charged((64, 2.3))
    assert tariff.raises(Account(), thief)
    assert tariff.raises(thief, thief.counting(64, round(64 * 2.4 * NANO)))
    assert not tariff.raises(thief, thief.counting(64, round(64 * 0.9 * NANO)))  # dear, yet dilutes
    paper = PolicyTariff(Paper(1.0075, 0.8, 0.0, 0.1, 10.0), 1e6, 0.8, SHA1)
    assert paper.raises(thief, thief.counting(64, round(64 * 0.9 * NANO)))
    assert not paper.raises(thief, thief.counting(64, round(64 * 0.7 * NANO)))
    assert not PolicyTariff(Free(), 1e6, 0.8, SHA1).raises(Account(), thief)
