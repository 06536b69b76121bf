"""The comparison of defences: it goes on where it stopped, and its page is a function of it."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from experiments import commands, defences
from experiments.__main__ import main
from experiments.defences import Plan, read, write
from experiments.defences import page as defences_page
from experiments.defences import plan as defences_plan
from experiments.defences import wire as defences_wire
from experiments.defences.cell import Place
from experiments.defences.plan import BENCHES, Learnt, Perturb, bench, label

SHIELDS = (Perturb(), Perturb(defence="gradient_redirection", budget=1.0))


@pytest.fixture(scope="module")
def small():
    """A bench that takes seconds: few epochs, few images."""
    digits = bench("digits")
    thief = digits.thieves[0]
    config = {**thief.config, "budget": 64, "epochs": 2}
    with pytest.MonkeyPatch.context() as patch:
        from server import model
        from server.defences import trained

        patch.setattr(model, "VICTIM_SCHEDULE", replace(model.VICTIM_SCHEDULE, epochs=2))
        patch.setattr(trained, "EARLY", replace(trained.EARLY, epochs=1))
        yield replace(digits, shields=SHIELDS, thieves=(replace(thief, config=config),))


@pytest.fixture(scope="module")
def plan(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("defences")
    return Plan(
        bench=small,
        defences=(),
        seeds=(),
        wire=False,
        place=Place(folder / "home", None),
        file=folder / "defences-digits.json",
    )


@pytest.fixture(scope="module")
def content(plan):
    return defences.run(plan, command="python -m experiments defences", say=lambda text: None)


def test_every_cell_is_there_and_says_what_it_found(content, plan):
    assert {(c["defence"], c["seed"]) for c in content["benign"]} == {
        ("none", 0),
        ("gradient_redirection budget=1", 0),
    }
    assert len(content["thefts"]) == 2
    clean, moved = content["thefts"]
    assert clean["defence"] == "none"
    assert (clean["l1"], clean["kept"]) == (0, 1)
    assert 0 < moved["l1"] <= 1
    assert all(cell["queries"] == 64 for cell in content["thefts"])
    assert content["benign"][0]["accuracy"] == pytest.approx(
        content["victim"]["accuracy"], abs=0.15
    )
    assert all(cell["provenance"]["seed"] == 0 for cell in content["thefts"])
    assert read(plan.file) == content


def test_a_run_goes_on_with_what_is_missing(content, plan):
    less = json.loads(plan.file.read_text())
    gone = less["thefts"].pop()
    write(less, plan.file)
    said = []
    again = defences.run(plan, command="python -m experiments defences", say=said.append)
    assert len(said) == 1
    assert gone["defence"] in said[0]
    same = ("queries", "accuracy", "fidelity", "l1", "kept")
    assert [again["thefts"][-1][name] for name in same] == [gone[name] for name in same]
    said.clear()
    defences.run(plan, command="", say=said.append)
    assert said == []


def test_other_settings_replace_what_was_there(content, plan):
    changed = json.loads(plan.file.read_text())
    changed["benign"][0]["setting"] = {"surrogates": 1}
    write(changed, plan.file)
    said = []
    again = defences.run(plan, command="", say=said.append)
    assert len(said) == 1
    assert len(again["benign"]) == 2


def test_results_of_another_victim_are_refused(content, plan, tmp_path):
    changed = json.loads(plan.file.read_text())
    changed["victim"]["accuracy"] = 0.5
    other = replace(plan, file=tmp_path / "other.json")
    write(changed, other.file)
    with pytest.raises(ValueError, match="is about another victim"):
        defences.run(other, command="", say=lambda text: None)


def test_surrogates_are_varied_in_what_they_have_learnt(plan, tmp_path):
    learnt = (Learnt(), Learnt("own", 640, 20), Learnt("asked", 64, 1))
    varied = replace(
        plan,
        bench=replace(plan.bench, learnt=learnt, learnt_queries=(64, 96)),
        learning=True,
        file=tmp_path / "defences-digits.json",
    )
    said = []
    content = defences.run(varied, command="", say=said.append)
    cells = content["learning"]
    assert len(cells) == len(said) == 2 * 4
    free, nothing, own, asked = cells[::2]
    assert (free["defence"], free["l1"]) == ("none", 0)
    assert "right" not in free
    assert own["right"] > nothing["right"] + 0.1
    assert 0 < asked["l1"] <= 0.9
    assert [cell["queries"] for cell in cells] == [64, 96] * 4
    for few, many in zip(cells[::2], cells[1::2], strict=True):
        assert few.get("own_class_asked") == many.get("own_class_asked")
    less = json.loads(varied.file.read_text())
    gone = less["learning"].pop(3)
    write(less, varied.file)
    said.clear()
    again = defences.run(varied, command="", say=said.append)["learning"]
    assert len(said) == 1
    same = ("queries", "accuracy", "right", "honest_l1", "own_class_honest", "l1")
    assert [again[-1][name] for name in same] == [gone[name] for name in same]
    text = "\n".join(map(" ".join, defences_page._learning(again, varied.bench)))
    assert "no defence 1 – – – – –" in text  # noqa: RUF001
    assert "nothing 1" in text
    assert "64 of the images asked, once 1" in text
    assert "640 own images, 20 times 1" in text


def test_results_of_before_surrogates_were_varied_are_read(tmp_path):
    older = cells()
    del older["learning"]
    file = tmp_path / "defences-digits.json"
    file.write_text(json.dumps(older))
    assert read(file) == cells()


def cells():
    benign = [
        {"defence": "none", "seed": s, "accuracy": 0.98, "l1": 0.0, "kept": 1.0}
        | {"victim_ms": 0.1, "defence_ms": 0.0}
        for s in (0, 1)
    ]
    thefts = [
        {"defence": "none", "thief": "random", "seed": s, "queries": 160, "l1": 0.25}
        | {"accuracy": 0.8 + s / 10, "fidelity": 0.9, "kept": 1.0}
        for s in (0, 1)
    ]
    wire = [
        {"defence": "none", "policy": policy, "client": "honest", "seed": 0, "accuracy": None}
        | {"fidelity": None, "total_seconds": 0.002, "solve_seconds": 0.001}
        | {"server_seconds": 0.0005, "work_per_image": 1234.5}
        for policy in ("none", "rate")
    ]
    made = {"setting": {}, "command": "", "provenance": {"git_revision": "abcdef0123"}}
    return {
        "format": 1,
        "dataset": "digits",
        "title": "",
        "victim": {"network": "lenet-thin", "seed": 0, "accuracy": 0.975, "images": 360},
        "benign": [{**cell, **made} for cell in benign],
        "thefts": [{**cell, **made} for cell in thefts],
        "wire": [{**cell, **made} for cell in wire],
        "learning": [],
    }


def test_the_page_is_a_function_of_the_results(tmp_path):
    write(cells(), tmp_path / "defences-digits.json")
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- defences:begin -->\nold\n<!-- defences:end -->\nafter\n")
    defences_page.save(page, tmp_path)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "lenet-thin, 97.5 % right on 360 held-out images; thieves ask 160 images" in text
    assert "made at abcdef0" in text
    assert "| none | 2 | 85.0 ± 63.5 (90.0) |" in text
    assert "| none | 98.0 ± 0.0 | 100.0 | 0 | 0.25 | 0.1 | 0 |" in text
    assert "clone, none | clone, rate | client ms, none | client ms, rate | of it" in text
    assert "| none | honest | 1 | – | – | 2 | 2 | 1 | 1,234 | 0.1 |" in text  # noqa: RUF001
    assert "(results/defences-digits.svg)" in text
    drawn = (tmp_path / "defences-digits.svg").read_text()
    assert drawn.startswith("<svg")
    assert "honest images" in drawn
    assert "### scikit-learn's digits, with and without proof of work, over loopback" in text
    defences_page.save(page, tmp_path)
    assert page.read_text() == text


def test_a_page_without_a_block_is_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("nothing\n")
    with pytest.raises(ValueError, match=r"page\.md has no block from <!-- defences:begin"):
        defences_page.save(page, tmp_path)
    assert defences_page.block(tmp_path).startswith("Nothing has been measured yet")


@pytest.mark.parametrize("text", ["{}", "[]", '{"format": 2}', "no JSON"])
def test_a_file_of_another_kind_is_refused(text, tmp_path):
    file = tmp_path / "defences-digits.json"
    file.write_text(text)
    with pytest.raises(ValueError, match="holds no results of defences, format 1"):
        read(file)


def test_every_planned_defence_and_thief_is_there():
    from attacks import REGISTRY
    from experiments.settings import complaint, fields

    for each in BENCHES:
        assert len({label(shield) for shield in each.shields}) == len(each.shields)
        for shield in each.shields:
            shield.config()
        for thief in each.thieves:
            assert thief.attack in REGISTRY
            known = fields(thief.attack)
            assert all(complaint(known[key], value) is None for key, value in thief.config.items())


def test_every_scenario_over_the_wire_has_the_thieves_of_its_bench():
    for each in BENCHES:
        for shield in each.wire:
            assert shield in each.shields
            given = defences_wire.tables(each, shield)
            scenario = defences_wire.scenario_of(given, 3)
            assert scenario.victim.dataset == each.dataset
            assert scenario.seed == 0
            assert scenario.server.defence == shield.defence
            assert scenario.server.defence_config == shield.given()
            assert scenario.server.virtual
            honest, *thieves = scenario.clients
            assert honest.kind == "honest"
            assert {client.seed for client in scenario.clients} == {3}
            assert [
                (client.attack, client.pool, client.pool_size, client.config) for client in thieves
            ] == [(t.attack, t.pool, t.pool_size, t.config) for t in each.thieves]
            assert json.loads(json.dumps(given)) == given


def summary(scenario):
    client = dict.fromkeys(defences_wire.KEPT, 1)
    seconds = {"total": 2.0, "solve": 1.0, "server": 0.5}
    return {
        "arms": [
            {
                "policy": policy,
                "clients": [
                    {**client, "name": each.name, "seconds": seconds} for each in scenario.clients
                ],
            }
            for policy in scenario.server.policies
        ]
    }


def test_a_run_over_the_wire_goes_on_with_what_is_missing(plan, tmp_path, monkeypatch):
    ran = []

    def run(scenario, out, home, **options):
        ran.append((scenario.server.defence, scenario.clients[0].seed, Path.cwd(), home))
        assert (home / "models" / commands.model_name(scenario) / "victim.safetensors").exists()
        out.mkdir()
        (out / "summary.json").write_text(json.dumps(summary(scenario)))
        return out

    monkeypatch.setattr(defences_wire.runner, "run", run)
    wired = replace(
        plan,
        bench=replace(plan.bench, wire=SHIELDS),
        wire=True,
        seeds=(0, 4),
        place=Place(plan.place.home, tmp_path),
        file=tmp_path / "defences-digits.json",
    )
    before = Path.cwd()
    content = defences.run(wired, command="", say=lambda text: None)
    assert [(defence, seed) for defence, seed, *_ in ran] == [
        (shield.defence, seed) for seed in (0, 4) for shield in SHIELDS
    ]
    assert {where[2:] for where in ran} == {(tmp_path, plan.place.home.absolute())}
    assert Path.cwd() == before
    assert len(content["wire"]) == 2 * 2 * 2 * 2  # defences, seeds, policies, clients
    less = json.loads(wired.file.read_text())
    gone = less["wire"].pop()
    write(less, wired.file)
    ran.clear()
    defences.run(wired, command="", say=lambda text: None)
    assert [(defence, seed) for defence, seed, *_ in ran] == [("gradient_redirection", 4)]
    assert any(cell["client"] == gone["client"] for cell in read(wired.file)["wire"])


def test_what_is_kept_of_a_client_over_the_wire():
    client = dict.fromkeys(defences_wire.KEPT, 1) | {
        "images": 4,
        "seconds": {"total": 2.0, "solve": 1.0, "server": 0.5, "open": 0.0},
    }
    found = defences_wire.found(client)
    assert (found["total_seconds"], found["solve_seconds"]) == (0.5, 0.25)
    assert found["server_seconds"] == 0.125
    assert set(found) == {*defences_wire.KEPT, "total_seconds", "solve_seconds", "server_seconds"}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--dataset", "npz:mnist"], "--dataset is 'npz:mnist'; expected one of digits.*did you"),
        (["--dataset", "digits", "--defences", "mad"], "--defences names 'mad', which is not"),
        (["--dataset", "digits", "--seeds", "-1"], r"--seeds is \[-1\]; expected numbers from 0"),
    ],
)
def test_what_cannot_be_run_is_refused(words, why, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["experiments", "defences", *words])
    assert main() == 1
    assert re.match(f"error: {why}", capsys.readouterr().err)


def test_a_bench_without_scenarios_has_nothing_over_the_wire(plan):
    with pytest.raises(ValueError, match="nothing is planned over the wire on digits"):
        replace(plan, bench=replace(plan.bench, wire=()), wire=True)


def test_one_comparison_at_a_time(plan):
    with pytest.raises(ValueError, match="--wire and --learning are both given; expected one"):
        replace(plan, wire=True, learning=True)


def test_labels_are_short():
    assert label(Perturb()) == "none"
    assert label(defences_plan._KEEP) == "gradient_redirection budget=0.9 keep_top=true"
