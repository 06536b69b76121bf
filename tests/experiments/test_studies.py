"""Studies: scenarios of what is measured, what is kept of their runs, pages made of that."""

import copy
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from edits import edit, swap
from meaning import assert_same_figure, assert_same_page
from rich.console import Console
from scipy import stats

from experiments import sweep
from experiments.report.page import write
from experiments.scenario import read
from experiments.studies import cells, collect, defences, prices, strength

DOCS = Path(__file__).parents[2] / "docs"
RESULTS = DOCS / "results"
STUDIES = [(strength, name) for name in strength.SCENARIOS]
STUDIES += [(defences, name) for name in defences.SCENARIOS]


def kept(module, name):
    return collect.load(RESULTS / f"{name}.json", module.KEYS)


def assert_clean(found):
    """They came from a clean revision."""
    for cell in found:
        assert cell["provenance"]["git_modified"] is False
        assert len(cell["provenance"]["git_revision"]) == 40


@pytest.mark.parametrize("name", strength.SCENARIOS)
def test_every_committed_attacker_is_one_of_its_scenario(name):
    known = []
    for run in sweep.load(name):
        (client,) = (asdict(each) for each in run.scenario.clients)
        seed = 1 if client["seed"] is None else client["seed"]
        known.append((client["label"] or client["attack"], seed, strength.setting(client)))
        assert run.scenario.server.policies == ("none",)
    cells_kept = kept(strength, name)["cells"]
    assert_clean(cells_kept)
    for cell in cells_kept:
        variant = f" ({cell['variant']})" if cell["variant"] else ""
        assert (cell["attack"] + variant, cell["seed"], cell["setting"]) in known


@pytest.mark.parametrize("name", defences.SCENARIOS)
def test_every_committed_defence_and_attacker_is_one_of_its_scenario(name):
    runs = [run.scenario for run in sweep.load(name)]
    priced = {
        defences.label(asdict(run.server)): run.server.policies == ("none", "rate") for run in runs
    }
    honest, *attackers = (asdict(client) for client in runs[0].clients)
    content = kept(defences, name)
    assert_clean(cell for kind in defences.KEYS for cell in content[kind])
    for cell in content["benign"]:
        assert cell["defence"] in priced
        assert cell["setting"]["images"] == honest["images"]
    for cell in content["thefts"]:
        setting = {key: value for key, value in cell["setting"].items() if key != "surrogates"}
        assert cell["defence"] in priced
        assert [cell["thief"], cell["seed"], setting] in [
            [client["label"], client["seed"], defences.setting(client)] for client in attackers
        ]
    assert {cell["defence"] for cell in content["wire"]} == {
        label for label, both in priced.items() if both
    }


@pytest.mark.slow
def test_the_committed_pages_say_what_the_committed_results_say(tmp_path):
    docs = tmp_path / "docs"
    shutil.copytree(DOCS, docs)
    strength.write_docs(docs)
    defences.write_docs(docs)
    prices.write_docs(docs)
    for page in docs.rglob("*.md"):
        before = (DOCS / page.relative_to(docs)).read_text()
        assert_same_page(page.read_text(), before, f"{page}: python -m experiments docs")
    for _, name in STUDIES:
        figure = f"results/{name}.svg"
        assert_same_figure((docs / figure).read_text(), (DOCS / figure).read_text(), name)


def test_an_interval_is_students():
    values = [0.90, 0.92, 0.97]
    low, high = stats.t.interval(0.95, 2, loc=0.93, scale=stats.sem(values))
    assert cells.half_width(values) == pytest.approx((high - low) / 2)
    assert cells.percent([*values, None], 2) == f"93.00 ± {50 * (high - low):.2f}"
    assert cells.percent(values, interval=False) == "93.0"
    assert cells.percent([0.5]) == "50.0"
    assert cells.percent([]) == cells.short([None]) == "–"  # noqa: RUF001


