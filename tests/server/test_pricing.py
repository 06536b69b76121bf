"""Prices: the paper's golden values, the laws every price obeys, and the puzzles that ask them."""

import json
import math
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pow.puzzle import puzzle_for
from server.ledger import DIGEST_BYTES, NANO, Account, Batch
from server.pricing import NoPrice, PolicyTariff, work_for
from server.pricing.paper import Paper
from server.pricing.rate import Band, Rate, Score
from server.puzzles import Puzzles

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "paper_prices.json").read_text())

SHA1 = Puzzles("sha1")

BAND = Band((1, 64, 4096), ((2.0, 1.0, 0.95), (2.0, 1.0, 0.9), (2.0, 1.0, 0.82)))

RATE = Rate((Score(0.0, 0.8, BAND, 8.0),), tolerance=0.05, t_min=0.004, t_max=32.0)


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
    assert policy.price(charged((64, 0.5))) == policy.seconds(64, 32.0)
    assert policy.price(charged((64, 1e6))) == policy.t_max  # it does not overflow


@pytest.mark.parametrize(
    ("queries", "cost"), [(-1, 0.0), (1, -0.5), (1, math.nan), (math.inf, 1.0)]
)
def test_the_papers_price_refuses_what_is_no_cost(queries, cost):
    with pytest.raises(ValueError, match="expected a finite number"):
        Paper(1.0075, 0.26, -16.5, 0.1, 10.0).seconds(queries, cost)


def test_the_most_expensive_score_decides():
    """Two of four images at 2.0, the others at 0: a mean like honest ones, a tail unlike any."""
    tail = Score(1.5, 0.05, Band((1,), ((0.1,),) * 3), 2.0)
    both = replace(RATE, scores=(*RATE.scores, tail))
    batch = Batch((2 * NANO, 0) * 2, tuple(bytes([n]) * DIGEST_BYTES for n in range(4)))
    account = Account().with_batch(batch, [round(score * NANO) for score in both.thresholds])
    assert RATE.excess(Account().with_batch(batch)) == 0
    assert both.excess(account) == pytest.approx(2 * ((0.25 - 0.1) / 0.05 - 0.05))
    expensive = charged((64, 3.2))  # its tail is not known to be expensive
    assert both.excess(replace(expensive, sums=(*expensive.sums, 0.0, 0.0, 0.0))) == RATE.excess(
        expensive
    )


def test_the_band_is_linear_in_the_logarithm_between_its_points_and_constant_beyond():
    for images, limit in ((1, 2.0), (8, 1.5)):
        excess = RATE.excess(charged((images, 3.2)))
        assert excess == pytest.approx(8 * ((3.2 - limit) / 0.8 - 0.05))
    long = charged(*[(64, 1.2)] * 2000)  # the widest window has the narrowest band, and decides
    assert RATE.excess(long) == pytest.approx(8 * ((1.2 - 0.82) / 0.8 - 0.05))
    assert BAND.after(512) == pytest.approx((0.975, 0.95, 0.91))
    late = Band((4, 8), ((2.0, 1.0),) * 3)
    assert late.after(1) == late.after(4) == (2.0,) * 3
    assert late.after(8) == late.after(10**9) == (1.0,) * 3
    for images, limits, message in (
        ((), ((),) * 3, r"given at \(\) images"),
        ((0, 4), ((1.0, 1.0),) * 3, "expected rising from 1"),
        ((4, 4), ((1.0, 1.0),) * 3, "expected rising from 1"),
        ((1, 2), ((1.0, 1.0), (1.0,), (1.0, 1.0)), r"expected 2 for each of 3 windows"),
    ):
        with pytest.raises(ValueError, match=message):
            Band(images, limits)


def test_an_attacker_is_seen_behind_a_long_honest_past_and_forgiven_after_another():
    honest = [(256, 0.8)] * 200
    assert RATE.price(charged()) == RATE.price(charged(*honest)) == RATE.t_min
    assert RATE.price(charged(*honest, (128, 2.3))) == RATE.t_max
    assert RATE.price(charged((64, 2.3))) > RATE.t_min
    assert RATE.price(charged((64, 2.3), *honest)) == RATE.t_min


history = st.lists(st.tuples(st.integers(1, 256), st.floats(0, 5)), min_size=1, max_size=6)


