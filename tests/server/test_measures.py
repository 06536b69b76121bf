"""Measures: votes, costs, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from meaning import assert_same_answers
from mutations import mutated

from core.arrays import to_float
from core.learning import artifacts
from core.learning.datasets import load
from core.privacy.pate import gnmax_epsilon
from server import measures, model
from server.measures import teachers
from server.measures.votes import Voting, histogram, shards, voters
from server.victims import Answer, Victim


def prepare(home, measure, seed=0):
    model.prepare(home, "m", dataset="digits", network="lenet-thin", measure=measure, seed=seed)


@pytest.fixture(scope="module")
def victim(digits_home):
    prepare(digits_home, "heads")
    return model.load(digits_home, "m", "heads").victim


@pytest.fixture(scope="module")
def split(digits_home):
    return load("digits", home=digits_home).splits["victim"]


SURPRISALS = ("surprisal:typicality", "surprisal:heads+typicality")
SLOW = [  # the second differs in their number only
    pytest.param("teachers", marks=pytest.mark.process),
    pytest.param("teachers-full", marks=[pytest.mark.process, pytest.mark.slow]),
]
FAST = [name for name in measures.MEASURES if not name.startswith("teachers")]


@pytest.fixture(scope="module", params=[*FAST, *SURPRISALS, *SLOW])
def named(request, victim, split, few_teachers, digits_home):
    honest = load("digits", home=digits_home).splits["calibration"]
    trained = measures.train(request.param, victim, split, seed=0, reference=honest)
    return request.param, trained


@pytest.fixture(scope="module")
def few_teachers():
    """Four or five teachers, of as many steps as always."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teachers, "MOST", 4)
        full = replace(measures.MEASURES["teachers-full"], settings={"most": 5})
        patch.setitem(measures.MEASURES, "teachers-full", full)
        patch.setattr(teachers, "SCHEDULE", replace(teachers.SCHEDULE, epochs=1))
        yield


@pytest.fixture(scope="module")
def held_out(digits_home):
    return to_float(load("digits", home=digits_home).splits["held_out"].images)


def test_a_measure_is_a_bounded_cost_that_sees_noise(
    named, victim, held_out, digits_home, tmp_path
):
    name, measure = named
    answer = victim.answer(held_out)
    costs = measure.cost(held_out, answer)
    assert (costs.shape, costs.dtype) == ((len(held_out),), np.float64)
    low, high = BOUNDS.get(name, lambda config: (0, np.inf))(measure.config())
    assert low - 1e-12 <= costs.min() < costs.max() <= high + 1e-12
    noise = np.random.default_rng(0).random(held_out.shape, dtype=np.float32)
    assert measure.cost(noise, victim.answer(noise)).mean() > 1.2 * costs.mean()
    assert_same_answers(measure.cost(held_out, answer), costs)  # again
    some = slice(5, 20)  # company does not matter, up to rounding
    part = measure.cost(held_out[some], victim.answer(held_out[some]))
    np.testing.assert_allclose(part, costs[some], rtol=1e-4, atol=2e-6)
    if isinstance(measure, Voting):
        labels = load("digits", home=digits_home).splits["held_out"].labels
        assert (measure.votes(held_out, answer).argmax(axis=1) == labels).mean() > 0.85
    file = tmp_path / f"{measures.file_stem(name)}.safetensors"
    artifacts.save(file, measure.arrays(), {"config": measure.config()})
    arrays, meta = artifacts.load(file)
    restored = measures.restore(name, arrays, meta["config"], victim)
    assert_same_answers(restored.cost(held_out, answer), costs)


