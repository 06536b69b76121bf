"""The comparison of measures, on a dataset that takes seconds."""

import json
import sys

import numpy as np
import pytest

from core.learning import datasets
from core.learning.drift import DRIFTS, drifted
from experiments import measures
from experiments.__main__ import main
from experiments.measures import HONEST, Plan, auc, batch_means, describe, run, sources, table
from server import model

NAMES = ("typicality", "gap")


def plan_for(home, **changes):
    settings = {
        "dataset": "digits",
        "network": "lenet-thin",
        "measures": NAMES,
        "seeds": (0,),
        "images": 96,
        "home": home,
        "data": None,
    }
    return Plan(**{**settings, **changes})


@pytest.fixture(scope="module")
def results(digits_home, tmp_path_factory):
    file = tmp_path_factory.mktemp("results") / "measures.json"
    said = []
    found = run(plan_for(digits_home), command=["measure", "them"], file=file, say=said.append)
    return found, file, said


def test_a_result_for_each_measure(results):
    found, file, said = results
    assert [result["measure"] for result in found] == list(NAMES)
    assert said[0] == "digits, seed 0; no emnist; no tinyimagenet"
    content = json.loads(file.read_text())
    assert content["command"] == "measure them"
    assert [result["measure"] for result in content["results"]] == list(NAMES)
    assert found[0]["images"] == 96
    assert found[0]["auc_batch"]["noise"] > 0.99
    assert 0.5 < found[0]["auc"]["photos"] <= 1
    right = found[0]["accuracy"]
    assert set(right) == {HONEST, *DRIFTS}
    assert right["tilted"] < right[HONEST]
    assert right[HONEST] > 0.9
    assert "spearman" not in found[0]  # teachers were not asked for


def test_a_run_goes_on_where_it_stopped(results, digits_home, monkeypatch):
    found, file, _ = results

    def refuse(*args):
        raise AssertionError("measured again")

    monkeypatch.setattr(measures, "costs_of", refuse)
    monkeypatch.setattr(measures, "BATCHES", 10)  # a table may change, costs need not
    again = run(plan_for(digits_home, measures=("gap",)), command=[], file=file, say=str)
    assert again[0]["auc"] == found[1]["auc"]
    assert len(json.loads(file.read_text())["results"]) == 2
    with pytest.raises(AssertionError, match="measured again"):
        run(plan_for(digits_home, images=64), command=[], file=None, say=str)


def test_sources_are_made_of_held_out_images(results, digits_home):
    victim = model.load(digits_home, "measures-digits-0", "gap").victim
    found = dict(sources(plan_for(digits_home), victim, 0))
    again = dict(sources(plan_for(digits_home), victim, 0))
    assert all(np.array_equal(found[name], again[name]) for name in found)
    held_out = datasets.load("digits", home=digits_home).splits["held_out"].images
    honest = found[HONEST]
    known = {image.tobytes() for image in held_out}
    assert all(image.tobytes() in known for image in honest)
    assert {images.shape for images in found.values()} == {(96, 1, 8, 8)}
    assert {images.dtype for images in found.values()} == {np.dtype(np.uint8)}
    np.testing.assert_array_equal(np.rot90(found["rotated 90"], -1, axes=(2, 3)), honest)
    np.testing.assert_array_equal(255 - found["inverted"], honest)
    for name in DRIFTS:
        assert not np.array_equal(found[name], honest)
    np.testing.assert_array_equal(
        found["blurred"], drifted("blurred", honest, np.random.default_rng(0))
    )
    moved = np.abs(found["perturbed"].astype(int) - honest)
    assert moved.max() <= 26  # a tenth of 255, rounded
    labels = [
        victim.answer((x / 255).astype(np.float32)).probabilities.max(axis=1)
        for x in found.values()
    ]
    means = dict(zip(found, (row.mean() for row in labels), strict=True))
    assert means["perturbed away"] < means[HONEST] < means["perturbed"] + 0.01


def test_auc_is_the_chance_to_cost_more():
    assert auc(np.array([1.0, 2.0]), np.array([3.0, 3.0])) == 1
    assert auc(np.array([1.0, 2.0]), np.array([2.0])) == 0.75
    assert auc(np.array([1.0, 1.0]), np.array([1.0])) == 0.5


def test_batches_are_surer_than_queries():
    rng = np.random.default_rng(0)
    costs = {HONEST: rng.exponential(1.0, 500), "foreign": rng.exponential(1.6, 500)}
    result = describe(costs, costs, seed=0)
    assert result["auc_batch"]["foreign"] > 0.95 > result["auc"]["foreign"] > 0.5
    assert result["excess"]["foreign"] == pytest.approx(0.6, abs=0.2)
    assert result["spearman"] == {"all": 1.0, HONEST: 1.0}
    assert len(batch_means(costs[HONEST], seed=1)) == measures.BATCHES


def test_a_row_for_each_measure_and_the_mean_over_seeds():
    def one(seed, mean, **more):
        found = {"mean": mean, "sd": 0.5, "auc": {"noise": 0.8}, "auc_batch": {"noise": 1.0}}
        found["excess"] = {"noise": 2 * mean}
        return {"dataset": "digits", "seed": seed, "measure": "gap", **found, **more}

    spearman = {"all": 0.25, HONEST: 0.5}
    text = table([one(0, 1.0), one(1, 2.0, spearman=spearman)])
    assert text.splitlines()[2:] == [
        "| digits | gap | 1.5 | 0.5 | 0.800 / 1.000 / 3.0 | 0.25 / 0.50 |"
    ]
    assert text.splitlines()[0].startswith("| dataset | measure | mean | sd | noise |")
    assert table([one(0, 1.0)]).endswith("| - |")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": 63}, "--images is 63; expected at least 64, one batch"),
        ({"seeds": ()}, r"--seeds is \[\]; expected numbers from 0"),
        ({"seeds": (0, -1)}, r"--seeds is \[0, -1\]"),
        ({"measures": ()}, "--measures names none"),
        ({"measures": ("heads", "gapp")}, "unknown measure 'gapp', .* did you mean 'gap'"),
    ],
)
def test_what_cannot_be_measured(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        plan_for(tmp_path, **changes)


@pytest.mark.parametrize("text", ["{}", "not JSON", '{"results": [{"seed": 1}]}', "[]"])
def test_a_file_of_something_else_is_left_alone(tmp_path, text):
    file = tmp_path / "file.json"
    file.write_text(text)
    with pytest.raises(ValueError, match="holds no results of measures"):
        run(plan_for(tmp_path), command=[], file=file, say=str)
    assert file.read_text() == text


def test_the_command(results, digits_home, monkeypatch, capsys):
    words = ["--dataset", "digits", "--network", "lenet-thin", "--images", "96"]
    words += ["--measures", *NAMES, "--home", str(digits_home)]
    monkeypatch.delenv("POWGATE_DATA", raising=False)
    monkeypatch.setattr(sys, "argv", ["experiments", "measures", *words])
    main()
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(NAMES)
    monkeypatch.setattr(sys, "argv", ["experiments", "measures", "--measures", "gapp"])
    assert main() == 1
    assert capsys.readouterr().err.startswith("error: unknown measure 'gapp'")
