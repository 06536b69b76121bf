"""Calibration: what it finds, what it promises, and which ones are refused."""

import asyncio
import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from calibrations import RATES, calibrate
from commands import MEASURE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledgers import batch
from mutations import mutated

from core.learning.datasets import Split, load
from pow.puzzle import MAX_WORK
from server import calibration, measures, model
from server.admission import Pace
from server.calibration import CalibrationError
from server.calibration.make import Targets
from server.calibration.service import measure_service
from server.ledger import NANO, Account, Batch
from server.measures import costs_of
from server.pricing import work_for
from server.puzzles import Puzzles

RATE = asdict(RATES["sha1"])

SCORE = {
    "threshold": 0.0,
    "honest": 1.0,
    "kappa": 1.0,
    "band": {"images": [1], "limits": [[2.0]] * 3},
}


@pytest.fixture(scope="module")
def prepared(home):
    return model.load(home, "m", MEASURE)


@pytest.fixture(scope="module")
def honest(home):
    return measures.reserve(MEASURE, load("digits", home=home).splits["calibration"])[1]


@pytest.fixture(scope="module")
def calibrated(home, prepared):
    return calibration.load(calibration.path(home, "m", MEASURE), prepared.fingerprint)


def test_it_finds_the_honest_mean_of_the_part_it_saw(calibrated, prepared, honest):
    costs = costs_of(prepared.measure, prepared.victim, honest.images)
    order = np.random.default_rng(0).spawn(1)[0].permutation(len(costs))
    seen = costs[order < 0.4 * len(costs)]
    assert calibrated.mean == pytest.approx(seen.mean())
    assert calibrated.spread == pytest.approx(seen.std())
    assert calibrated.slope == pytest.approx(seen.mean(), rel=0.2)
    assert calibrated.images["fitted"] == len(seen)
    assert sum(calibrated.images.values()) == len(costs)
    kinds = ["iid", "skewed", "varied", "tilted"]
    assert list(calibrated.overhead) == [*kinds, *(f"{kind}, long" for kind in kinds)]
    assert all(1.0 < found.median <= found.p99 for found in calibrated.overhead.values())
    assert calibrated.overhead["iid"].p99 <= calibrated.bearable == 2.0


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_floor_and_cap_are_not_rounded_up(calibrated, algorithm):
    policy, rate = calibrated.policy("rate", algorithm), calibrated.hash_rate(algorithm)
    assert 1e-4 < calibrated.service < 10
    assert 0.125 - 1e-3 < policy.t_min / calibrated.service <= 0.25
    assert 0.05 - 1e-3 < policy.t_max <= 0.1
    for seconds in (policy.t_min, policy.t_max):
        for images in (64, 16, 1):
            work = work_for(seconds, images, rate)
            assert work == pytest.approx(seconds * images / 64 * rate, abs=1)


def test_work_is_counted_in_the_hashes_that_are_asked(calibrated):
    for algorithm, rate in (("sha1", 5e7), ("sha256", 3e7), ("virtual", 5e7)):
        tariff = calibrated.tariff("rate", algorithm)
        assert (tariff.rate, tariff.puzzles) == (rate, Puzzles(algorithm))
    tariff = calibrated.tariff("rate", "argon2id")
    # The same second of work: 5e7 hashes of SHA-1 or 1 000 tries of argon2id.
    assert (tariff.rate, tariff.puzzles) == (5e7, Puzzles("argon2id", 1_000 / 5e7))
    with pytest.raises(ValueError, match="no hash rate of sha256"):
        replace(calibrated, rates={"sha1": calibrated.rates["sha1"]}).hash_rate("sha256")
    with pytest.raises(ValueError, match="'free' is unknown; expected none, paper or rate"):
        calibrated.policy("free")


@pytest.mark.parametrize(
    ("change", "mistake"),
    [
        ({"t_min": None}, "t_min is None, expected"),
        ({"mean": 1e300}, r"mean is 1e\+300, expected"),
        ({"t_max": 1e-9}, "t_max is 1e-09 s; expected at least t_min"),
        ({"scores": [{}]}, r"scores\[0\].threshold is missing; scores\[0\].honest is missing"),
        ({"scores": [{**SCORE, "kappa": 1e308}]}, "kappa is .*, expected"),
        ({"scores": [{**SCORE, "honest": 1e-320}]}, "honest is 1e-320, expected"),
        ({"scores": [{**SCORE, "threshold": 5.0}]}, r"begin at \[5.0\]; expected 0, then rising"),
        ({"scores": [SCORE, SCORE]}, r"begin at \[0.0, 0.0\]; expected 0, then rising"),
        (
            {"scores": [{**SCORE, "band": {**SCORE["band"], "more": 1}}]},
            r"scores\[0\].band.more is not a known key",
        ),
        ({"rates": {"sha1": {**RATE, "hashes_per_second": 0}}}, "hashes_per_second is 0"),
        ({"rates": {"sha1": {**RATE, "algorithm": "md5"}}}, "the rate of sha1 is one of md5"),
        ({"rates": {}}, "no hash rate of sha1"),
        ({"t_min": 80_000.0, "t_max": 80_000.0}, r"entry is 500 queries, 6.25e\+05 s of work"),
        (
            {"entri": 1.0, "mean": -1, "spread": -1, "base": 0},
            "base is 0, expected .*; and 1 more; calibrate again",
        ),
        ({"fingerprint": "0" * 64}, "made for fingerprint .* calibrate again"),
        (None, r"calibration.json is missing; run `python -m server calibrate`"),
        ({"mean": float("nan")}, "cannot be read: .*it holds NaN.*; calibrate again"),
    ],
)
def test_constants_no_price_can_rest_on_are_refused(calibrated, tmp_path, change, mistake):
    file = tmp_path / "calibration.json"
    if change is not None:
        calibration.save(calibrated, file)
        assert calibration.load(file, calibrated.fingerprint) == calibrated
        file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(CalibrationError, match=mistake) as caught:
        calibration.load(file, calibrated.fingerprint)
    assert len(str(caught.value).splitlines()) == 1
    assert str(file) in str(caught.value)