def result(name, *curves):
    attack, _, variant = name.partition(" ")
    return strength.Result(name, attack, variant.strip("()"), [{"curve": each} for each in curves])


def study(*results, paper=None, name="strength-mnist"):
    found = strength.Study(name, kept(strength, name), paper or {})
    found.found = {each.name: each for each in results}
    return found


def test_a_curve_is_read_between_its_surrogates():
    two = result(
        "random", [(100, 0.90, 0.91), (200, 0.96, 0.97)], [(64, 0.8, 0.8), (200, 1.0, 1.0)]
    )
    assert two.queries == [200]
    assert two.at(150)[0] == pytest.approx([0.93, 0.926470])
    assert two.at(200)[1] == [0.97, 1.0]


def test_a_goal_is_met_or_missed():
    def rounds(attack, *accuracies):
        curve = [(n, a, a) for n, a in zip(strength.ABOVE, accuracies, strict=True)]
        return result(f"{attack} ({strength.ROUNDS})", curve)

    random, active = rounds("random", 0.91, 0.92, 0.93), rounds("gap", 0.92, 0.91, 0.94)
    above = "above random at 1,000; 2,000; 3,000"
    assert study(random, active).goal(active) == (above, "missed (2 of 3)")
    nothing = ("–", "")  # noqa: RUF001
    assert study(active).goal(active) == nothing  # no random to be above
    assert study().goal(result("random", [(9, 0.985, 0.9)])) == ("≥ 98.4", "met")
    jacobian = result("jacobian", [(9, 0.83, 0.9)])
    assert study().goal(jacobian) == ("≥ 83.3", "missed")
    assert study(name="strength-cifar10").goal(jacobian) == nothing


def test_the_papers_accuracy_is_the_last_until_then():
    beside = study(paper={"standard": [(0.0, 10.0), (100.0, 94.2), (300.0, 96.6)]})
    asked = [("random", 99), ("random", 299), ("random", 10_000), ("gap", 10_000)]
    assert [beside.published(*each) for each in asked] == ["–", "94.2", "96.6", "–"]  # noqa: RUF001


def test_overhead_is_what_is_neither_training_nor_puzzle():
    def asked(at, total, cpu=0.003):
        return {"kind": "predict", "at": at, "total": total, "cpu": cpu, "solve": 0.001}

    lines = [
        asked(1.0, 0.5),
        asked(2.1, 1.0),  # 0.1 s after the answer
        {"kind": "checkpoint"},
        asked(9.0, 1.0),  # trained between
        asked(9.5, 0.2, cpu=0.006),  # 0.3 s after the answer
    ]
    assert strength.overhead(lines) == pytest.approx((3 * 0.002 + 0.005) / 4 + 0.2)
    assert strength.overhead(lines, online=True) == pytest.approx((3 * 0.002 + 0.005) / 4)


@pytest.fixture
def run(folder):
    """The run folder written by hand, made into one of a study."""

    def study(about):
        resolved = about["resolved"]
        resolved["name"] = "defences-tiny"
        resolved["server"] |= {"defence": "mad", "defence_config": {"epsilon": 0.9, "x": True}}
        for client in resolved["clients"]:
            client["seed"] = None
        attacker = {"label": "knockoff, soft", "pool": "digits", "pool_size": 100, "config": {}}
        resolved["clients"][1] |= attacker

    edit(folder / "scenario.json", study)
    for ends in folder.glob("*/runner.jsonl"):
        swap(ends, '"code": 0', '"code": 0, "cpu": 2.0')
    return folder


