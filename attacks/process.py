"""An attacker process: pool, surrogate, sessions, record and transcript."""

import math
import time
from contextlib import ExitStack, closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

import attacks
from attacks.asking import Accounts, Asking
from attacks.driver import Driver
from attacks.options import Attacker
from attacks.world import Images, Surrogate, World
from client.process import Pace, Recorder, connect, recorded
from client.session import Service
from core import private
from core.learning import artifacts, datasets, networks

COSTS = "costs of a pool"
"""What kind of artifact `--costs` takes; see `read_costs`."""


def run(attack: ModuleType, config: Any, attacker: Attacker) -> None:
    """Runs one attack to its end.

    Raises client.session.GateError, client.process.Interrupted, DatasetError, ArtifactError,
    OSError, and ValueError for numbers out of range, for what the attack needs and was not given,
    and for a transcript of another attack.
    """
    check(attack, config, attacker)
    if attacker.surrogates is not None:  # what cannot be kept must not be paid for
        private.folder(attacker.surrogates)
    world_rng, session_rng = np.random.default_rng(attacker.seed).spawn(2)
    credentials = attacker.connection.accounts(attacker.accounts)
    recorder = Recorder(
        attacker.record,
        client=attacker.connection.client_id or "owner of the key",
        config={
            **asdict(attacker),
            "attack": attacks.name_of(attack),
            "attack_config": asdict(config),
        },
        seed=attacker.seed,
    )
    with recorded(recorder), ExitStack() as opened:
        sessions = []
        for account in credentials:
            observe = partial(recorder.observe, account=account.get("client_id", ""))
            session = connect(attacker.connection, account, observe=observe, rng=session_rng)
            sessions.append(opened.enter_context(session))
        service = sessions[0].service
        if config.batch > service.max_batch:
            raise ValueError(
                f"--attack.batch is {config.batch}; the gate takes at most {service.max_batch}"
            )
        shape = service.shape
        if len(shape) != 3:
            raise ValueError(f"the victim takes inputs {shape}; expected images (c, h, w)")
        network = networks.build(attacker.network, shape, service.classes, seed=attacker.seed)
        world = _world(attack, attacker, Surrogate(network, seed=attacker.seed), world_rng)
        if 0 < len(world.pool) < config.budget:
            recorder.write("pool", images=len(world.pool), budget=config.budget)
        plan = attack.plan(config, world)
        series = attacker.deal == "series"
        asking = Asking(
            Accounts(sessions, share=math.ceil(config.budget / len(sessions)) if series else None),
            pace=Pace(attacker.pace, clock=time.monotonic, sleep=time.sleep),
            priced=lambda offer: recorder.write(
                "price", request_id=offer.request_id, images=len(offer.images), work=offer.work
            ),
            folder=attacker.surrogates,
            config=_depends(attack, config, attacker, service),
            resume=attacker.resume,
        )
        opened.enter_context(closing(asking))
        Driver(
            plan,
            world.surrogate,
            predict=asking.predict,
            price=asking.price,
            budget=config.budget,
            surrogates=attacker.surrogates,
            saved=lambda asked, path, seconds: recorder.write(
                "checkpoint", asked=asked, path=path, train_seconds=seconds
            ),
        ).run()
    if attacker.surrogates is None:
        print("the surrogate is not kept; --surrogates FOLDER keeps it")


def check(attack: ModuleType, config: Any, attacker: Attacker) -> None:
    """Refuses what cannot be run, before the gate is called. Raises ValueError."""
    for flag, value, least in (
        ("attack.batch", config.batch, 1),
        ("accounts", attacker.accounts, 1),
        ("pace", attacker.pace, 0),
        ("pool-size", attacker.pool_size, 1),
    ):
        if not value >= least:
            raise ValueError(f"--{flag} is {value:g}; expected at least {least}")
    if config.budget < config.batch:
        raise ValueError(
            f"--attack.budget is {config.budget}; expected at least one batch of {config.batch}"
        )
    for need, given, meaning in (
        ("costs", attacker.costs, "--costs FILE with the privacy cost of each image of the pool"),
        ("inside", attacker.inside, "--inside NAME with images like the victim's training data"),
    ):
        if (need in attack.NEEDS) != (given is not None):
            needs = f"needs {meaning}" if given is None else f"has no use for --{need}"
            raise ValueError(f"{attacks.name_of(attack)} {needs}")
    if attacker.surrogates is None and attacker.resume:
        raise ValueError("--resume needs --surrogates, the folder where the transcript is")


def read_costs(path: Path, attacker: Attacker, pool: Images) -> NDArray[np.float64]:
    """Privacy cost (n,) of each image of a pool, from an artifact.

    It holds `costs` (n,) and says of which pool: `kind` (COSTS), `pool`, `seed`, `size`, and
    `images`, the fingerprint of {"pool": images}. Raises ArtifactError, and ValueError for costs of
    another pool.
    """
    arrays, meta = artifacts.load(path)
    if meta.get("kind") != COSTS or "costs" not in arrays:
        raise ValueError(f"{path} holds no costs of a pool (kind {meta.get('kind')!r})")
    for key, value in (
        ("pool", attacker.pool),
        ("seed", attacker.seed),
        ("size", len(pool)),
        ("images", artifacts.fingerprint({"pool": pool})),
    ):
        if meta.get(key) != value:
            raise ValueError(f"{path} is for {key} {meta.get(key)!r}; expected {value!r}")
    return arrays["costs"].astype(np.float64)


def _world(
    attack: ModuleType, attacker: Attacker, surrogate: Surrogate, rng: np.random.Generator
) -> World:
    """What the attack needs. Raises DatasetError, ArtifactError and ValueError."""
    shape = surrogate.network.shape
    if "pool" not in attack.NEEDS:
        return World(np.empty((0, *shape), np.uint8), surrogate, rng)
    load = partial(
        datasets.load_labelled_pool,
        shape=shape,
        count=attacker.pool_size,
        seed=attacker.seed,
        home=attacker.home,
        data=attacker.data,
    )
    pool, classes = load(attacker.pool)
    if "classes" in attack.NEEDS and classes is None:
        raise ValueError(f"the pool {attacker.pool} has no labels; expected one that has")
    return World(
        pool,
        surrogate,
        rng,
        classes=classes,
        costs=None if attacker.costs is None else read_costs(attacker.costs, attacker, pool),
        inside=None if attacker.inside is None else load(attacker.inside)[0],
    )


def _depends(
    attack: ModuleType, config: Any, attacker: Attacker, service: Service
) -> dict[str, Any]:
    """What the queries of an attack depend on, as flat JSON."""
    dealt = ("accounts", "deal") if attacker.accounts > 1 else ()
    flags = ("pool", "pool_size", "inside", "network", "seed", *dealt)
    return {
        "attack": attacks.name_of(attack),
        **{f"attack.{key}": value for key, value in asdict(config).items()},
        **{key: getattr(attacker, key) for key in flags},
        "model": service.model,
        "victim": service.fingerprint,
        "shape": list(service.shape),
        "classes": service.classes,
    }
