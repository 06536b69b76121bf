"""Which cells are run, what is kept of them, and one cell with real processes."""

import json
import sys
from dataclasses import replace

import pytest

from experiments import strength
from experiments.__main__ import main
from experiments.arm import RunError
from experiments.strength import Plan, read, run
from experiments.strength import cell as strength_cell
from experiments.strength.cell import Place, overhead, run_cell
from experiments.strength.plan import BENCHES, Bench, Trial, bench, check

DIGITS = bench("digits")
ENDED = {"kind": "exit", "client": "thief", "at": 9.0, "code": 0, "stopped": False, "tail": ""}
VICTIM = {"accuracy": 0.9, "images": 180}


def lines(path, records):
    """Writes a record file with a header in front."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in ({"kind": "header"}, *records)))


def predict(request_id):
    numbers = dict.fromkeys(("at", "total", "network", "server", "solve", "open", "cpu"), 0.1)
    counts = {"images": 10, "asked": 10, "hashes": 0, "work": 0, "virtual": False}
    return {"kind": "predict", "client": "thief", "request_id": request_id, **counts, **numbers}


def plan_for(folder, **changes):
    settings = {
        "bench": DIGITS,
        "attacks": (),
        "seeds": (),
        "place": Place(home=folder, data=None),
        "file": folder / "strength-digits.json",
    }
    return Plan(**{**settings, **changes})


def cell_of(trial, seed, **changes):
    found = {
        "attack": trial.attack,
        "variant": trial.variant,
        "seed": seed,
        "setting": trial.setting(),
        "curve": [[80, 0.5, 0.55], [160, 0.7, 0.75]],
        "cpu_seconds": 2.0,
        "overhead_ms": 1.5,
    }
    return {**found, **changes}


@pytest.fixture
def ran(monkeypatch):
    """Cells are made up; the list of those that were asked for, and attacks that fail."""
    asked, failing = [], set()

    def fake(bench, trial, seed, place):
        asked.append((trial.attack, seed))
        if trial.attack in failing:
            raise RunError("the thief ended with code 1: error: no luck")
        return dict(VICTIM), cell_of(trial, seed)

    monkeypatch.setattr(strength, "run_cell", fake)
    monkeypatch.setattr(strength, "prepare", lambda *_: asked.append("victim"))
    asked_and_failing = type("Ran", (), {"asked": asked, "failing": failing})
    return asked_and_failing()


def test_cells_come_seed_by_seed_and_are_run_once(tmp_path, ran):
    plan = plan_for(tmp_path, seeds=(0, 2))
    said = []
    content = run(plan, said.append)
    cells = [("random", 0), ("copycat", 0), ("random", 2), ("copycat", 2)]
    assert ran.asked == ["victim", *cells]
    assert content == read(plan.file)
    assert content["victim"] == {
        "model": "measures-digits-0",
        "network": "lenet-thin",
        "seed": 0,
        **VICTIM,
    }
    assert said[0] == (
        "digits: random, seed 0: 70.00 %, fidelity 75.00 % at 160 queries; "
        "2 s CPU, overhead 1.5 ms a batch"
    )
    assert run(plan, said.append) == content
    assert len(ran.asked) == 5
    assert said[-1] == "digits: copycat, seed 2: is there"
    run(plan_for(tmp_path, seeds=(0, 1), attacks=("copycat",)), said.append)
    assert ran.asked[5:] == ["victim", ("copycat", 1)]


def test_a_file_has_a_line_for_each_cell_in_order(tmp_path, ran):
    plan = plan_for(tmp_path, seeds=(1, 0))
    run(plan, str)
    lines = plan.file.read_text().splitlines()[1:-1]
    cells = [json.loads(line.removesuffix(",")) for line in lines]
    assert [(c["attack"], c["seed"]) for c in cells] == [
        ("copycat", 0),
        ("copycat", 1),
        ("random", 0),
        ("random", 1),
    ]


def test_a_cell_is_run_again_when_its_trial_has_changed(tmp_path, ran):
    run(plan_for(tmp_path), str)
    trials = tuple(replace(t, config={**t.config, "epochs": 7}) for t in DIGITS.trials[:1])
    changed = replace(DIGITS, trials=trials + DIGITS.trials[1:])
    content = run(plan_for(tmp_path, bench=changed), str)
    assert ran.asked == ["victim", ("random", 0), ("copycat", 0), "victim", ("random", 0)]
    assert len(content["cells"]) == 2
    assert content["cells"][-1]["setting"]["config"]["epochs"] == 7


def test_two_runs_may_share_a_file(tmp_path, ran, monkeypatch):
    def busy(*cell):
        monkeypatch.setattr(strength, "run_cell", calm)
        run(plan_for(tmp_path, seeds=(5,)), str)  # another run, while the first is at its cell
        return calm(*cell)

    calm = strength.run_cell
    monkeypatch.setattr(strength, "run_cell", busy)
    run(plan_for(tmp_path, attacks=("random",)), str)
    kept = read(tmp_path / "strength-digits.json")["cells"]
    assert [(c["attack"], c["seed"]) for c in kept] == [
        ("copycat", 5),
        ("random", 0),
        ("random", 5),
    ]


def test_a_thief_that_fails_stops_nobody_else(tmp_path, ran):
    ran.failing.add("random")
    said = []
    with pytest.raises(RunError, match=r"^1 cells failed: digits: random, seed 0$"):
        run(plan_for(tmp_path), said.append)
    assert said[0] == "digits: random, seed 0: the thief ended with code 1: error: no luck"
    assert [cell["attack"] for cell in read(tmp_path / "strength-digits.json")["cells"]] == [
        "copycat"
    ]


def test_results_on_another_victim_are_not_mixed(tmp_path, ran, monkeypatch):
    run(plan_for(tmp_path), str)
    monkeypatch.setitem(VICTIM, "accuracy", 0.8)
    with pytest.raises(RunError, match="is about another victim"):
        run(plan_for(tmp_path, seeds=(1,)), str)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": (0, -1)}, r"--seeds is \[0, -1\]; expected numbers from 0"),
        ({"attacks": ("randon",)}, "--attacks names 'randon', which is not tried on digits; exp"),
    ],
)
def test_what_cannot_be_run(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        plan_for(tmp_path, **changes)


@pytest.mark.parametrize("text", ["{}", "[]", "no", '{"format": 2, "cells": []}'])
def test_a_file_of_something_else_is_left_alone(tmp_path, ran, text):
    (tmp_path / "strength-digits.json").write_text(text)
    with pytest.raises(ValueError, match="holds no results of strength, format 1"):
        run(plan_for(tmp_path), str)
    assert (tmp_path / "strength-digits.json").read_text() == text
    assert ran.asked == []


def test_every_trial_can_be_told_apart_and_is_of_a_known_attack():
    for each in BENCHES:
        assert len({(t.attack, t.variant) for t in each.trials}) == len(each.trials)
        for trial in each.trials:
            check(trial)


@pytest.mark.parametrize(
    ("trial", "message"),
    [
        (Trial(attack="randon"), "there is no attack 'randon'; known: "),
        (Trial(attack="random", config={"epoch": 1}), "random: the attack has no setting 'epoch'"),
        (
            Trial(attack="random", variant="x", config={"epochs": "1"}),
            r"random \(x\): epochs is '1', expected int",
        ),
    ],
)
def test_a_trial_that_is_not_right(trial, message):
    with pytest.raises(ValueError, match=message):
        check(trial)


def test_a_dataset_has_trials_by_name_or_not_at_all():
    assert bench("npz:mnist.npz").short == "mnist"
    with pytest.raises(ValueError, match="--dataset is 'digit'; expected one of digits, npz:mnist"):
        bench("digit")


def test_overhead_is_what_is_neither_lesson_nor_puzzle():
    def asked(at, total, cpu, solve=0.0):
        return "predict", {"at": at, "total": total, "cpu": cpu, "solve": solve}

    records = [
        asked(1.0, 0.5, 0.004),
        asked(1.6, 0.5, 0.002),  # 0.1 s after the answer before
        asked(2.4, 0.5, 0.309, solve=0.3),  # 0.3 s after it
        ("checkpoint", {}),
        asked(9.0, 0.5, 0.001),  # a lesson came between
    ]
    assert overhead(records) == pytest.approx(0.004 + 0.2)
    assert overhead(records[:1]) == 0.004
    assert overhead(records, online=True) == pytest.approx(0.004)


SMALL = Bench(
    dataset="digits",
    title="digits",
    short="digits",
    network="lenet-thin",
    trials=(
        Trial(
            attack="random",
            pool="digits",
            config={"budget": 64, "batch": 32, "rounds": 2, "epochs": 2},
        ),
    ),
)


@pytest.mark.timeout(300)
def test_one_cell_with_real_processes(digits_home, tmp_path, monkeypatch):
    monkeypatch.setattr(strength_cell.tempfile, "tempdir", str(tmp_path))
    place = Place(home=digits_home, data=None)
    strength_cell.prepare(SMALL, place)
    victim, cell = run_cell(SMALL, SMALL.trials[0], 3, place)
    assert victim["images"] == 180
    assert victim["accuracy"] > 0.8
    assert [row[0] for row in cell["curve"]] == [32, 64]
    assert all(0 <= accuracy <= 1 and 0 <= fidelity <= 1 for _, accuracy, fidelity in cell["curve"])
    assert cell["batches"] == 2
    assert cell["cost_per_image"] > 0
    assert 0 < cell["overhead_ms"] < 1000
    assert 0 < cell["train_seconds"] < cell["wall_seconds"]
    assert cell["cpu_seconds"] > 0.5
    assert cell["provenance"]["seed"] == 3
    assert cell["command"] == (
        "python -m experiments strength --dataset digits --attacks random --seeds 3"
    )
    json.dumps(cell)
    assert not list(tmp_path.glob("powgate-strength-*"))


@pytest.mark.parametrize(
    ("ended", "records", "message"),
    [
        ({"code": 1}, [], r"the thief ended with code 1: error: no luck$"),
        ({"code": -15, "stopped": True}, [], "the thief ended with code -15"),
        ({}, [predict("a")], "the thief saved no surrogate"),
    ],
)
def test_a_thief_that_brings_nothing_home(tmp_path, monkeypatch, ended, records, message):
    def fake(folder, commands, **_):
        lines(folder / "clients" / "thief.jsonl", records)
        lines(folder / "runner.jsonl", [{**ENDED, **ended}])
        lines(folder / "evaluation.jsonl", [{"kind": "victim", "accuracy": 0.9, "images": 1}])
        (folder / "logs").mkdir()
        (folder / "logs" / "thief.txt").write_text("hello\nerror: no luck\n")

    monkeypatch.setattr(strength_cell.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(strength_cell, "run_arm", fake)
    monkeypatch.setattr("experiments.evaluation.evaluate", lambda *_, **__: None)
    with pytest.raises(RunError, match=message):
        run_cell(SMALL, SMALL.trials[0], 0, Place(home=tmp_path, data=None))
    assert not list(tmp_path.iterdir())


def test_a_victim_that_cannot_be_made(tmp_path):
    nobody = replace(SMALL, dataset="digitz")
    with pytest.raises(RunError, match="cannot be prepared: error: unknown dataset 'digitz'"):
        strength_cell.prepare(nobody, Place(home=tmp_path, data=None))


def test_what_the_thief_is_told(tmp_path, monkeypatch):
    """Pools, costs and settings, as flags; and the costs are those of his pool."""
    told, known = [], {}

    def fake(folder, commands, **_):
        told.extend(commands.clients["thief"]("1.2.3.4:5"))
        raise RunError("enough")

    monkeypatch.setattr(strength_cell, "run_arm", fake)
    monkeypatch.setattr("experiments.oracle.write_costs", lambda *_, **words: known.update(words))
    trial = Trial(
        attack="worstcase",
        pool="digits",
        pool_size=99,
        inside="mnist5k",
        costs=True,
        config={"budget": 64, "scratch": False},
    )
    place = Place(home=tmp_path, data=tmp_path / "data")
    with pytest.raises(RunError, match="enough"):
        run_cell(SMALL, trial, 5, place)
    flags = " ".join(told[2:])
    assert flags.startswith(f"attacks worstcase --home {tmp_path} --data {tmp_path / 'data'} ")
    assert "--target 1.2.3.4:5 --client-id thief --seed 5 --network lenet-thin " in flags
    assert "--pool digits --pool-size 99 --inside mnist5k --costs " in flags
    assert flags.endswith(" --attack.budget 64 --attack.no-scratch")
    assert known == {
        "home": tmp_path,
        "model": "measures-digits-0",
        "measure": "heads",
        "pool": "digits",
        "size": 99,
        "seed": 5,
        "data": tmp_path / "data",
    }
    told.clear()
    with pytest.raises(RunError, match="enough"):
        run_cell(SMALL, Trial(attack="dfme"), 0, place)
    assert not {"--pool", "--pool-size", "--inside", "--costs"} & set(told)


def test_the_command(tmp_path, ran, monkeypatch, capsys):
    words = ["strength", "--dataset", "digits", "--results", str(tmp_path)]
    words += ["--home", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["experiments", *words, "--attacks", "random"])
    main()
    out, err = capsys.readouterr()
    assert out.splitlines()[2].startswith("| random | digits | 160 | 1 | 70.00 | 75.00 | 77.8 |")
    assert err.startswith("digits: random, seed 0: 70.00 %")
    for flags, message in (
        (["--dataset", "digit"], "error: --dataset is 'digit'"),
        (["--dataset", "digits", "--attacks", "dfm"], "error: --attacks names 'dfm'"),
        (["--paper", str(tmp_path)], f"error: {tmp_path} holds none of the paper's records"),
    ):
        monkeypatch.setattr(sys, "argv", ["experiments", "strength", *flags])
        assert main() == 1
        assert capsys.readouterr().err.startswith(message)