def votes_between(voters):
    """The cost of unanimous votes, and what no votes exceed."""

    def bounds(config):
        few, sigma = config[voters], config["sigma"]
        assert sigma == pytest.approx(few * (28 / 300 if voters == "neighbours" else 1 / 25))
        rows = np.array([[few, *[0] * 9], [few - few // 2, few // 2, *[0] * 8]])
        return tuple(gnmax_epsilon(rows, sigma, 1e-5, teachers=few))

    return bounds


BOUNDS = {
    "heads": votes_between("heads"),
    "teachers": votes_between("teachers"),
    "teachers-full": votes_between("teachers"),
    "knn": votes_between("neighbours"),
    "knn-full": votes_between("neighbours"),
    "entropy": lambda config: (0, 1),
    "gap": lambda config: (0, 1),
    "typicality": lambda config: (0, 2),
    **{name: lambda config: (0, 5) for name in SURPRISALS},
}


def test_what_a_victim_does_not_give_is_refused_by_who_needs_it(named, victim, split, held_out):
    name, measure = named
    needs = {measures.MEASURES[part].needs for part in measures.parse(name)}
    for lacking, changes in (
        ("features", {"gives_features": False}),
        ("class probabilities", {"outputs": "labels"}),
        ("images", {"shape": (64,)}),
    ):
        other = SimpleNamespace(**(vars(Victim) | {"shape": victim.shape, "outputs": "logits"}))
        vars(other).update({"gives_features": True, **changes})
        if lacking not in needs:
            measures.check(name, other)
            continue
        message = f"needs {lacking}, which this victim does not give; expected one of"
        with pytest.raises(ValueError, match=message):
            measures.train(name, other, split, seed=0)
        with pytest.raises(ValueError, match=message):
            measures.restore(name, measure.arrays(), measure.config(), other)
    answer = victim.answer(held_out)
    broken = answer.features.copy()
    broken[1, 2] = np.nan
    for features, message in (
        (None, "the victim gives no features; measure"),
        (answer.features[:, :3], r"features have shape .* 3\); measure .* expects \(b, 64\)"),
        (broken, r"features contain nan; measure .* expects finite"),
    ):
        given = Answer.of_logits(answer.logits, features)
        if "features" not in needs:
            measure.cost(held_out, given)
            continue
        with pytest.raises(ValueError, match=message):
            measure.cost(held_out, given)
    if needs == {"class probabilities"}:  # which stand for logits that are not given
        bare = measure.cost(held_out, Answer(answer.probabilities))
        np.testing.assert_allclose(bare, measure.cost(held_out, answer), rtol=1e-3, atol=1e-6)


def test_teachers_that_learn_nothing_are_refused(victim, split, few_teachers, monkeypatch):
    monkeypatch.setattr(teachers, "SCHEDULE", replace(teachers.SCHEDULE, lr=5.0))
    monkeypatch.setattr(teachers, "STEPS", 4)
    with pytest.raises(ValueError, match=r"teacher 0 learnt nothing from its \d+ images: its"):
        measures.train("teachers", victim, split, seed=0)


def test_shards_are_disjoint_of_one_size_and_of_forty_images_at_least():
    index = shards(103, 10, seed=4)
    assert index.shape == (10, 10)
    assert len(np.unique(index)) == 100
    assert index.max() < 103
    assert (voters(3000, most=250), voters(50_000, most=250)) == (75, 250)
    with pytest.raises(ValueError, match="79 training images are too few"):
        voters(79, most=250)
    votes = histogram(np.array([[0, 0, 2], [1, 1, 1]]), 3)
    np.testing.assert_array_equal(votes, [[2, 0, 1], [0, 3, 0]])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("typicalty", "unknown measure 'typicalty', .* did you mean 'typicality'"),
        ("suprisal:heads", "unknown measure 'suprisal:heads', .* did you mean 'surprisal:heads'"),
        ("surprisal:heads+", "unknown measure '', expected one of heads"),
        ("surprisal:surprisal:gap", "unknown measure 'surprisal:gap'"),
        ("heads+gap", "share no scale; expected 'surprisal:heads\\+gap'"),
        ("surprisal:gap+gap", "'surprisal:gap\\+gap' names a part twice"),
        ("../heads", "unknown measure '../heads'"),
    ],
)
def test_measures_that_are_not_known(name, message, victim, split):
    for call in (
        lambda: measures.parse(name),
        lambda: measures.train(name, victim, split, seed=0),
        lambda: measures.restore(name, {}, {}, victim),
        lambda: prepare(Path(), name),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_a_surprisal_keeps_images_that_calibration_leaves_alone(victim, digits_home):
    name = "surprisal:entropy+gap"
    prepare(digits_home, name)
    loaded = model.load(digits_home, "m", name)
    honest = load("digits", home=digits_home).splits["calibration"]
    taken, left = measures.reserve(name, honest)
    assert len(loaded.measure.arrays()["honest"]) == len(taken) == 90
    np.testing.assert_array_equal(np.concatenate([taken.images, left.images]), honest.images)
    assert len(measures.reserve("gap", honest)[0]) == 0
    costs = measures.costs_of(loaded.measure, loaded.victim, left.images)
    assert costs.mean() == pytest.approx(1, abs=0.3)
    assert loaded.fingerprint != model.load(digits_home, "m", "heads").fingerprint


def test_a_part_that_is_there_is_not_trained_again(tmp_path, monkeypatch):
    real, trained = measures.train, []
    monkeypatch.setattr(model, "VICTIM_SCHEDULE", replace(model.VICTIM_SCHEDULE, epochs=1))
    monkeypatch.setattr(
        measures,
        "train",
        lambda name, *rest, **named: trained.append(name) or real(name, *rest, **named),
    )
    parts, whole = ("knn", "typicality"), "surprisal:knn+typicality"
    for home, names, seed in (("apart", (whole,), 0), ("parts", (*parts, whole), 0)):
        for name in names:
            prepare(tmp_path / home, name, seed)
    assert trained == [whole, *parts, *parts, whole]
    apart, joined = (
        model.load(tmp_path / home, "m", whole).measure.arrays() for home in ("apart", "parts")
    )
    assert apart.keys() == joined.keys()
    for name, array in apart.items():
        assert_same_answers(joined[name], array)
    # Parts of a victim that is there no more are not those of the one that takes its place.
    for file in ("victim", measures.file_stem(whole)):
        (model.folder(tmp_path / "parts", "m") / f"{file}.safetensors").unlink()
    prepare(tmp_path / "parts", whole, seed=1)
    assert trained[-3:] == [whole, *parts]


@settings(max_examples=12, suppress_health_check=[*HealthCheck])
@given(data=st.data())
def test_a_mutated_measure_is_refused_or_prices(named, victim, data):
    name, measure = named
    arrays, config = dict(measure.arrays()), json.loads(json.dumps(measure.config()))
    if arrays and data.draw(st.booleans()):
        key = data.draw(st.sampled_from(sorted(arrays)))
        change = data.draw(st.sampled_from(["lose", "cut", "widen", "type", "nan", "rename"]))
        array = arrays.pop(key)
        blank = np.full_like(array, np.nan if array.dtype.kind == "f" else -1)
        arrays |= {
            "lose": {},
            "cut": {key: array[:1]},
            "widen": {key: array[None]},
            "type": {key: array.astype(np.int8)},
            "nan": {key: blank},
            "rename": {"x": array},
        }[change]
    else:
        config = mutated({"config": config}, data).get("config", 5)
    try:
        found = model.restored(Path("m.safetensors"), name, arrays, {"config": config}, victim)
    except artifacts.ArtifactError as error:
        message = str(error)
    else:
        message = ""
        blank = np.zeros((3, *victim.shape), np.float32)
        assert (found.cost(blank, victim.answer(blank)) >= 0).all()
    assert "\n" not in message
    assert len(message) < 600


def test_a_measure_that_cannot_be_used_is_named(victim, split):
    arrays = measures.train("typicality", victim, split, seed=0).arrays()
    for about, found, message in (
        ({}, arrays, "it has no config"),
        ({"config": {}}, arrays, "config.neighbour is missing"),
        ({"config": {"neighbour": 10**9}}, arrays, "neighbour is 1000000000, expected 1 to"),
        ({"config": {"neighbour": 1}}, {}, "the array 'features' is missing"),
    ):
        named = rf"/home/m.safetensors holds no measure typicality .*{message}"
        with pytest.raises(artifacts.ArtifactError, match=named):
            model.restored(Path("/home/m.safetensors"), "typicality", found, about, victim)


def test_the_fewest_images_are_those_below_which_a_measure_is_refused(victim, split, few_teachers):
    for name in ("heads", "teachers", "teachers-full", "knn", "knn-full"):
        least = measures.MEASURES[name].fewest
        few = replace(split, images=split.images[: least - 1], labels=split.labels[: least - 1])
        with pytest.raises(ValueError, match="too few"):
            measures.train(name, victim, few, seed=0)
        assert measures.fewest(name) == {"victim": least, "calibration": measures.JUDGED}
    assert measures.fewest("surprisal:knn+gap") == {"victim": 60, "calibration": 100}
