"""The hoarder of the price simulator: what he pays is what the gate's ledger charges."""

import numpy as np
import pytest

from experiments.prices import fit, hoarder, simulation
from experiments.prices import traffic as price_traffic
from experiments.prices.hoarder import Hoard
from experiments.prices.lists import CusumPrices
from server.ledger import rules
from server.pricing import Rate, Score
from server.pricing.vectorised import RatePrices, Terms

TERMS = Terms(service=0.008, t_min=0.002, t_max=16.0)
SCORE = Score(0.0, 1.0, fit.errors_band(1.0, 1.0), 8.0)
RATE = RatePrices(Rate((SCORE,), 0.05, TERMS.t_min, TERMS.t_max))
FOREIGN = np.full((2, 192), 3.0)
FLOOR = 2 + TERMS.t_min / TERMS.service
"""Asked twice, and priced like an honest query."""


@pytest.fixture
def old_rule(monkeypatch):
    """A ledger whose charges keep their price although they expired before they counted."""
    monkeypatch.setattr(rules, "reprice", lambda known, waiting, tariff: known)


def test_old_prices_of_expired_charges_would_sell_foreign_answers_at_the_floor(old_rule):
    assert hoarder.hoarded(RATE, TERMS, FOREIGN, Hoard(1, 1)) == FLOOR


@pytest.mark.parametrize("tactic", list(hoarder.tactics()), ids=str)
def test_hoarding_costs_no_less_than_asking_at_once(tactic):
    directly = price_traffic.mean_overhead(RATE, TERMS, FOREIGN, tactic.size)
    paid = hoarder.hoarded(RATE, TERMS, FOREIGN, tactic)
    assert paid > 100 * FLOOR
    # Once more asked; and a ledger keeps its costs in nano-units, so that few prices are one step
    # off.
    assert paid == pytest.approx(directly + 1, rel=0.02)


def test_honest_images_cost_the_floor_even_then():
    honest = np.ones((2, 64))
    assert hoarder.hoarded(RATE, TERMS, honest, Hoard(4, 8)) == FLOOR


def test_no_gate_can_charge_by_a_sum_that_forgets_nothing():
    cusum = CusumPrices(1.0, 1.0, TERMS.t_min, TERMS.t_max, 1.2, 10.0)
    figures = simulation._hoarding(TERMS, FOREIGN[:1, :32])
    assert figures(cusum) == {}
    found = figures(RATE)
    assert found["hoarded, ratio"] >= 1
    assert found["per useful query"] > FLOOR
