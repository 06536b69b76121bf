"""Settings of defences, from flags and files, and what is refused: each names value and reason."""

from dataclasses import asdict

import numpy as np
import pytest
import tyro

from core.validation import Mistakes
from server import defences
from server.options import serving


@pytest.mark.parametrize(
    ("posterior", "why"),
    [
        ([[0.7, 0.2, 0.2]], "probabilities sum to 1.1, expected 1"),
        ([[1.0]], r"posterior has shape \(1, 1\), expected \(b, k\) with k >= 2"),
        ([0.5, 0.5], r"posterior has shape \(2,\)"),
        ([[1.2, -0.2]], "posterior contains -0.2, expected probabilities"),
        ([[np.nan, 1.0]], "posterior contains nan, expected probabilities"),
    ],
)
def test_what_is_no_posterior(posterior, why):
    served = defences.Perturbation("topk", defences.configured("topk", {}), b"k")
    with pytest.raises(ValueError, match=why):
        served.answer(np.array(posterior, np.float32), np.zeros((1, 1, 4, 4), np.float32), "a")


@pytest.mark.parametrize(
    ("name", "settings", "mistakes"),
    [
        ("random", {"epsilon": 3.0}, ["x epsilon is 3.0, expected 0 to 2"]),
        ("mad", {"epsilon": -1}, ["x epsilon is -1.0, expected 0 to 2"]),
        (
            "gradient_redirection",
            {"target": "up", "layers": "first", "keep_top": 1},
            [
                "x.target is 'up', expected one of all-ones, clean, watermark",
                "x.layers is 'first', expected one of all, last",
                "x.keep_top is 1, expected true or false",
            ],
        ),
        ("rounding", {"decimals": 7}, ["x decimals is 7, expected a whole number, 0 to 6"]),
        ("topk", {"classes": 0}, ["x classes is 0, expected a whole number from 1"]),
        ("topk", {"classes": 1.5}, ["x.classes is 1.5, expected a whole number"]),
        ("reverse_sigmoid", {"beta": 2.1}, ["x beta is 2.1, expected 0 to 2"]),
        ("reverse_sigmoid", {"gamma": 1.1}, ["x gamma is 1.1, expected above 0, at most 1"]),
        ("adaptive_misinformation", {"tau": 1.5}, ["x tau is 1.5, expected 0 to 1"]),
        ("adaptive_misinformation", {"nu": 0.0}, ["x nu is 0.0, expected a number above 0"]),
        (
            "mad",
            {"epsilom": 1.0, "tau": 1},
            [
                "x.epsilom is not a known key; did you mean 'epsilon'?",
                "x.tau is not a known key, known here: epsilon",
            ],
        ),
        ("none", {"epsilon": 1.0}, ["x is given, but there is no defence; expected no settings"]),
    ],
)
def test_settings_that_mean_nothing_are_refused(name, settings, mistakes):
    with pytest.raises(Mistakes) as caught:
        defences.configured(name, settings, "x")
    assert list(caught.value.mistakes) == mistakes


def test_every_setting_is_a_flag_with_its_meaning():
    for name in defences.DEFENCES:
        flags = serving(["serve", "--home", "h", f"--defence={name}"])
        made = tyro.cli(flags, args=["--defence", name])
        assert made.defence == name
        if (expected := defences.configured(name, {})) is not None:
            assert asdict(made.defence_config) == asdict(expected)
    chosen = ["--defence", "mad", "--defence.epsilon", "0.5"]
    assert tyro.cli(serving(chosen), args=chosen).defence_config.epsilon == 0.5
    with pytest.raises(SystemExit):
        tyro.cli(serving(chosen), args=[*chosen, "--defence.tau", "1"])


@pytest.mark.parametrize("unknown", [defences.load, lambda name: serving(["--defence", name])])
def test_an_unknown_defence(unknown):
    with pytest.raises(ValueError, match=r"unknown defence 'gradient-redirection'.*did you mean"):
        unknown("gradient-redirection")
    with pytest.raises(ValueError, match=r"unknown defence 'xyz', expected one of none, rounding"):
        unknown("xyz")