def test_it_is_steep_enough_for_images_of_another_kind(calibrated, prepared):
    noise = np.random.default_rng(0).integers(0, 256, (256, 1, 8, 8), dtype=np.uint8)
    costs = tuple(
        round(float(cost) * NANO) for cost in costs_of(prepared.measure, prepared.victim, noise)
    )
    tariff = calibrated.tariff("rate")
    a_query = work_for(tariff.policy.t_min, 64, tariff.rate) / 64
    assert tariff.entry == pytest.approx(500 * a_query, rel=1e-4)
    account = Account().with_batch(Batch(costs, batch(256, 0).digests), tariff.thresholds)
    assert tariff.policy.price(account) > 10 * tariff.policy.t_min


def test_the_strictest_target_holds():
    targets = Targets(median=1.5, p99=3.0)
    assert (targets.t_min(0.01), targets.overhead(0.01)) == (0.005, 3.0)
    strict = Targets(median=1.5, p99=3.0, seconds=0.001)
    assert (strict.t_min(0.01), strict.overhead(0.01)) == (0.001, 1.1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"median": 1.0}, "median overhead is 1.0; expected more than 1"),
        ({"median": float("nan")}, "median overhead is nan"),
        ({"p99": 1.2}, "p99 overhead is 1.2; expected the median's or more"),
        ({"seconds": 0.0}, "seconds allowed are 0.0"),
    ],
)
def test_targets_nobody_can_meet_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        Targets(**given)


class Blind:
    def cost(self, images, answer):
        return np.zeros(len(images))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"entry": -1.0}, r"the entry is -1\.0 queries"),
        ({"entry": float("nan")}, "the entry is nan queries"),
        ({"drifts": ("upside down",)}, "unknown drift 'upside down', expected one of tilted"),
        ({"targets": Targets(seconds=1e-9)}, r"the least work .* allow more \(--seconds"),
        ({"images": 19}, "19 calibration images; expected at least 20"),
        ({"measure": Blind()}, r"cost 0\.0 on average"),
    ],
)
def test_wishes_nobody_can_meet_are_refused(prepared, honest, given, message):
    images = given.pop("images", None)
    few = Split(honest.images[:images], honest.labels[:images])
    blind = replace(prepared, measure=given.pop("measure", prepared.measure))
    with pytest.raises(ValueError, match=message):
        calibrate(blind, MEASURE, few, **given)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_mutated_calibration_is_refused_or_prices(calibrated, tmp_path, data):
    file = tmp_path / "calibration.json"
    file.write_text(json.dumps(mutated(json.loads(json.dumps(asdict(calibrated))), data)))
    found, said = None, ""
    try:
        found = calibration.load(file, calibrated.fingerprint)
    except CalibrationError as error:
        said = str(error)
    assert len(said.splitlines()) <= 1
    assert len(said) < 1_000
    if found is None:
        return
    for name in ("none", "paper", "rate"):
        for algorithm in found.rates.keys() & {"sha1", "sha256", "argon2id"}:
            tariff = found.tariff(name, algorithm)
            account = Account().with_batch(batch(64, 10**9), tariff.thresholds)
            assert 0 <= tariff.work(account, 64) <= MAX_WORK


def test_service_is_measured_on_loopback_whatever_proxy_the_environment_names(gate, monkeypatch):
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("no_grpc_proxy", raising=False)
    images = np.zeros((4, 1, 4, 4), np.uint8)
    served = model.Model("fake", "nothing", gate.victim, gate.measure, "f" * 64)
    assert 0 < asyncio.run(measure_service(served, images, repeats=2)) < 60


def test_the_pace_of_clients_is_no_part_of_the_service_time(gate_with, monkeypatch):
    """A large batch counts as many calls: where the victim is fast, waiting would be measured."""
    turn, early = Pace.turn, []

    async def counted(self, at_most):
        early.append(self._next > self._clock())
        await turn(self, at_most)

    monkeypatch.setattr(Pace, "turn", counted)
    with gate_with(shape=(3, 64, 64)) as gate:
        served = model.Model("fake", "nothing", gate.victim, gate.measure, "f" * 64)
        images = np.zeros((4, 3, 64, 64), np.uint8)
        asyncio.run(measure_service(served, images, repeats=10))
    assert len(early) == 13
    assert not any(early)
