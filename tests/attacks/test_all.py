"""What every attack in the registry must do: one table, so that a new file is tested at once."""

import inspect
import math
from dataclasses import FrozenInstanceError, dataclass, field, fields
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from meaning import assert_same_answers

import attacks
from attacks.driver import Driver
from attacks.world import Surrogate, World
from core.learning import networks
from core.learning.artifacts import load_network

SHAPE, CLASSES = (1, 8, 8), 4
PAGES = Path(__file__).parents[2] / "docs" / "attacks"

# Settings for these tests, of every attack that has them; and with which it must come to copy.
SMALL = {"budget": 60, "batch": 10, "rounds": 3, "epochs": 1, "seeds": 20, "steps": 2}
EFFECT = {"budget": 200, "rounds": 1, "epochs": 15, "lr": 0.1, "steps": 60, "seeds": 100}
DATA_FREE = {"budget": 7 * 32 * 25, "train_batch": 32, "width": 8, "latent": 8, "rounds": 1}


def pixels(count, seed):
    """Images of which one quadrant is brighter than the others."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 160, (count, *SHAPE))
    for image, quadrant in zip(images, rng.integers(0, 4, count), strict=True):
        row, column = divmod(int(quadrant), 2)
        image[0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 90
    return images.astype(np.uint8)


def victim(images):
    """Probabilities by the mean brightness of each quadrant."""
    scale = 255 if images.dtype == np.uint8 else 1
    means = images.reshape(-1, 2, 4, 2, 4).mean(axis=(2, 4)).reshape(-1, 4) / scale
    powers = np.exp(12 * (means - means.max(axis=1, keepdims=True)))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def work(images):
    """A price that rises with the brightness."""
    return 1 << int(8 * images.mean() / (255 if images.dtype == np.uint8 else 1))


def config(attack, wanted=SMALL, **changes):
    known = {each.name for each in fields(attack.Config)}
    chosen = {key: value for key, value in wanted.items() if key in known}
    return attack.Config(**{**chosen, **changes})


def world(attack, seed=0, pool=150):
    rng = np.random.default_rng(7)
    needs = attack.NEEDS
    network = networks.build("lenet-thin", SHAPE, CLASSES, seed=seed)
    return World(
        pixels(pool if "pool" in needs else 0, 7),
        Surrogate(network, seed=seed),
        np.random.default_rng(seed),
        classes=rng.integers(0, 4, pool) if "pool" in needs else None,
        costs=rng.random(pool) if "costs" in needs else None,
        inside=pixels(pool, 8) if "inside" in needs else None,
    )


@dataclass
class Run:
    """What came of an attack on the fake victim."""

    place: World
    asked: list = field(default_factory=list)
    checkpoints: list = field(default_factory=list)  # (images, file)

    def drive(self, plan, budget, *, predict=victim, folder=None):
        def answer(images):
            self.asked.append(images)
            return predict(images)

        Driver(
            plan,
            self.place.surrogate,
            predict=answer,
            price=work,
            budget=budget,
            surrogates=folder,
            saved=lambda images, name, seconds: self.checkpoints.append((images, name)),
        ).run()
        return self


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs attacks with small settings, each seed once but where it is to be run again."""

    @cache
    def run(attack, seed=3, again=False):
        run, cfg = Run(world(attack, seed)), config(attack)
        folder = tmp_path_factory.mktemp("surrogates")
        return run.drive(attack.plan(cfg, run.place), cfg.budget, folder=folder), folder

    return run


@pytest.fixture(params=sorted(attacks.REGISTRY))
def attack(request):
    return attacks.load(request.param)


def test_says_what_it_is(attack):
    cfg = config(attack)
    with pytest.raises(FrozenInstanceError):
        cfg.budget = 1
    assert inspect.isgeneratorfunction(attack.plan)
    assert "Differs from the paper: " in attack.__doc__
    assert attack.SOURCE[-4:] in attack.__doc__
    assert attack.SOURCE.split(" et al.")[0].split(",")[0] in attack.__doc__
    assert attack.LABELS in ("soft", "hard", "soft or hard")
    assert set(attack.NEEDS) <= {"pool", "classes", "costs", "inside"}
    assert not attack.NEEDS or "pool" in attack.NEEDS
    choice = {each.name for each in fields(attack.Config)} & {"labels"}
    assert (attack.LABELS == "soft or hard") == bool(choice)


