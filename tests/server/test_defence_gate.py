"""A defence behind the gate: it perturbs what goes out, never what is measured."""

import uuid

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


def ask(gate, images, client="alice", request_id=None):
    with Session(gate.address, client_id=client) as session:
        return session.predict(images, request_id=request_id)


def predicted(gate):
    return [line for line in gate.records if line["kind"] == "predict"]


def test_answers_are_perturbed_measured_clean_and_paid_for_as_clean_ones_are(gate_with, images):
    students = [networks.build("lenet-thin", (1, 4, 4), 3, seed=seed) for seed in (0, 1)]
    redirected = perturbation("gradient_redirection", Surrogates(students), epsilon=0.5)
    with gate_with() as clean:
        expected = ask(clean, images)
    with gate_with(perturbation=redirected) as gate:
        given = [ask(gate, images) for _ in range(2)]
        with Session(gate.address, client_id="alice") as session:
            assert session.account().unpaid_batches == 0
    assert_same_answers(*given)
    assert 0.1 < np.abs(given[0] - expected).sum(axis=1).max() <= 0.5 + 1e-6
    (paid,), lines = predicted(clean), predicted(gate)
    assert {(line["work"], line["cost"]) for line in lines} == {(paid["work"], paid["cost"])}
    assert paid["work"] > 0
    assert lines[0]["seconds"].keys() >= {"victim", "measure", "defence"}
    assert "defence" not in paid["seconds"]


def test_noise_is_that_of_the_client_and_of_a_retry(gate_with, images):
    with gate_with(perturbation=perturbation("random", epsilon=0.5)) as gate:
        request_id = str(uuid.uuid4())
        first, *others = [ask(gate, images, request_id=at) for at in (None, request_id, request_id)]
        bobs = ask(gate, images, client="bob")
        assert [line["retry"] for line in predicted(gate)] == [False, False, True, False]
    for answer in others:
        assert_same_answers(answer, first)
    assert not np.allclose(bobs, first)


def test_a_defence_that_cannot_work_stops_the_server(gate_with):
    last = Surrogates([networks.build("lenet-thin", (1, 4, 4), 3, seed=0)])
    for defence, why in (
        (perturbation("mad"), "the defence needs surrogates"),
        (perturbation("gradient_redirection", last, layers="last"), "every class exactly zero"),
    ):
        with pytest.raises(ValueError, match=why), gate_with(perturbation=defence):
            pass
