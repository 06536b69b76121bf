"""How a price is fitted: honest traffic, outliers, the band, and how steep."""

from dataclasses import replace

import numpy as np
import pytest
from calibrations import short_histories
from hypothesis import given, settings
from hypothesis import strategies as st
from ledgers import batch

from server.calibration import fit as fitting
from server.calibration import traffic
from server.calibration.fit import TooNoisy, band, fit, ordinary, overhead
from server.calibration.traffic import Sample
from server.ledger import NANO, Account, Batch
from server.pricing.rate import Band, Rate, Score
from server.pricing.vectorised import RatePrices, Terms, batches, count, play, rounded, start

TERMS = Terms(service=1.0, t_min=0.25, t_max=2000.0)
BAND = Band((1, 64, 4096), ((2.0, 1.0, 0.95), (2.0, 1.0, 0.9), (2.0, 1.0, 0.82)))
TAIL = Score(2.0, 0.1, Band((1, 64), ((1.0, 0.3),) * 3), 1.5)
RATE = Rate((Score(0.0, 0.8, BAND, 8.0), TAIL), 0.05, TERMS.t_min, TERMS.t_max)


def sample(seed, images=400, mean=1.0, drifted=None):
    rng = np.random.default_rng(seed)
    costs = rng.exponential(mean, images)
    names = {name: costs * factor for name, factor in (drifted or {}).items()}
    return Sample(costs, rng.integers(0, 4, images), names)


@pytest.fixture
def small():
    """Fewer and shorter histories."""
    with short_histories():
        yield


def test_every_kind_of_client_differs_in_its_own_way():
    labels = np.repeat(np.arange(10), 50)
    drifting = Sample(labels.astype(float), labels, {"tilted": 3.0 * labels})
    rng = np.random.default_rng(0)
    found = traffic.kinds(drifting, 400, 640, rng)
    assert list(found) == ["iid", "skewed", "varied", "tilted"]
    favourite = {
        kind: np.mean([np.bincount(row.astype(int)).max() / row.size for row in found[kind]])
        for kind in ("iid", "skewed")
    }
    assert favourite["iid"] < 0.15 < 0.25 < favourite["skewed"]
    assert found["tilted"].mean() == pytest.approx(3 * 4.5, rel=0.1)
    means = traffic.varied(np.ones(5), 2_000, 3, rng).mean(axis=1)
    assert (means.mean(), means.std()) == pytest.approx((1.0, 0.1), rel=0.1)
    few = sample(0, images=30)  # resamples differ more than clients who share their images
    shared = traffic.kinds(few, 100, 2_000, rng)["iid"].mean(axis=1).std()
    assert traffic.resampled(few, 100, 2_000, rng)["iid"].mean(axis=1).std() > 3 * shared


def test_a_corrupt_image_is_an_outlier_and_a_long_tail_is_not():
    costs = np.random.default_rng(0).exponential(1.0, 5_000)
    assert ordinary(costs).all()
    costs[7] = 1e6
    assert np.flatnonzero(~ordinary(costs)).tolist() == [7]


def test_no_image_is_used_twice_and_an_outlier_is_fitted_to_by_nobody():
    costs = np.append(np.random.default_rng(0).exponential(1.0, 99), 1e6)
    for seed in range(8):
        parts = fitting.parts(Sample(costs, np.arange(100)), np.random.default_rng(seed))
        seen, chosen, unseen = (part.costs for part in parts)
        used = np.concatenate([part.labels for part in parts])
        assert len(set(used)) == len(used) == 99 + (unseen.max() == 1e6)
        assert max(seen.max(), chosen.max()) < 1e6
        assert (costs[parts[0].labels] == seen).all()
        assert abs(len(seen) - 40) <= 1 >= abs(len(chosen) - 40)


def test_one_client_in_a_hundred_leaves_the_band():
    histories = {"iid": np.random.default_rng(0).exponential(1.0, (1_000, 8_192))}
    for threshold in (0.0, 2.0):
        score = Score(threshold, 1.0, band(histories, threshold), 1.0)
        prices = RatePrices(replace(RATE, scores=(score,), tolerance=0.0))
        first = prices.scores(histories["iid"][:, :64]).sum(axis=2)
        state = count(start(1_000, 1), 64, first)
        assert 10 <= (prices.excess(state) > 0).sum() <= 25  # 1 % by each of three windows


