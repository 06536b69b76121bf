"""One attack as a process: pool, surrogate, session, record and transcript, put together."""

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import attacks
from attacks.accounts import Accounts
from attacks.driver import Driver
from attacks.offers import Offers
from attacks.options import Thief
from attacks.transcript import Transcript
from attacks.world import Answers, Images, Student, World
from client.pace import Pace
from client.recording import Recorder, connect, recorded
from client.session import Service
from core import private
from core.learning import artifacts, datasets, networks

TRANSCRIPT = "transcript.jsonl"
"""Beside the surrogates."""

OFFERS = "offers.jsonl"
"""Beside the transcript: answers under seal, for a thief who is stopped before he has paid."""

COSTS = "costs of a pool"
"""What kind of artifact `--costs` takes; see `read_costs`."""


def run(attack: ModuleType, config: Any, thief: Thief) -> None:
    """Runs one attack to its end.

    Raises client.session.GateError, client.recording.Interrupted, DatasetError,
    ArtifactError, OSError, and ValueError for numbers out of range, for what the
    attack needs and was not given, and for a transcript of another attack.
    """
    check(attack, config, thief)
    if thief.surrogates is not None:  # a thief that cannot keep its loot must not pay for it
        private.folder(thief.surrogates)
    world_rng, session_rng = np.random.default_rng(thief.seed).spawn(2)
    credentials = thief.connection.accounts(thief.accounts)
    own = thief.connection.client_id or "owner of the key"
    name = attacks.name_of(attack)
    recorder = Recorder(
        thief.record,
        client=own,
        config={**asdict(thief), "attack": name, "attack_config": asdict(config)},
        seed=thief.seed,
    )
    with recorded(recorder), ExitStack() as opened:
        accounts = Accounts(
            [
                opened.enter_context(
                    connect(
                        thief.connection,
                        account,
                        observe=partial(recorder.observe, account=account.get("client_id", "")),
                        rng=session_rng,
                    )
                )
                for account in credentials
            ],
            share=math.ceil(config.budget / len(credentials)) if thief.deal == "series" else None,
            pace=Pace(thief.pace, clock=time.monotonic, sleep=time.sleep),
        )
        service = accounts.service
        if config.batch > service.max_batch:
            raise ValueError(
                f"--attack.batch is {config.batch}; the gate takes at most {service.max_batch}"
            )
        network = networks.build(thief.network, service.shape, service.classes, seed=thief.seed)
        student = Student(network, seed=thief.seed)
        world = _world(attack, thief, service, student, world_rng)
        if 0 < len(world.pool) < config.budget:
            recorder.write("pool", images=len(world.pool), budget=config.budget)
        plan = attack.plan(config, world)
        transcript = None
        if thief.surrogates is not None:
            transcript = Transcript(
                thief.surrogates / TRANSCRIPT,
                _depends(name, config, thief, service),
                resume=thief.resume,
            )
            opened.callback(transcript.close)
        offers = Offers(
            accounts,
            seen=lambda offer: recorder.write(
                "price", request_id=offer.request_id, images=len(offer.images), work=offer.work
            ),
            file=None if thief.surrogates is None else thief.surrogates / OFFERS,
        )
        opened.callback(offers.close)
        ask: Callable[[Images], Answers] = offers.predict
        price: Callable[[Images], int] = offers.price
        if transcript is not None:
            ask = partial(transcript.predict, ask=offers.predict)
            price = partial(transcript.price, ask=offers.price)
        Driver(
            plan,
            student,
            predict=partial(accounts.predict, ask=ask),
            price=partial(accounts.price, ask=price),
            budget=config.budget,
            surrogates=thief.surrogates,
            saved=lambda asked, path, seconds: recorder.write(
                "checkpoint", asked=asked, path=path, train_seconds=seconds
            ),
        ).run()


def check(attack: ModuleType, config: Any, thief: Thief) -> None:
    """Refuses what cannot be run, before the gate is called. Raises ValueError."""
    if config.batch < 1:
        raise ValueError(f"--attack.batch is {config.batch}; expected at least 1")
    if config.budget < config.batch:
        raise ValueError(
            f"--attack.budget is {config.budget}; expected at least one batch of {config.batch}"
        )
    if thief.accounts < 1:
        raise ValueError(f"--accounts is {thief.accounts}; expected at least 1")
    if not thief.pace >= 0:
        raise ValueError(f"--pace is {thief.pace:g}; expected at least 0")
    if thief.pool_size < 1:
        raise ValueError(f"--pool-size is {thief.pool_size}; expected at least 1")
    for need, value, meaning in (
        ("costs", thief.costs, "--costs FILE with the privacy cost of each image of the pool"),
        ("inside", thief.inside, "--inside NAME with images like those the victim was made for"),
    ):
        if (need in attack.NEEDS) != (value is not None):
            needs = f"needs {meaning}" if value is None else f"has no use for --{need}"
            raise ValueError(f"{attacks.name_of(attack)} {needs}")
    if thief.surrogates is None and thief.resume:
        raise ValueError("--resume needs --surrogates, the folder where the transcript is")


def read_costs(path: Path, thief: Thief, pool: Images) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Privacy cost (n,) of each image of a pool, from an artifact.

    It holds `costs` (n,) and says of which pool: `kind` (COSTS), `pool`, `seed`, `size`, and
    `images`, the fingerprint of {"pool": images}. Raises ArtifactError, and ValueError for costs of
    another pool.
    """
    arrays, meta = artifacts.load(path)
    if meta.get("kind") != COSTS or "costs" not in arrays:
        raise ValueError(f"{path} holds no costs of a pool (kind {meta.get('kind')!r})")
    expected = {
        "pool": thief.pool,
        "seed": thief.seed,
        "size": len(pool),
        "images": artifacts.fingerprint({"pool": pool}),
    }
    for key, value in expected.items():
        if meta.get(key) != value:
            raise ValueError(f"{path} is for {key} {meta.get(key)!r}; expected {value!r}")
    return arrays["costs"].astype(np.float64)


def _world(
    attack: ModuleType, thief: Thief, service: Service, student: Student, rng: np.random.Generator
) -> World:
    """What the attack needs. Raises DatasetError, ArtifactError and ValueError."""

    def load(name: str) -> tuple[Images, Any]:
        return datasets.load_labelled_pool(
            name,
            service.shape,
            count=thief.pool_size,
            seed=thief.seed,
            home=thief.home,
            data=thief.data,
        )

    if "pool" not in attack.NEEDS:
        return World(np.empty((0, *service.shape), np.uint8), student, rng)
    pool, classes = load(thief.pool)
    if "classes" in attack.NEEDS and classes is None:
        raise ValueError(f"the pool {thief.pool} has no labels; expected one that has")
    return World(
        pool,
        student,
        rng,
        classes=classes,
        costs=None if thief.costs is None else read_costs(thief.costs, thief, pool),
        inside=None if thief.inside is None else load(thief.inside)[0],
    )


def _depends(name: str, config: Any, thief: Thief, service: Service) -> dict[str, Any]:
    """What the queries of an attack depend on, as flat JSON."""
    return {
        "attack": name,
        **{f"attack.{key}": value for key, value in asdict(config).items()},
        **{key: getattr(thief, key) for key in ("pool", "pool_size", "inside", "network", "seed")},
        **({"accounts": thief.accounts, "deal": thief.deal} if thief.accounts > 1 else {}),
        "model": service.model,
        "victim": service.fingerprint,
        "shape": list(service.shape),
        "classes": service.classes,
    }
