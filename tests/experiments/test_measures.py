"""The comparison of measures, on a dataset that takes seconds; and the committed one."""

import json
from pathlib import Path

import numpy as np
import pytest

from core.learning import datasets
from core.learning.drift import DRIFTS, drifted
from experiments.studies import measures, sources
from experiments.studies.measures import HONEST, Flags, auc, batch_means, check, describe, table
from server import model

NAMES = ("typicality", "gap")
RESULTS = Path(__file__).parents[2] / "docs" / "results"


def flags_for(home, **changes):
    settings = {"dataset": "digits", "network": "lenet-thin", "measures": NAMES, "images": 96}
    return Flags(**{**settings, "home": home, **changes})


@pytest.fixture(scope="module")
def results(digits_home, tmp_path_factory):
    file, said = tmp_path_factory.mktemp("results") / "measures.json", []
    return measures.compare(flags_for(digits_home, json=file), said.append), file, said


@pytest.mark.process
def test_a_result_for_each_measure(results):
    found, file, said = results
    assert [result["measure"] for result in found] == list(NAMES)
    assert said[0] == "digits, seed 0; no emnist; no tinyimagenet"
    content = json.loads(file.read_text())
    assert content["provenance"]["python"]
    assert [result["measure"] for result in content["results"]] == list(NAMES)
    assert found[0]["images"] == 96
    assert found[0]["auc_batch"]["noise"] > 0.99
    assert 0.5 < found[0]["auc"]["photos"] <= 1
    right = found[0]["accuracy"]
    assert set(right) == {HONEST, *DRIFTS}
    assert right["tilted"] < right[HONEST] > 0.9
    assert "spearman" not in found[0]  # teachers were not asked for


@pytest.mark.process
def test_a_run_goes_on_where_it_stopped(results, digits_home, capsys):
    found, file, _ = results
    costs = sources.costs_file(digits_home, "measures-digits-0", "gap")
    before = costs.stat().st_mtime_ns
    again = measures.compare(flags_for(digits_home, measures=("gap",), json=file), str)
    assert again[0]["auc"] == found[1]["auc"]
    assert costs.stat().st_mtime_ns == before  # nothing was measured again
    assert len(json.loads(file.read_text())["results"]) == 2
    measures.run(flags_for(digits_home))
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(NAMES)


@pytest.mark.process
def test_sources_are_made_of_held_out_images(results, digits_home):
    victim = model.load(digits_home, "measures-digits-0", "gap").victim
    found, _ = sources.sources("digits", victim, 96, 0, digits_home, None)
    again, _ = sources.sources("digits", victim, 96, 0, digits_home, None)
    assert all(np.array_equal(found[name], again[name]) for name in found)
    held_out = datasets.load("digits", home=digits_home).splits["held_out"].images
    honest = found[HONEST]
    known = {image.tobytes() for image in held_out}
    assert all(image.tobytes() in known for image in honest)
    assert {images.shape for images in found.values()} == {(96, 1, 8, 8)}
    assert {images.dtype for images in found.values()} == {np.dtype(np.uint8)}
    np.testing.assert_array_equal(np.rot90(found["rotated 90"], -1, axes=(2, 3)), honest)
    np.testing.assert_array_equal(255 - found["inverted"], honest)
    assert not any(np.array_equal(found[name], honest) for name in DRIFTS)
    blurred = drifted("blurred", honest, np.random.default_rng(0))
    np.testing.assert_array_equal(found["blurred"], blurred)
    assert np.abs(found["perturbed"].astype(int) - honest).max() <= 26  # a tenth of 255, rounded
    sure = {
        name: victim.answer((images / 255).astype(np.float32)).probabilities.max(axis=1).mean()
        for name, images in found.items()
    }
    assert sure["perturbed away"] < sure[HONEST] < sure["perturbed"] + 0.01


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
    assert result["spearman"] == pytest.approx({"all": 1.0, HONEST: 1.0})
    assert len(batch_means(costs[HONEST], seed=1)) == measures.BATCHES


def test_the_committed_table_is_that_of_the_committed_results():
    page = (RESULTS / "measures.md").read_text().splitlines()
    names = ("mnist", "fashion", "cifar10")
    contents = [json.loads((RESULTS / f"measures-{name}.json").read_text()) for name in names]
    text = "".join(table(content["results"]) for content in contents)
    shown = {line.replace("–", "-") for line in text.splitlines()}  # noqa: RUF001
    wanted = {line for line in page if line.startswith("|")}
    assert {line.replace("--:", "---") for line in shown} == wanted
    assert len(wanted) > 30


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
        check(flags_for(tmp_path, **changes))


@pytest.mark.parametrize("text", ["{}", "not JSON", '{"results": [{"seed": 1}]}', "[]"])
def test_a_file_of_something_else_is_left_alone(tmp_path, text):
    file = tmp_path / "file.json"
    file.write_text(text)
    with pytest.raises(ValueError, match="holds no results of measures"):
        measures.compare(flags_for(tmp_path, json=file), str)
    assert file.read_text() == text
