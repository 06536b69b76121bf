"""The price simulator: its clients, its thieves, its table, and what it refuses."""

import json
import math
import re
import sys

import numpy as np
import pytest
from meaning import assert_same_answers

from core.learning.drift import DRIFTS
from experiments import measures
from experiments.__main__ import main
from experiments.prices import fit as price_fit
from experiments.prices import hoarder, simulation, tables
from experiments.prices import traffic as price_traffic
from experiments.prices.hoarder import Hoard
from experiments.prices.traffic import Steering
from server.calibration import fit, traffic
from server.calibration.traffic import Sample
from server.ledger import MAX_UNPAID
from server.pricing import Rate, Score
from server.pricing.vectorised import RatePrices, Terms

TERMS = Terms(service=1.0, t_min=0.25, t_max=2000.0)
SCORE = Score(0.0, 1.0, price_fit.errors_band(1.0, 1.0), 8.0)
RATE = RatePrices(Rate((SCORE,), 0.05, TERMS.t_min, TERMS.t_max))


def rng():
    return np.random.default_rng(0)


def test_a_band_of_standard_errors_by_hand():
    band = price_fit.errors_band(0.8, 0.4)
    assert band.after(1) == pytest.approx((0.8 + 3 * 0.4,) * 3)
    a = 1 - 1 / 4096
    error = 0.4 * math.sqrt((1 - a**1024) / (1 - a * a)) / (4096 * (1 - a**512))
    assert band.after(512)[2] == pytest.approx(0.8 + 3 * error)


def test_an_honest_client_pays_the_floor():
    assert price_traffic.mean_overhead(RATE, TERMS, np.ones((3, 640)), 64) == 1.25


def test_paid_filler_is_paid_for():
    useful = np.ones((4, 2048))
    fill = rng().random(useful.shape) < 0.75
    cost = price_traffic.filled(RATE, TERMS, useful, useful, fill, 64)
    assert cost == pytest.approx(1.25 * 4, rel=0.05)


def test_blocks_of_filler_take_turns_with_what_is_wanted():
    assert (
        price_traffic.blocks((2, 7), 2, 3).tolist() == [[False] * 2 + [True] * 3 + [False] * 2] * 2
    )


def test_unpaid_filler_lowers_no_price():
    useful, filler = np.full((2, 512), 2.0), np.zeros((2, 512))
    none = price_traffic.mean_overhead(RATE, TERMS, useful, 64)
    left = price_traffic.unpaid(RATE, TERMS, useful, filler, 1, 64)
    assert left == pytest.approx(none + 1)  # one more service for each useful query


def test_asking_eight_batches_before_paying_gains_nothing_where_they_are_dear():
    useful = np.full((2, 1024), 1.5)
    none = price_traffic.mean_overhead(RATE, TERMS, useful, 64)
    assert price_traffic.delayed(RATE, TERMS, useful, 8, 64) == none


def test_a_thief_who_steers_waits_until_the_price_is_bearable():
    useful, filler = np.full((2, 2048), 3.0), np.zeros((2, 2048))
    blind = price_traffic.mean_overhead(RATE, TERMS, useful, 64)
    steers = price_traffic.steered(RATE, TERMS, useful, filler, Steering(4.0, False, 64))
    assert 1.25 < steers < blind


def test_a_thief_leaves_what_is_too_dear_until_his_places_are_taken():
    tactic, images = Steering(1.0, True, 64), 64 * MAX_UNPAID
    useful, filler = np.full((2, 2 * images), 12.0), np.zeros((2, 2 * images))
    first = price_traffic.steered(RATE, TERMS, useful[:, :images], filler[:, :images], tactic)
    assert math.isinf(first)  # every batch is left
    assert price_traffic.steered(RATE, TERMS, useful, filler, tactic) > 100


def test_a_thief_who_reads_prices():
    nothing = np.empty((3, 0))
    # Within what honest users show all prices are equal; far beyond it they are at the cap.
    for costs in (0.5, 500.0):
        quoted = np.full((3, 512), costs) * np.linspace(1.0, 1.1, 512)
        assert price_traffic.reading(RATE, TERMS, nothing, quoted, 64) == 0.0
    # In between they show the order: each batch is dearer than the last, and counts at once.
    quoted = np.repeat(np.linspace(1.6, 2.2, 8), 64)[None]
    assert price_traffic.reading(RATE, TERMS, np.ones((1, 640)), quoted, 64) > 0.9


def test_an_account_recovers_from_one_bad_batch():
    good, bad = np.full((2, 4096), 1.0), np.full((2, 64), 5.0)
    queries = price_traffic.recovery(RATE, TERMS, good, bad, good, 16)
    assert (queries > 0).all()
    assert (queries < 4096).all()
    assert not price_traffic.recovery(RATE, TERMS, good, bad / 5, good, 16).any()


@pytest.fixture
def small(monkeypatch):
    for module in (simulation, tables):
        monkeypatch.setattr(module, "BUDGET", 200)
        monkeypatch.setattr(module, "LONG", 512)
        monkeypatch.setattr(module, "TINY", (1, 4))
        monkeypatch.setattr(module, "ACCOUNTS", (1,))
    for module in (fit, price_fit):
        monkeypatch.setattr(module, "GRID", (1, 16, 64, 256))
        monkeypatch.setattr(module, "BAND_CLIENTS", 20)
        monkeypatch.setattr(module, "CLIENTS", 10)
        monkeypatch.setattr(module, "LONG_QUERIES", 256)
    for module in (fit, price_fit, simulation):
        monkeypatch.setattr(module, "QUERIES", 128)
    monkeypatch.setattr(traffic, "RESAMPLES", 2)
    monkeypatch.setattr(price_traffic, "tactics", lambda: [Steering(4.0, False, 64)])
    monkeypatch.setattr(simulation, "TRICK_QUERIES", 256)
    monkeypatch.setattr(simulation, "HOARDED", 64)
    monkeypatch.setattr(hoarder, "tactics", lambda: [Hoard(16, 2)])