def test_asks_images_of_the_right_kind_within_budget_and_batch(attack, run):
    asked = run(attack)[0].asked
    assert 60 - 10 < sum(map(len, asked)) <= 60
    assert max(map(len, asked)) <= 10
    for images in asked:
        assert images.shape[1:] == SHAPE
        assert images.dtype in (np.uint8, np.float32)
        assert images.dtype == np.uint8 or (images.min() >= 0 and images.max() <= 1)


def test_images_of_a_pool_are_asked_once(attack):
    place = world(attack, pool=50)
    asked = Run(place).drive(attack.plan(config(attack), place), 60).asked
    natural = [images for images in asked if images.dtype == np.uint8]
    if not natural:
        pytest.skip("asks no image as it comes")
    flat = np.concatenate(natural).reshape(-1, 64)
    assert len(np.unique(flat, axis=0)) == len(flat)
    pools = [place.pool] if place.inside is None else [place.pool, place.inside]
    known = {image.tobytes() for image in np.concatenate(pools)}
    assert {image.tobytes() for image in flat} <= known


@pytest.mark.process
def test_the_seed_decides_what_is_asked_and_learnt(attack, run):
    (first, _), (second, _), (other, _) = run(attack), run(attack, again=True), run(attack, seed=1)
    asked = [np.concatenate(each.asked) for each in (first, second, other)]
    assert_same_answers(asked[0], asked[1])
    probes = np.random.default_rng(1).random((20, *SHAPE), dtype=np.float32)
    learnt = [each.place.surrogate.predict(probes) for each in (first, second)]
    assert_same_answers(*learnt)
    if "costs" not in attack.NEEDS:  # whose order decides
        same = asked[0].shape == asked[2].shape and np.allclose(asked[0], asked[2])
        assert not same, "seeds 3 and 1 ask the same; the order has to depend on world.rng"


def test_has_a_page(attack):
    name = attacks.name_of(attack)
    assert (PAGES / f"{name}.md").exists()
    assert f"({name}.md)" in (PAGES / "README.md").read_text()


def test_leaves_what_it_learnt(attack, run):
    done, folder = run(attack)
    assert done.checkpoints[-1][0] == sum(map(len, done.asked))
    network, facts = load_network(folder / done.checkpoints[-1][1])
    assert facts["asked"] == done.checkpoints[-1][0]
    probes = np.random.default_rng(1).random((20, *SHAPE), dtype=np.float32)
    saved = Surrogate(network, seed=0).predict(probes)
    assert_same_answers(saved, done.place.surrogate.predict(probes))


@pytest.mark.process
def test_the_surrogate_agrees_with_the_victim_twice_as_often_as_chance(attack):
    cfg = config(attack, EFFECT if attack.NEEDS else DATA_FREE)
    place = world(attack, seed=1, pool=250)
    Run(place).drive(attack.plan(cfg, place), cfg.budget)
    held_out = pixels(300, 9)
    truth = victim(held_out).argmax(axis=1)
    assert np.bincount(truth).min() > 50
    assert (place.surrogate.predict(held_out).argmax(axis=1) == truth).mean() >= 2 / CLASSES


def test_closes_cleanly_when_refused_half_way(attack, tmp_path):
    run = Run(world(attack))

    def predict(images):
        if len(run.asked) == 4:
            raise InterruptedError
        return victim(images)

    plan = attack.plan(config(attack), run.place)
    with pytest.raises(InterruptedError):
        run.drive(plan, 60, predict=predict, folder=tmp_path)
    names = {name for _, name in run.checkpoints}
    assert {path.name for path in tmp_path.iterdir()} == names
    with pytest.raises(StopIteration):
        next(plan)  # closed


def test_a_bad_setting_is_refused_before_the_first_query(attack):
    known = {each.name: each.type for each in fields(attack.Config)}
    bad = {"rounds": 0, "epochs": 0, "lr": -1.0}
    numbers = {name: math.nan for name, kind in known.items() if kind in (float, "float")}
    numbers.pop("online_lr", None)  # which is of one strategy only: see test_knockoff
    for name, value in [*bad.items(), *numbers.items()]:
        if name in known:
            with pytest.raises(ValueError, match=r"expected"):
                next(attack.plan(config(attack, **{name: value}), world(attack)))
