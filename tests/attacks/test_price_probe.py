"""The price probe: what it pays for, in what order, and how many prices stay open."""

import numpy as np
import pytest
from plans import Notebook, drive

from attacks import price_probe
from attacks.world import Price, World

KINDS = 4


def world(pool=80, seed=0):
    """Images of four kinds, each of a brightness of its own: 0, 60, 120, 180."""
    kinds = np.arange(pool) % KINDS
    images = (kinds[:, None, None, None] * 60 + np.arange(4).reshape(1, 1, 2, 2)).astype(np.uint8)
    return World(images, Notebook(), np.random.default_rng(seed))


def learnt(place):
    return [len(images) for images, *_ in place.surrogate.seen]


def probe(place, price, **config):
    """Brightness of each priced and each paid batch, in order, and most prices open at once."""
    cfg = price_probe.Config(**{"budget": 40, "batch": 5, "groups": KINDS, "rounds": 2, **config})
    log, unpaid, most = [], 0, 0

    def answer(request):
        nonlocal unpaid, most
        priced = isinstance(request, Price)
        images = request.images if priced else request
        assert len(np.unique(images[:, 0, 0, 0])) == 1  # of one group
        kind = int(images[0, 0, 0, 0])
        log.append(("price" if priced else "pay", kind))
        unpaid += 1 if priced else -1
        most = max(most, unpaid)
        return price(kind) if priced else np.full((len(images), 3), 1 / 3, np.float32)

    drive(price_probe.plan(cfg, place), answer)
    return log, most


@pytest.mark.parametrize(("prefer", "expected"), [("expensive", [180, 120]), ("cheap", [0, 60])])
def test_the_dearest_or_cheapest_group_is_paid_for_first(prefer, expected):
    log, most = probe(world(), lambda kind: 1 << kind // 60, prefer=prefer)
    assert most == KINDS  # one price is open for each group at most
    assert sorted(log[:4]) == [("price", kind) for kind in (0, 60, 120, 180)]
    paid = [kind for what, kind in log if what == "pay"]
    assert paid == [expected[0]] * 4 + [expected[1]] * 4  # a group has 4 batches


def test_equal_prices_say_nothing():
    log, _ = probe(world(), lambda kind: 64, budget=80)
    assert len({kind for what, kind in log[:9] if what == "pay"}) > 1
    other, _ = probe(world(seed=1), lambda kind: 64, budget=80)
    assert log != other


def test_it_learns_after_every_round_and_prices_nothing_it_cannot_pay():
    place = world()
    log, _ = probe(place, lambda kind: 1 << kind // 60)
    assert learnt(place) == [20, 40]
    assert log[-1][0] == "pay"
    place = world()
    probe(place, lambda kind: 64, budget=38)  # the eighth batch does not fit
    assert learnt(place) == [20, 35]  # what was paid at the end is learnt


def test_groups_are_whole_and_keep_each_image_once():
    place = world(pool=42)
    queues = price_probe.batches_of_groups(place, KINDS, 5)
    flat = np.concatenate([np.concatenate(queue) for queue in queues])
    assert sorted(flat[:, 0, 0, 0]) == sorted(place.pool[:, 0, 0, 0])
    assert {len(batch) for queue in queues for batch in queue} == {5, 1}