def plan_for(home, **changes):
    settings = {
        "dataset": "digits",
        "measure": "surprisal:typicality",
        "seed": 0,
        "service": 0.01,
        "entry": 500.0,
        "clients": 10,
        "home": home,
        "data": None,
    }
    return simulation.Plan(**{**settings, **changes})


def drawn(surprisal_of_thieves=2.4):
    draw = rng()
    labels = np.arange(600) % 10
    honest = [
        Sample(
            draw.exponential(1.0, 600),
            labels,
            {name: draw.exponential(1.2, 600) for name in DRIFTS},
        )
        for _ in range(2)
    ]
    return simulation.Costs(
        *honest,
        {
            "tinyimagenet": draw.exponential(surprisal_of_thieves, 300),
            "noise": draw.exponential(5.0, 300),
            "pool": draw.exponential(1.0, 300),
        },
    )


def test_the_table_of_a_simulation(small, tmp_path):
    result = simulation.simulate(plan_for(tmp_path), drawn())
    assert {"paper", "rate", "cost", "tail"} <= set(result["policies"])
    reached = {goal["goal"]: goal["reached"]["rate"] for goal in result["goals"]}
    assert reached["honest iid, median"] == 1.25
    assert reached["natural pool, 1 account"] > reached["thief with the right data, 1 account"]
    assert not any(goal.startswith("near pool") for goal in reached)  # nobody recorded one
    tiny = [row for row in result["rows"] if row["accounts"] == "many of 1"]
    assert all(row["values"]["rate"] >= 1.25 + 125 for row in tiny)  # entry work: 500 / 4
    assert reached["hoarding, against asking at once"] >= 1
    text = tables.tabulate(result)
    hoarding = next(line for line in text.splitlines() if line.startswith("| hoarding"))
    assert hoarding.count("| - |") == 1  # cusum, by which no gate can charge
    assert "| natural pool, 1 account | >= 1000 |" in text
    file = tmp_path / "prices.json"
    tables.save(result, file, ["python", "-m", "experiments", "prices"])
    content = json.loads(file.read_text())
    assert content["command"] == "python -m experiments prices"
    assert content["provenance"]["seed"] == 0


def test_the_same_seed_fits_the_same_prices(small):
    honest = drawn().calibration
    fits = [price_fit.price_lists(honest, honest, TERMS, rng=rng()) for _ in range(2)]
    assert fits[0] == fits[1]


def test_costs_are_those_that_were_recorded(digits_home):
    plan = measures.Plan(
        dataset="digits",
        network="lenet-thin",
        measures=("gap",),
        seeds=(0,),
        images=96,
        home=digits_home,
        data=None,
    )
    measures.run(plan, command=[], file=None, say=str)
    costs = simulation.record(plan_for(digits_home, measure="gap"))
    for sample in (costs.calibration, costs.honest):
        assert len(sample.costs) == len(sample.labels) == 180
        assert {name: len(found) for name, found in sample.drifted.items()} == dict.fromkeys(
            DRIFTS, 180
        )
    assert {"noise", "photos", "pool"} <= set(costs.foreign)
    assert not set(DRIFTS) & set(costs.foreign)
    assert len(costs.foreign["noise"]) == 96
    again = simulation.record(plan_for(digits_home, measure="gap"))
    assert_same_answers(again.honest.costs, costs.honest.costs)


def test_costs_that_nobody_recorded_are_refused(tmp_path, monkeypatch, capsys):
    command = ["experiments", "prices", "--dataset", "digits", "--home", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", command)
    assert main() == 1
    said = capsys.readouterr().err
    assert re.search(r"costs-surprisal-typicality.*is missing; run .*experiments measures", said)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"service": 0.0}, "--service is 0.0"),
        ({"entry": -1.0}, "--entry is -1.0"),
        ({"entry": math.nan}, "--entry is nan"),
        ({"clients": 1}, "--clients is 1"),
        ({"seed": -1}, "--seed is -1"),
        ({"measure": "headz"}, "headz"),
    ],
)
def test_what_cannot_be_simulated_is_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        plan_for(tmp_path, **changes)


def test_a_price_that_honest_clients_cannot_bear_is_refused():
    steep = {"iid": np.full((4, 640), 50.0)}
    with pytest.raises(fit.TooNoisy, match="cannot bear it"):
        price_fit.steepest(RATE, TERMS, steep, fit.KAPPAS)


def test_of_the_steepness_honest_clients_bear_the_largest_is_taken():
    history = {"iid": np.full((4, 640), 1.5)}
    prices, kappa = price_fit.steepest(RATE, TERMS, history, fit.KAPPAS)
    assert prices.policy.scores[0].kappa == kappa
    assert price_traffic.mean_overhead(prices, TERMS, history["iid"], 64) <= 2
    steeper = price_fit._with_kappa(RATE, kappa + 1)
    assert price_traffic.overheads(steeper, TERMS, history["iid"], 64)[1].max() > 2
