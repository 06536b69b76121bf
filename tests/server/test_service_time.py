"""How long a client waits for a free answer."""

import asyncio

import numpy as np

from server.admission import Pace
from server.calibration.service import measure_service
from server.model import Model


def test_it_is_measured_on_loopback_whatever_proxy_the_environment_names(gate, monkeypatch):
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("no_grpc_proxy", raising=False)
    images = np.zeros((4, 1, 4, 4), np.uint8)
    model = Model("fake", "nothing", gate.victim, gate.measure, "f" * 64)
    assert 0 < asyncio.run(measure_service(model, images, repeats=2)) < 60


def test_the_pace_of_clients_is_no_part_of_it(gate_with, monkeypatch):
    """A large batch counts as many calls: where the victim is fast, waiting would be measured."""
    turn, early = Pace.turn, []

    async def counted(self, at_most):
        early.append(self._next > self._clock())
        await turn(self, at_most)

    monkeypatch.setattr(Pace, "turn", counted)
    with gate_with(shape=(3, 64, 64)) as gate:
        model = Model("fake", "nothing", gate.victim, gate.measure, "f" * 64)
        images = np.zeros((4, 3, 64, 64), np.uint8)
        asyncio.run(measure_service(model, images, repeats=10))
    assert len(early) == 13
    assert not any(early)
