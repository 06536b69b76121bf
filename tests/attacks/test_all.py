"""What every attack in the registry must do: one table, so that a new file is tested at once."""

import inspect
import math
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest
from meaning import assert_same_answers

import attacks
from attacks.driver import Driver
from attacks.world import Surrogate, World
from core.learning import networks
from core.learning.artifacts import load_network

SHAPE, CLASSES = (1, 8, 8), 3

SMALL = {
    "budget": 90,
    "batch": 20,
    "rounds": 3,
    "epochs": 1,
    "seeds": 20,
    "steps": 2,
}
"""Settings for these tests, of every attack that has them."""


def world(attack, seed=0, pool=150):
    rng = np.random.default_rng(7)
    images = rng.integers(0, 256, (pool, *SHAPE), dtype=np.uint8)
    classes, costs = rng.integers(0, 4, pool), rng.random(pool)
    inside = rng.integers(0, 256, (pool, *SHAPE), dtype=np.uint8)
    network = networks.build("lenet-thin", SHAPE, CLASSES, seed=seed)
    needs = attack.NEEDS
    return World(
        images if "pool" in needs else images[:0],
        Surrogate(network, seed=seed),
        np.random.default_rng(seed),
        classes=classes if "pool" in needs else None,
        costs=costs if "costs" in needs else None,
        inside=inside if "inside" in needs else None,
    )


def victim(images):
    """Probabilities by mean brightness."""
    mean = images.reshape(len(images), -1).mean(axis=1)
    mean = mean / 255 if images.dtype == np.uint8 else mean
    logits = np.stack([-np.abs(mean - at) * 50 for at in (0.45, 0.5, 0.55)], axis=1)
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (shifted / shifted.sum(axis=1, keepdims=True)).astype(np.float32)


def work(images):
    """A price that rises with the brightness."""
    return 1 << int(8 * images.mean() / (255 if images.dtype == np.uint8 else 1))


def config(attack, **changes):
    known = {field.name for field in fields(attack.Config)}
    wanted = {key: value for key, value in SMALL.items() if key in known}
    return attack.Config(**{**wanted, **changes})


def drive(attack, cfg, place, *, predict=victim, surrogates=None):
    """The batches asked, and (images, file) of each checkpoint."""
    asked, checkpoints = [], []

    def answer(images):
        asked.append(images)
        return predict(images)

    driver = Driver(
        attack.plan(cfg, place),
        place.surrogate,
        predict=answer,
        price=work,
        budget=cfg.budget,
        surrogates=surrogates,
        saved=lambda images, name, seconds: checkpoints.append((images, name)),
    )
    driver.run()
    return asked, checkpoints


@pytest.fixture(params=sorted(attacks.REGISTRY))
def attack(request):
    return attacks.load(request.param)


def test_is_frozen_generator_and_cites_its_paper(attack):
    cfg = config(attack)
    with pytest.raises(FrozenInstanceError):
        cfg.budget = 1
    assert inspect.isgeneratorfunction(attack.plan)
    assert "Differs from the paper: " in attack.__doc__
    assert any(str(year) in attack.__doc__ for year in range(2016, 2027))
    assert all(field.default is not field.default_factory for field in fields(cfg))


def test_says_what_it_is(attack):
    assert attack.SOURCE[-4:] in attack.__doc__
    assert attack.SOURCE.split(" et al.")[0].split(",")[0] in attack.__doc__
    assert attack.LABELS in ("soft", "hard", "soft or hard")
    assert set(attack.NEEDS) <= {"pool", "classes", "costs", "inside"}
    assert not attack.NEEDS or "pool" in attack.NEEDS
    choice = {field.name for field in fields(attack.Config)} & {"labels"}
    assert (attack.LABELS == "soft or hard") == bool(choice)


def test_keeps_to_the_budget_and_the_batch(attack):
    asked, _ = drive(attack, config(attack), world(attack))
    assert 90 - 20 < sum(map(len, asked)) <= 90
    assert max(map(len, asked)) <= 20


def test_asks_images_of_the_right_kind(attack):
    for images in drive(attack, config(attack), world(attack))[0]:
        assert images.shape[1:] == SHAPE
        assert images.dtype in (np.uint8, np.float32)
        assert images.dtype == np.uint8 or (images.min() >= 0 and images.max() <= 1)


