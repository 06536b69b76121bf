"""The stopwatch of the defences: the plain ways compute the same, and nothing is left out."""

import json
import sys

import numpy as np
import pytest

from core.arrays import softmax
from core.learning import networks
from core.learning.training import logits
from experiments.__main__ import main
from experiments.defences import speed as defences_speed
from experiments.defences.speed import GOALS, measure, plain_mad, plain_redirect, plain_scores
from server.defences.gradient_redirection import redirect
from server.defences.mad import poisoned
from server.defences.surrogates import Steered, all_ones

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def asked():
    network = networks.build("lenet-thin", SHAPE, 5, seed=0).eval()
    rng = np.random.default_rng(0)
    images = rng.random((6, *SHAPE), dtype=np.float32)
    return network, images, rng.dirichlet(np.full(5, 0.3), size=6).astype(np.float32)


def test_the_plain_ways_agree_with_ours(asked):
    network, images, posterior = asked
    scores = Steered(network, all_ones(network)).scores(images)
    np.testing.assert_allclose(plain_scores(network, images, posterior), scores, atol=2e-3)
    for epsilon in (0.0, 0.3, 1.0, 2.0):
        np.testing.assert_allclose(
            plain_redirect(posterior, scores, epsilon),
            redirect(posterior, scores, epsilon),
            atol=1e-6,
        )
        np.testing.assert_allclose(
            plain_mad(network, images, posterior, epsilon),
            poisoned(posterior, softmax(logits(network, images)), epsilon),
            atol=1e-5,
        )


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(defences_speed, "NETWORKS", {"lenet-thin": SHAPE, "lenet": SHAPE})
    monkeypatch.setattr(defences_speed, "BATCH", 4)
    monkeypatch.setattr(defences_speed, "PLAIN_IMAGES", 1)


def test_every_contestant_is_timed(small):
    said = []
    result = measure(rounds=1, seed=0, say=said.append)
    assert set(GOALS) < set(result["cpu_ms"])
    assert len(said) == len(result["cpu_ms"])
    assert all(0 < taken["least"] <= taken["median"] for taken in result["cpu_ms"].values())
    assert set(result["forward_passes"]) == {
        f"{network}: gradient redirection{kind}"
        for network in ("lenet-thin", "lenet")
        for kind in ("", ", 3 surrogates", ", target clean", ", plain")
    }


def test_the_command_writes_what_it_found(small, monkeypatch, capsys, tmp_path):
    file = tmp_path / "speed.json"
    words = ["experiments", "defences-speed", "--rounds", "1", "--json", str(file)]
    monkeypatch.setattr(sys, "argv", words)
    main()
    assert "| redirect, 10 classes | " in capsys.readouterr().out
    content = json.loads(file.read_text())
    assert content["command"].startswith("python -m experiments defences-speed --rounds 1")
    assert content["goals_ms"] == GOALS
    assert set(content["cpu_ms"]["mad, 10 classes"]) == {"median", "least"}


def test_goals_that_are_missed_are_marked():
    name = "lenet: gradient redirection"
    text = defences_speed.table(
        {
            "cpu_ms": {
                "mad, 10 classes": {"median": 2.0, "least": 0.5},
                name: {"median": 30.0, "least": 29.0},
            },
            "forward_passes": {name: {"median": 4.5, "least": 4.0}},
        }
    )
    assert text.splitlines()[2:] == [
        "| mad, 10 classes | 2 (missed) | 0.5 | 1 | - | - |",
        f"| {name} | 30 | 29 | - | 4.50 (missed) | 4.0 |",
    ]


def test_no_rounds_are_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["experiments", "defences-speed", "--rounds", "0"])
    assert main() == 1
    assert capsys.readouterr().err.startswith("error: --rounds is 0; expected at least 1")
