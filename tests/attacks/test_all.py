"""What every attack in the registry must do: one table, so that a new file is tested at once."""

import inspect
from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest

import attacks
from attacks.driver import Driver
from attacks.world import Student, World
from core import networks

SHAPE, CLASSES = (1, 8, 8), 3


def world(seed=0, pool=150):
    images = np.random.default_rng(7).integers(0, 256, (pool, *SHAPE), dtype=np.uint8)
    network = networks.build("lenet-thin", SHAPE, CLASSES, seed=seed)
    return World(images, Student(network, seed=seed), np.random.default_rng(seed))


def victim(images):
    """Probabilities by mean brightness."""
    mean = images.reshape(len(images), -1).mean(axis=1) / 255
    logits = np.stack([-np.abs(mean - at) * 50 for at in (0.45, 0.5, 0.55)], axis=1)
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (shifted / shifted.sum(axis=1, keepdims=True)).astype(np.float32)


def config(attack, **changes):
    return attack.Config(**{"budget": 90, "batch": 20, "rounds": 3, "epochs": 1, **changes})


def drive(attack, cfg, place, *, budget=None, predict=victim, surrogates=None):
    asked, checkpoints = [], []

    def answer(images):
        asked.append(images)
        return predict(images)

    driver = Driver(
        attack.plan(cfg, place),
        place.student,
        predict=answer,
        budget=budget or cfg.budget,
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


def test_keeps_to_the_budget_and_the_batch(attack):
    asked, _ = drive(attack, config(attack), world())
    assert sum(map(len, asked)) == 90
    assert max(map(len, asked)) <= 20


def test_asks_images_of_the_right_kind(attack):
    for images in drive(attack, config(attack), world())[0]:
        assert images.shape[1:] == SHAPE
        assert images.dtype == np.uint8 or (images.min() >= 0 and images.max() <= 1)


def test_the_same_seed_asks_the_same_images_and_learns_the_same(attack):
    first, second = world(seed=3), world(seed=3)
    asked = [drive(attack, config(attack), place)[0] for place in (first, second)]
    np.testing.assert_array_equal(np.concatenate(asked[0]), np.concatenate(asked[1]))
    np.testing.assert_array_equal(
        first.student.predict(first.pool), second.student.predict(second.pool)
    )


def test_another_seed_asks_other_images(attack):
    asked = [np.concatenate(drive(attack, config(attack), world(seed=s))[0]) for s in (1, 2)]
    assert not np.array_equal(*asked)


def test_learns_after_every_round_and_leaves_its_surrogate(attack, tmp_path):
    from core.artifacts import load_network

    place = world()
    _, checkpoints = drive(attack, config(attack), place, surrogates=tmp_path)
    assert [images for images, _ in checkpoints] == [30, 60, 90]
    network, facts = load_network(tmp_path / checkpoints[-1][1])
    assert facts["asked"] == 90
    np.testing.assert_array_equal(
        Student(network, seed=0).predict(place.pool), place.student.predict(place.pool)
    )


def test_a_small_pool_is_used_up_without_repeats(attack):
    asked, _ = drive(attack, config(attack), world(pool=50))
    flat = np.concatenate(asked).reshape(-1, 64)
    assert len(flat) == 50
    assert len(np.unique(flat, axis=0)) == 50


def test_closes_cleanly_when_refused_half_way(attack, tmp_path):
    class Refused(Exception):
        pass

    calls = []

    def predict(images):
        calls.append(images)
        if len(calls) == 4:
            raise Refused
        return victim(images)

    place = world()
    plan = attack.plan(config(attack), place)
    saved = []
    driver = Driver(
        plan,
        place.student,
        predict=predict,
        budget=90,
        surrogates=tmp_path,
        saved=lambda images, name, seconds: saved.append(images),
    )
    with pytest.raises(Refused):
        driver.run()
    assert saved == [30]
    assert [path.name for path in tmp_path.iterdir()] == ["000030.safetensors"]
    with pytest.raises(StopIteration):
        next(plan)  # closed
