"""A defence behind the gate: it perturbs what goes out, never what is measured."""

import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import pytest
from meaning import assert_same_answers

from client.session import Session
from core.learning import networks
from server.defences import Perturbation, configured
from server.defences.surrogates import Surrogates


def perturbation(defence, surrogates=None, **settings):
    return Perturbation(defence, configured(defence, settings), b"k" * 32, surrogates)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (6, 1, 4, 4), dtype=np.uint8)


def ask(gate, images, client="alice", times=1):
    with Session(gate.address, client_id=client) as session:
        return [session.predict(images) for _ in range(times)]


def test_answers_are_perturbed_and_measured_clean(gate_with, images):
    seen = []
    with gate_with() as clean:
        (expected,) = ask(clean, images)
    with gate_with(perturbation=perturbation("hard_label")) as gate:
        measured = gate.measure.cost
        gate.measure.cost = lambda pixels, answer: (
            seen.append(answer.probabilities),
            measured(pixels, answer),
        )[1]
        (given,) = ask(gate, images)
        (record,) = [line for line in gate.records if line["kind"] == "predict"]
    assert np.array_equal(given, np.eye(3, dtype=np.float32)[expected.argmax(axis=1)])
    np.testing.assert_allclose(seen[-1], expected, atol=1e-6)
    assert set(record["seconds"]) >= {"victim", "measure", "defence"}


def test_noise_is_that_of_the_client(gate_with, images):
    with gate_with(perturbation=perturbation("random", epsilon=0.5)) as gate:
        first, second = ask(gate, images, times=2)
        (other,) = ask(gate, images, client="bob")
    assert_same_answers(first, second)
    assert not np.allclose(first, other)


def test_a_retry_is_perturbed_as_the_first_answer_was(gate_with, images):
    with gate_with(perturbation=perturbation("random", epsilon=0.5)) as gate:
        (first,) = ask(gate, images)
        request_id = str(uuid.uuid4())
        with Session(gate.address, client_id="alice") as session:
            given = [session.predict(images, request_id=request_id) for _ in range(2)]
    assert [line["retry"] for line in gate.records if line["kind"] == "predict"][-1]
    for answer in given:
        assert_same_answers(answer, first)


def test_redirected_answers_are_paid_for_as_clean_ones_are(gate_with, images):
    students = [networks.build("lenet-thin", (1, 4, 4), 3, seed=seed) for seed in (0, 1)]
    redirected = perturbation("gradient_redirection", Surrogates(students), epsilon=0.5)
    with gate_with() as clean:
        (expected,) = ask(clean, images)
    with (
        gate_with(perturbation=redirected) as gate,
        Session(gate.address, client_id="alice") as session,
    ):
        given = [session.predict(images) for _ in range(2)]
        account = session.account()
    assert_same_answers(*given)
    distance = np.abs(given[0] - expected).sum(axis=1)
    assert 0.1 < distance.max() <= 0.5 + 1e-6
    lines = [line for line in gate.records if line["kind"] == "predict"]
    paid = [line for line in clean.records if line["kind"] == "predict"]
    assert {(line["work"], line["cost"]) for line in lines} == {
        (line["work"], line["cost"]) for line in paid
    }
    assert all(line["work"] > 0 for line in lines)
    assert account.unpaid_batches == 0


def test_a_gate_without_a_defence_does_not_spend_time_on_one(gate, images):
    ask(gate, images)
    (record,) = [line for line in gate.records if line["kind"] == "predict"]
    assert "defence" not in record["seconds"]


def test_a_defence_that_cannot_work_stops_the_server(gate_with):
    with (
        pytest.raises(ValueError, match="the defence needs surrogates"),
        gate_with(perturbation=perturbation("mad")),
    ):
        pass


def test_scores_that_are_all_zero_stop_the_server(gate_with):
    students = Surrogates([networks.build("lenet-thin", (1, 4, 4), 3, seed=0)])
    blind = perturbation("gradient_redirection", students, layers="last")
    with (
        pytest.raises(ValueError, match="the last layer only scores every class exactly zero"),
        gate_with(perturbation=blind),
    ):
        pass


def server(*words, home):
    command = [sys.executable, "-m", "server", *words, "--home", str(home), "--model", "m"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    from server import model

    folder: Path = tmp_path_factory.mktemp("home")
    made = model.prepare(
        folder,
        "m",
        dataset="digits",
        network="lenet-thin",
        measure="entropy",
        seed=0,
        defence="mad",
    )
    assert made == ["victim", "entropy", "fresh surrogates for mad"]
    return folder


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--defence", "mad", "--defence.epsilon", "2.5"], "the L1 budget is 2.5"),
        (["--defence", "mad", "--defence.tau", "0.5"], "Unrecognized options: --defence.tau"),
        (["--defence.epsilon", "0.5"], "Unrecognized options: --defence.epsilon"),
        (["--defence", "gradient_redirection"], "prepare the model again with --defence grad"),
    ],
)
def test_the_server_refuses(words, why, home):
    done = server(
        "serve",
        "--open",
        "--policy",
        "none",
        "--measure",
        "entropy",
        "--port",
        "0",
        *words,
        home=home,
    )
    assert done.returncode != 0
    assert why in done.stderr
    assert "Traceback" not in done.stderr


def test_a_surrogate_of_another_victim_is_not_served(home, tmp_path):
    import shutil

    from core.learning import artifacts, networks
    from server.commands import serve
    from server.options import Serve

    other = tmp_path / "home"
    shutil.copytree(home, other)
    path = other / "models" / "m" / "surrogates-fresh.safetensors"
    arrays, facts = artifacts.load(path)
    stranger = networks.build("lenet-thin", (1, 8, 8), 10, seed=9)
    artifacts.save(path, arrays, {**facts, "victim": artifacts.weights_digest(stranger)})
    options = Serve(
        home=other,
        model="m",
        measure="entropy",
        policy="none",
        open=True,
        defence="mad",
    )
    with pytest.raises(artifacts.ArtifactError, match="holds no fresh of this victim"):
        serve(options)


def test_an_unknown_defence_is_not_prepared(home):
    done = server("prepare", "--defence", "madd", home=home)
    assert done.returncode != 0
    assert "madd" in done.stderr
