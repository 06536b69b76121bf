"""Flags that choose a defence: every defence has them, and none takes another's."""

from dataclasses import fields
from typing import get_args, get_type_hints

import numpy as np
import pytest
from meaning import assert_same_answers

from server import defences
from server.defences.options import FIELDS, Perturb


def test_every_defence_and_every_setting_has_a_flag():
    names = get_args(get_type_hints(Perturb)["defence"])
    assert names == tuple(defences.DEFENCES)
    flags = {FIELDS.get(field.name, field.name) for field in fields(Perturb)} - {"defence"}
    used = {field.name for name in names for field in fields(defences.load(name).Config)}
    assert flags == used


def test_settings_reach_the_defence():
    chosen = Perturb(defence="gradient_redirection", budget=0.5, target="clean", keep_top=True)
    assert chosen.settings() == {"budget": 0.5, "target": "clean", "keep_top": True}
    config = chosen.config()
    assert (config.epsilon, config.target, config.layers) == (0.5, "clean", "all")
    assert config.keep_top is True
    assert Perturb(defence="rounding").config() == defences.load("rounding").Config()
    assert Perturb(defence="topk", classes=1).config().classes == 1


@pytest.mark.parametrize(
    ("chosen", "why"),
    [
        ({"budget": 1.0}, "budget is 1.0, but defence none has no such setting; expected none"),
        ({"defence": "mad", "tau": 0.5}, "tau is 0.5, but defence mad .* expected epsilon"),
        ({"defence": "mad", "budget": 2.5}, "the L1 budget is 2.5, expected 0 to 2"),
        ({"defence": "madd"}, "unknown defence 'madd'.*did you mean 'mad'"),
    ],
)
def test_settings_that_mean_nothing_are_refused(chosen, why):
    with pytest.raises(ValueError, match=why):
        Perturb(**chosen).config()


def test_a_perturbation_answers_for_its_client():
    config = Perturb(defence="random", budget=1.0).config()
    served = defences.Perturbation("random", config, b"k" * 32)
    posterior = np.full((20, 10), 0.1, np.float32)
    images = np.random.default_rng(0).random((20, 1, 4, 4), dtype=np.float32)
    out = served.answer(posterior, images, "alice")
    assert out.dtype == np.float32
    assert_same_answers(out, served.answer(posterior, images, "alice"))
    assert not np.allclose(out, served.answer(posterior, images, "bob"))
