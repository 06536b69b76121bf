"""One attack as a process: pool, surrogate, session, record, put together."""

from dataclasses import asdict
from types import ModuleType
from typing import Any

import numpy as np

from attacks.driver import Driver
from attacks.options import Thief
from attacks.world import Student, World
from client.recording import Recorder, recorded_session
from core import datasets, networks


def run(attack: ModuleType, config: Any, thief: Thief) -> None:
    """Runs one attack to its end.

    Raises client.session.GateError, client.recording.Interrupted, core.datasets.DatasetError,
    OSError, and ValueError for numbers out of range.
    """
    check(config, thief)
    if thief.surrogates is not None:  # a thief that cannot keep its loot must not pay for it
        thief.surrogates.mkdir(parents=True, exist_ok=True)
    world_rng, session_rng = np.random.default_rng(thief.seed).spawn(2)
    credentials = thief.connection.credentials()
    recorder = Recorder(
        thief.record,
        client=credentials.get("client_id", "owner of the key"),
        config={
            **asdict(thief),
            "attack": attack.__name__.removeprefix("attacks."),
            "attack_config": asdict(config),
        },
        seed=thief.seed,
    )
    with recorded_session(thief.connection, recorder, rng=session_rng) as session:
        service = session.service
        pool = datasets.load_pool(
            thief.pool,
            service.shape,
            count=thief.pool_size,
            seed=thief.seed,
            home=thief.home,
            data=thief.data,
        )
        network = networks.build(thief.network, service.shape, service.classes, seed=thief.seed)
        student = Student(network, seed=thief.seed)
        Driver(
            attack.plan(config, World(pool, student, world_rng)),
            student,
            predict=session.predict,
            budget=config.budget,
            surrogates=thief.surrogates,
            saved=lambda asked, path, seconds: recorder.write(
                "checkpoint", asked=asked, path=path, train_seconds=seconds
            ),
        ).run()


def check(config: Any, thief: Thief) -> None:
    """Refuses what no attack can run with, before anything is paid. Raises ValueError."""
    if config.batch < 1:
        raise ValueError(f"--attack.batch is {config.batch}; expected at least 1")
    if config.budget < config.batch:
        raise ValueError(
            f"--attack.budget is {config.budget}; expected at least one batch of {config.batch}"
        )
    if config.rounds < 1:
        raise ValueError(f"--attack.rounds is {config.rounds}; expected at least 1")
    if thief.pool_size < 1:
        raise ValueError(f"--pool-size is {thief.pool_size}; expected at least 1")
