"""How long a client waits for a free answer."""

import asyncio

import numpy as np

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