@given(history, st.floats(0, 5), st.floats(0, 5))
def test_a_more_expensive_batch_never_costs_less_and_prices_are_bounded(past, one, other):
    account = charged(*past)
    low, high = sorted((one, other))
    prices = [RATE.price(account.counting(16, round(16 * cost * NANO))) for cost in (low, high)]
    assert RATE.t_min <= prices[0] <= prices[1] <= RATE.t_max


@given(st.floats(0, 1e6), st.integers(1, 256), st.floats(1, 1e9))
def test_64_images_cost_a_power_of_two_and_others_in_proportion(seconds, images, rate):
    whole, work = work_for(seconds, 64, rate), work_for(seconds, images, rate)
    exact = math.ceil(seconds * rate)
    assert exact <= whole < max(2 * exact, 1)
    assert whole & (whole - 1) == 0
    assert work == -(-whole * images // 64)


def test_nothing_is_free_but_the_policy_without_prices():
    assert PolicyTariff(NoPrice(), 1e6, 0.8, SHA1, entry=500).work(charged((1, 9.0)), 1) == 0
    assert PolicyTariff(RATE, 1e6, 0.8, SHA1).work(charged((1, 0.8)), 1) > 0
    assert work_for(1e300, 256, 1e9) == 2**60  # no more than a challenge can ask


def test_an_account_pays_its_entry_until_it_has_entered():
    tariff = PolicyTariff(RATE, 1e6, 0.8, SHA1, entry=500)
    new = charged((1, 0.8))
    assert tariff.work(new, 1) == tariff.work(replace(new, entered=True), 1) + 500
    most_expensive = PolicyTariff(RATE, 1e30, 0.8, SHA1, entry=500)
    assert most_expensive.work(new, 64) == 2**60


def test_an_unpaid_batch_counts_at_once_where_it_is_expensive_and_raises_the_price():
    tariff = PolicyTariff(RATE, 1e6, 0.8, SHA1)
    attacker = charged((64, 2.3))
    assert tariff.counts_at_once(Account(), attacker)
    assert tariff.counts_at_once(attacker, attacker.counting(64, round(64 * 2.4 * NANO)))
    dilutes = attacker.counting(64, round(64 * 0.9 * NANO))
    assert not tariff.counts_at_once(attacker, dilutes)
    assert not tariff.counts_at_once(attacker, attacker)  # nothing new in it
    paper = PolicyTariff(Paper(1.0075, 0.8, 0.0, 0.1, 10.0), 1e6, 0.8, SHA1)
    assert paper.counts_at_once(attacker, dilutes)
    honest, above = (round(64 * 0.8 * NANO) + more for more in (0, 1))
    assert not paper.counts_at_once(attacker, attacker.counting(64, honest))
    below = charged((64, 0.1))
    assert not paper.counts_at_once(below, below.counting(64, above))  # nearer to the line
    assert not PolicyTariff(NoPrice(), 1e6, 0.8, SHA1).counts_at_once(Account(), attacker)


@dataclass
class Flat:
    """A policy with one price, in seconds per 64 images."""

    seconds: float
    thresholds = ()

    def price(self, account):
        return self.seconds


@pytest.mark.parametrize("images", [1, 7, 64, 256])
@pytest.mark.parametrize(
    ("seconds", "entry", "entered", "algorithm"),
    [
        (0.065, 0, True, "argon2id"),  # 65.536 tries for 64 images
        (0.065 / 2, 0, True, "sha1"),
        (1e-6, 64_000, False, "argon2id"),  # the entry alone is 64 tries
        (1e-6, 63_000, False, "sha1"),
    ],
)
def test_the_algorithm_depends_on_the_price_of_64_images(
    images, seconds, entry, entered, algorithm
):
    """1 MH/s; an argon2id try takes as long as 1 000 hashes."""
    asked = PolicyTariff(Flat(seconds), 1e6, 0.8, Puzzles("argon2id", 1e-3), entry=entry)
    account = replace(Account(), entered=entered)
    work = asked.work(account, images)
    assert asked.puzzle(work, images, account).algorithm == algorithm
    assert Puzzles("sha256").choose(7, Fraction(7)) == puzzle_for(7, "sha256")


@given(st.integers(2, 2**40), st.floats(1e-6, 1))
def test_no_batch_is_asked_less_than_its_price(work, ratio):
    asked = Puzzles("argon2id", ratio).choose(work, Fraction(work))
    if asked.algorithm == "argon2id":
        assert work * ratio <= asked.work <= max(1.25 * work * ratio, work * ratio + 1)
