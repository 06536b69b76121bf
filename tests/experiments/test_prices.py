"""The price simulator: its prices are the gate's, its attackers' laws, its tables, its refusals."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledgers import batch
from meaning import assert_same_answers

from core.learning.drift import DRIFTS
from experiments.studies import measures, price_simulation, prices
from experiments.studies.price_attacks import Market, PaperPrices, Steering
from server.calibration import fit, traffic
from server.calibration.traffic import Sample
from server.ledger import MAX_UNPAID, NANO, Account, Payment
from server.ledger.rules import charge, retry, settle
from server.pricing import PolicyTariff
from server.pricing.paper import Paper
from server.pricing.rate import Band, Rate, Score
from server.pricing.vectorised import RatePrices, Terms, play
from server.puzzles import Puzzles

ROOT = Path(__file__).parents[2]
TERMS = Terms(service=1.0, t_min=0.25, t_max=2000.0)
BAND = Band((1, 64, 4096), ((4.0, 1.375, 1.1), (4.0, 1.375, 1.06), (4.0, 1.375, 1.05)))
"""Of honest images of mean 1: a cost of 1.5 is expensive after some, 12 at once."""

RATE = RatePrices(Rate((Score(0.0, 1.0, BAND, 8.0),), 0.05, TERMS.t_min, TERMS.t_max))
MARKET = Market(RATE, TERMS)
PAPER = Paper(base=1.0075, slope=0.8, intercept=-3.0, t_min=0.004, t_max=3000.0)

step = st.tuples(
    st.integers(1, 256), st.lists(st.tuples(st.floats(0, 5), st.booleans()), min_size=2, max_size=2)
)


@settings(deadline=None, max_examples=40)
@given(st.lists(step, min_size=1, max_size=12), st.booleans())
@pytest.mark.parametrize("listed", [RATE, PaperPrices(PAPER, 0.8)], ids=["rate", "paper"])
def test_the_simulator_charges_what_the_gate_charges(listed, history, all_paid):
    policy = listed.policy
    tariff = PolicyTariff(policy, 1e6, listed.honest, Puzzles("sha1"))
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
        listed,
        images,
        np.array(nano)[:, None] / NANO,
        paid=None if all_paid else np.array(paid),
    )
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=0)


def test_paid_filler_is_paid_for():
    useful = np.ones((4, 2048))
    assert MARKET.mean_overhead(useful, 64) == 1.25
    fill = np.random.default_rng(0).random(useful.shape) < 0.75
    assert MARKET.filled(useful, useful, fill) == pytest.approx(1.25 * 4, rel=0.05)


def test_unpaid_filler_lowers_no_price():
    useful, filler = np.full((2, 512), 2.0), np.zeros((2, 512))
    none = MARKET.mean_overhead(useful, 64)
    # One more service for each useful query, and no less work.
    assert MARKET.unpaid(useful, filler) == pytest.approx(none + 1)


def test_an_attacker_that_steers_waits_until_the_price_is_bearable():
    useful, filler = np.full((2, 2048), 3.0), np.zeros((2, 2048))
    blind = MARKET.mean_overhead(useful, 64)
    assert 1.25 < MARKET.steered(useful, filler, Steering(4.0, False, 64)) < blind


def test_an_attacker_leaves_what_is_too_expensive_until_its_places_are_taken():
    tactic, images = Steering(1.0, True, 64), 64 * MAX_UNPAID
    useful, filler = np.full((2, 2 * images), 12.0), np.zeros((2, 2 * images))
    first = MARKET.steered(useful[:, :images], filler[:, :images], tactic)
    assert math.isinf(first)  # every batch is left
    assert MARKET.steered(useful, filler, tactic) > 100


def test_an_account_recovers_from_one_bad_batch():
    good, bad = np.full((2, 4096), 1.0), np.full((2, 64), 5.0)
    queries = MARKET.recovery(good, bad, good, 16)
    assert (queries > 0).all()
    assert (queries < 4096).all()
    assert not MARKET.recovery(good, bad / 5, good, 16).any()


@pytest.mark.parametrize(("size", "at_once"), [(1, 8), (4, 1), (16, 8)])
def test_paying_late_gains_nothing(size, at_once):
    foreign, honest = np.full((2, 192), 5.0), np.ones((2, 64))
    directly = MARKET.mean_overhead(foreign, size)
    assert MARKET.late(foreign, size, at_once) == directly
    assert MARKET.late(foreign, size, at_once, expired=True) == pytest.approx(directly + 1)
    assert MARKET.late(honest, size, at_once, expired=True) == 2.25


@pytest.mark.parametrize(("size", "at_once"), [(1, 8), (4, 8), (16, 1)])
def test_a_hoarder_pays_what_the_ledger_asks(size, at_once):
    means = np.random.default_rng(0).exponential(1.3, 128 // size)
    batches = [batch(size, round(size * mean * NANO)) for mean in means]
    tariff = PolicyTariff(RATE.policy, 2**20 / TERMS.t_min, RATE.honest, Puzzles("sha1"))
    account, asked, spent = Account(), [], 0.0
    groups = [slice(at, at + at_once) for at in range(0, len(batches), at_once)]
    for group in groups:
        behind = []
        for each in batches[group]:
            new = charge(account, behind, each, tariff, request_id="", digest=b"d", now=0.0)
            account, behind = new.account, [*behind, *filter(None, [new.waiting])]
            asked.append(new)
        account = replace(account, unpaid=0)  # all have expired
    for group in groups:
        behind = []
        for at, old in list(enumerate(asked))[group]:
            again = retry(replace(old, account=account), behind, b"d", tariff, now=1e6)
            account, behind = again.account, [*behind, *filter(None, [again.waiting])]
            asked[at] = again
        for known in asked[group]:
            payment = Payment("", "", b"d", known.puzzle)
            account = replace(
                settle(replace(known, account=account), payment, ()).account, unpaid=0
            )
            seconds = min(known.work * 64 / size / tariff.rate, TERMS.t_max)
            spent += size * (2 + seconds / TERMS.service)
    assert MARKET.late(np.repeat(means, size)[None], size, at_once, expired=True) == pytest.approx(
        spent / 128
    )


SMALL = price_simulation.Scale(
    budget=200,
    long=512,
    tricks=256,
    hoarded=32,
    tiny=(1, 4),
    steering=(Steering(4.0, False, 64),),
    hoarding=((16, 2),),
)


def drawn():
    draw = np.random.default_rng(0)

    def sample():
        clean = draw.exponential(1.0, 600)
        drifted = {name: draw.exponential(1.2, 600) for name in DRIFTS}
        return Sample(clean, np.arange(600) % 10, drifted)

    means = {"tinyimagenet": 2.4, "noise": 5.0, "pool": 1.0}
    foreign = {name: draw.exponential(mean, 300) for name, mean in means.items()}
    return price_simulation.Costs(sample(), sample(), foreign)


@pytest.mark.process
def test_the_table_of_a_simulation(monkeypatch):
    monkeypatch.setattr(fit, "GRID", (1, 16, 64, 256))
    monkeypatch.setattr(fit, "BAND_CLIENTS", 20)
    monkeypatch.setattr(fit, "CLIENTS", 10)
    monkeypatch.setattr(fit, "LONG_QUERIES", 256)
    monkeypatch.setattr(traffic, "RESAMPLES", 2)

    costs = drawn()
    policies, rows = price_simulation.simulate(
        costs, TERMS, entry=125.0, clients=10, seed=0, scale=SMALL
    )
    assert set(policies) == {"paper", "rate", "cost", "tail"}
    reached = {goal["goal"]: goal["reached"]["rate"] for goal in prices.goals(rows)}
    assert reached["honest iid, median"] == 1.25
    natural, right = reached["natural pool, 1 account"], reached[prices.GOALS[-1][0]]
    assert natural > right
    assert {goal[0] for goal in prices.GOALS} - set(reached) == {
        "near pool, 1 account",
        "near pool, 100 accounts",  # nobody recorded one
    }
    tiny = [row for row in rows if row["accounts"] == "many of 1"]
    assert all(row["values"]["rate"] >= 1.25 + 125 for row in tiny)
    assert reached["hoarding, against asking at once"] >= 1
    result = {"dataset": "digits", "measure": "gap", "seed": 0, "policies": policies, "rows": rows}
    assert "| natural pool, 1 account | >= 1000 |" in prices.tabulate(
        {**result, "goals": prices.goals(rows)}
    )
    rng = np.random.default_rng(0)  # the same seed fits the same prices
    seen, unseen, _ = fit.parts(costs.calibration, rng)
    assert price_simulation.price_lists(seen, unseen, TERMS, rng)[1] == policies


@pytest.mark.process
def test_costs_are_those_that_were_recorded(digits_home):
    about = {"dataset": "digits", "network": "lenet-thin", "images": 96, "home": digits_home}
    measures.compare(measures.Flags(measures=("gap",), **about), str)
    costs = price_simulation.record("digits", "gap", 0, digits_home, None)
    for sample in (costs.calibration, costs.honest):
        assert len(sample.costs) == len(sample.labels) == 180
        lengths = {name: len(found) for name, found in sample.drifted.items()}
        assert lengths == dict.fromkeys(DRIFTS, 180)
    assert {"noise", "photos", "pool"} <= set(costs.foreign)
    assert not set(DRIFTS) & set(costs.foreign)
    assert len(costs.foreign["noise"]) == 96
    again = price_simulation.record("digits", "gap", 0, digits_home, None)
    assert_same_answers(again.honest.costs, costs.honest.costs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"service": 0.0}, "--service is 0.0"),
        ({"entry": -1.0}, "--entry is -1.0"),
        ({"entry": math.nan}, "--entry is nan"),
        ({"clients": 1}, "--clients is 1"),
        ({"seed": -1}, "--seed is -1"),
        ({"measure": "headz"}, "headz"),
        ({}, "costs-surprisal-typicality.*is missing; run .*experiments measures"),
    ],
)
def test_what_cannot_be_simulated_is_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        prices.run(prices.Flags(dataset="digits", home=tmp_path, **changes))


@pytest.mark.parametrize(
    "file", sorted((ROOT / "docs/results").glob("prices-*.json")), ids=lambda file: file.stem
)
def test_committed_goals_are_those_of_the_committed_rows(file):
    content = json.loads(file.read_text())
    assert content["provenance"]["git_modified"] is False
    assert content["command"].startswith("python -m experiments prices ")
    committed = [
        {**goal, "goal": prices.OLD_NAMES.get(goal["goal"], goal["goal"])}
        for goal in content["goals"]
    ]
    assert prices.goals(content["rows"]) == committed