def test_what_is_kept_of_a_run_replaces_what_was_there(run, tmp_path):
    file = collect.add(run, tmp_path)
    assert file == tmp_path / "defences-tiny.json"
    once = file.read_text()
    content = json.loads(once)
    victim = {"network": "lenet-thin", "seed": 7, "accuracy": 0.9, "images": 500}
    assert content["victim"] == victim
    (theft,) = content["thefts"]
    keys = tuple(theft[key] for key in defences.KEYS["thefts"])
    assert keys == ("mad budget=0.9 x=true", "knockoff, soft", 9)
    assert (theft["accuracy"], theft["fidelity"], theft["queries"]) == (0.3, 0.35, 10)
    policies = [(cell["policy"], cell["client"]) for cell in content["wire"]]
    assert policies == [("none", "ann"), ("none", "bob"), ("rate", "ann"), ("rate", "bob")]
    assert content["wire"][3]["total_seconds"] == pytest.approx(9.0 / 20)
    collect.add(run, tmp_path)
    assert file.read_text() == once


def test_what_is_not_kept(run, tmp_path):
    file = collect.add(run, tmp_path)
    edit(file, lambda content: content["victim"].update(accuracy=0.8))
    with pytest.raises(ValueError, match="is about another victim"):
        collect.add(run, tmp_path)
    for text in ("{}", "[]", "no", '{"format": 2}'):
        file.write_text(text)
        with pytest.raises(ValueError, match="holds no results of a study, format 1"):
            collect.add(run, tmp_path)
    swap(run / "rate" / "runner.jsonl", '"code": 0', '"code": 1')
    with pytest.raises(ValueError, match="ann was crashed under rate"):
        collect.add(run, tmp_path)
    edit(run / "scenario.json", lambda about: about["resolved"].update(name="tiny"))
    with pytest.raises(ValueError, match="is a run of tiny, which is no study"):
        collect.add(run, tmp_path)


def tiny(name):
    """A scenario on 8 x 8 digits: one attacker, one seed, one or two defences."""
    given = read(name)
    given["victim"] = {"dataset": "digits", "network": "lenet-thin"}
    small = {"budget": 64, "batch": 32, "epochs": 1}
    for client in given["clients"]:
        client |= {"nice": 0} | ({"images": 64} if client["kind"] == "honest" else {})
    attacker = next(each for each in given["clients"] if each["kind"] == "attack")
    attacker |= {"network": "lenet-thin"}
    if name.startswith("strength"):
        tried = next(each for each in given["sweep"]["clients"]["attacker"] if "pool" in each)
        given["sweep"] = {"clients.attacker.seeds": [[3]], "clients": {"attacker": [tried]}}
    else:
        tried = attacker | {"seeds": [3]}
        given["clients"] = [given["clients"][0], tried]
        given["sweep"]["server"] = [
            each for each in given["sweep"]["server"] if each["defence"] == "mad_argmax"
        ]
    tried |= {"pool": "digits", "pool_size": 64, "config": {**small, "rounds": 1}}
    return copy.deepcopy(given)


@pytest.mark.timeout(900)
@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize(("module", "name"), [STUDIES[0], STUDIES[-1]])
def test_a_study_of_each_kind_runs_over_the_wire(module, name, digits_home, tmp_path):
    given = tiny(name)
    out, quiet = tmp_path / name, Console(quiet=True)
    told = {"given": given, "command": "", "console": quiet, "write": write}
    folders = sweep.run(sweep.cells(given), out, digits_home, **told)
    assert len(folders) == 1
    collect.run(collect.Flags(tmp_path / name, tmp_path))
    content = collect.load(tmp_path / f"{name}.json", module.KEYS)
    assert content["victim"]["accuracy"] > 0.8
    if module is strength:
        assert not list(folders[0].glob("calibration.json"))
        (found,) = content["cells"]
        assert found["curve"][-1][0] == 64
        assert found["cpu_seconds"] > 0
    else:
        (honest,), (found,) = content["benign"], content["thefts"]
        assert honest["accuracy"] > 0.8
        assert 0 < honest["l1"] < 1
        assert honest["kept"] == 1.0
        assert min(honest["victim_ms"], honest["defence_ms"]) > 0
        assert 0 < found["l1"] < 1
        assert len(content["wire"]) == 4
    assert found["seed"] == 3
    assert np.isfinite(found.get("accuracy", 1.0))