def test_the_widest_kind_of_client_makes_the_band():
    rng = np.random.default_rng(0)
    calm, wild = rng.exponential(1.0, (200, 8_192)), rng.exponential(2.0, (200, 8_192))
    together = band({"calm": calm, "wild": wild})
    assert together == band({"wild": wild})
    assert together.limits[0][-1] > band({"calm": calm}).limits[0][-1]


def test_the_price_is_as_steep_as_honest_clients_bear(small):
    rate = fit(sample(1), sample(2), TERMS, 2.0, np.random.default_rng(0))
    cost, tail = rate.scores
    assert (cost.threshold, cost.honest) == (0.0, sample(1).costs.mean())
    assert tail.threshold == np.quantile(sample(1).costs, 0.9)
    assert tail.honest == np.maximum(sample(1).costs - tail.threshold, 0).mean()
    rng = np.random.default_rng(1)
    for history in traffic.resampled(sample(2), 100, 640, rng).values():
        assert overhead(rate, TERMS, history).p99 <= 2.0


def test_unseen_clients_who_cost_more_make_the_price_gentler_until_none_is_left(small):
    def fitted(mean):
        return fit(sample(1), sample(2, mean=mean), TERMS, 2.0, np.random.default_rng(0))

    assert fitted(1.6).scores[0].kappa < fitted(1.0).scores[0].kappa
    with pytest.raises(TooNoisy, match=r"more than 2 times .* even at kappa 0\.25"):
        fitted(40.0)


EQUAL = Sample(np.ones(400), sample(1).labels)
ALL_TAIL = Sample(np.where(np.arange(400) % 5, 0.1, 4.6), sample(2).labels)  # of the same mean


@pytest.mark.parametrize(("seen", "unseen"), [(EQUAL, EQUAL), (sample(1), ALL_TAIL)])
def test_a_tail_that_is_none_or_cannot_be_judged_is_left_out(small, seen, unseen):
    rate = fit(seen, unseen, TERMS, 2.0, np.random.default_rng(0))
    assert [score.threshold for score in rate.scores] == [0.0]


costs = st.lists(st.floats(0, 5), min_size=1, max_size=40)


@settings(max_examples=40)
@given(st.lists(costs, min_size=1, max_size=8))
def test_many_accounts_at_once_are_priced_as_one(history):
    prices, account, state = RatePrices(RATE), Account(), start(2, 2)
    thresholds = [round(threshold * NANO) for threshold in RATE.thresholds]
    for images in history:
        new = Batch(tuple(round(c * NANO) for c in images), batch(len(images), 0).digests)
        account = account.with_batch(new, thresholds)
        score = prices.scores(np.array([images] * 2)).sum(axis=2)
        state = count(state, len(images), score)
        assert prices.seconds(state) == pytest.approx([RATE.price(account)] * 2, rel=1e-6)
        assert prices.excess(state) == pytest.approx([RATE.excess(account)] * 2, abs=1e-7)


def test_histories_are_cut_into_batches_and_work_is_rounded_up_between_floor_and_cap():
    images, scores = batches(np.arange(10.0).reshape(1, 2, 5), 2)
    assert images == [2, 2, 1]
    assert scores.tolist() == [[[1.0, 11.0]], [[5.0, 15.0]], [[4.0, 9.0]]]
    found = rounded(np.array([0.25, 0.26, 0.5, 1e9]), 0.25, 1000.0)
    assert found.tolist() == [0.25, 0.5, 0.5, 1000.0]


def test_an_unpaid_batch_counts_at_once_only_where_it_raises_the_price():
    prices = RatePrices(RATE)
    more, less, most = (prices.scores(np.full((1, 64), x)).sum(axis=2) for x in (3.0, 1.5, 6.0))
    _, state = play(prices, [64], more[None])
    assert not prices.at_once(state, 64, less)[0]
    assert prices.at_once(state, 64, most)[0]
    paid = np.array([[True], [False], [False]])
    _, after = play(prices, [64] * 3, np.stack([more, less, most]), paid=paid)
    assert after[0, 0] == 128