def test_images_of_a_pool_are_asked_once(attack):
    place = world(attack, pool=50)
    asked, _ = drive(attack, config(attack), place)
    natural = [images for images in asked if images.dtype == np.uint8]
    if not natural:
        pytest.skip("asks no image as it comes")
    flat = np.concatenate(natural).reshape(-1, 64)
    assert len(np.unique(flat, axis=0)) == len(flat)
    pools = [place.pool] if place.inside is None else [place.pool, place.inside]
    known = {image.tobytes() for image in np.concatenate(pools)}
    assert {image.tobytes() for image in flat} <= known


def test_the_same_seed_asks_the_same_images_and_learns_the_same(attack):
    first, second = world(attack, seed=3), world(attack, seed=3)
    asked = [drive(attack, config(attack), place)[0] for place in (first, second)]
    assert_same_answers(np.concatenate(asked[0]), np.concatenate(asked[1]))
    probe = np.random.default_rng(1).random((20, *SHAPE), dtype=np.float32)
    assert_same_answers(first.surrogate.predict(probe), second.surrogate.predict(probe))


def test_another_seed_asks_other_images(attack):
    if "costs" in attack.NEEDS:
        pytest.skip("the order of the costs decides")
    asked = [
        np.concatenate(drive(attack, config(attack), world(attack, seed=s))[0]) for s in (1, 2)
    ]
    assert asked[0].shape != asked[1].shape or not np.allclose(*asked)


def test_leaves_what_it_learnt(attack, tmp_path):
    place = world(attack)
    asked, checkpoints = drive(attack, config(attack), place, surrogates=tmp_path)
    assert len(checkpoints) >= 1
    assert checkpoints[-1][0] == sum(map(len, asked))
    network, facts = load_network(tmp_path / checkpoints[-1][1])
    assert facts["asked"] == checkpoints[-1][0]
    probe = np.random.default_rng(1).random((20, *SHAPE), dtype=np.float32)
    assert_same_answers(Surrogate(network, seed=0).predict(probe), place.surrogate.predict(probe))


@pytest.mark.parametrize("labels", ["soft", "hard"])
def test_learns_from_labels_of_each_kind(attack, labels):
    if attack.LABELS != "soft or hard":
        pytest.skip(f"learns from {attack.LABELS} labels only")
    place = world(attack)
    before = place.surrogate.rounds
    drive(attack, config(attack, labels=labels), place)
    assert place.surrogate.rounds > before


def test_closes_cleanly_when_refused_half_way(attack, tmp_path):
    class Refused(Exception):
        pass

    calls = []

    def predict(images):
        calls.append(images)
        if len(calls) == 4:
            raise Refused
        return victim(images)

    place = world(attack)
    plan = attack.plan(config(attack), place)
    saved = []
    driver = Driver(
        plan,
        place.surrogate,
        predict=predict,
        price=work,
        budget=90,
        surrogates=tmp_path,
        saved=lambda images, name, seconds: saved.append(name),
    )
    with pytest.raises(Refused):
        driver.run()
    assert [path.name for path in sorted(tmp_path.iterdir())] == sorted(set(saved))
    with pytest.raises(StopIteration):
        next(plan)  # closed


@pytest.mark.parametrize("changes", [{"rounds": 0}, {"epochs": 0}, {"lr": -1.0}])
def test_a_bad_setting_is_refused_before_the_first_query(attack, changes):
    if not changes.keys() <= {field.name for field in fields(attack.Config)}:
        pytest.skip("has no such setting")
    with pytest.raises(ValueError, match=r"expected"):
        next(attack.plan(config(attack, **changes), world(attack)))


def test_what_is_no_number_is_refused_before_the_first_query(attack):
    names = [field.name for field in fields(attack.Config) if field.type in (float, "float")]
    for name in set(names) - {"online_lr"}:  # which is of one strategy only: see test_knockoff
        with pytest.raises(ValueError, match=r"is nan; expected|is nan, expected"):
            next(attack.plan(config(attack, **{name: math.nan}), world(attack)))


def test_no_attack_brings_torch_along():
    code = (
        "import sys, attacks; [attacks.load(name) for name in attacks.REGISTRY]; "
        "print([m for m in ('torch', 'scipy', 'sklearn', 'numba') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
