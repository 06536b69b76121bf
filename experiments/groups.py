"""Groups of clients: `[[clients]]` of a scenario, read, checked and made into processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from core.documents import shown
from experiments.checked import Table
from experiments.settings import Setting, complaint, fields, names, needs

SOLVERS = ("native", "python", "virtual")
NETWORKS = ("lenet", "lenet-thin", "resnet10-thin")
DATASETS = ("mnist5k", "digits", "fashion-mnist")
POOLS = (*DATASETS, "photos")
DEALS = ("parallel", "series")
DRIFTS = ("none", "tilted", "dimmed", "blurred")
NAME = r"[a-z0-9][a-z0-9_-]{0,39}"
NAME_MEANING = "lower-case letters, digits, - and _"
SEED_LIMIT = 2**31 - 1
PROCESSES = 10_000
"""Processes of a scenario, at most."""
ACCOUNTS = 100_000
"""Accounts of all processes of a scenario, at most."""
FELLOW = 1000  # between the seeds of two processes of a group; more than a scenario has groups


@dataclass(frozen=True, slots=True, kw_only=True)
class Honest:
    """A user who asks about images like those the victim was made for."""

    name: str
    group: str = ""  # of which it is one process of several
    images: int
    batch: int = 16
    drift: str = "none"  # what happened to the images; see core.learning.drift
    drift_strength: float = 1.0  # 1 is what a calibration allows for
    pace: float = 0.0  # seconds between two requests
    solver: str = "native"
    threads: int = 1  # 0: one for each core it may use
    nice: int = 19  # 0 to 19; the server runs at 0
    core: int | None = None  # the one core it may use, of those there are; -1 is the last
    start: float = 0.0  # seconds after the arm began
    background: bool = False  # stopped when all others are done
    seed: int | None = None  # None: the scenario's, plus one, plus the client's place
    kind: str = "honest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thief:
    """A process that runs one attack."""

    name: str
    group: str = ""
    attack: str
    network: str
    pool: str = ""  # "": the attack makes its queries up
    pool_size: int = 0
    inside: str = ""  # a second pool, of images like those the victim was made for
    accounts: int = 1  # among which he deals his batches
    deal: str = "parallel"  # batch by batch, or "series": one account after the other
    pace: float = 0.0
    solver: str = "native"
    threads: int = 1  # 0: one for each core it may use
    nice: int = 19
    core: int | None = None
    start: float = 0.0
    background: bool = False
    seed: int | None = None
    config: Mapping[str, Setting] = field(default_factory=dict)  # overrides of the attack's Config
    label: str = ""  # what tables call it; "" is the name of the attack
    kind: str = "attack"


Client = Honest | Thief


def accounts(client: Client) -> tuple[str, ...]:
    """The names under which the ledger knows a client: its own, or NAME-1 to NAME-k."""
    if isinstance(client, Honest) or client.accounts == 1:
        return (client.name,)
    return tuple(f"{client.name}-{number}" for number in range(1, client.accounts + 1))


def read(top: Table, *, seed: int, limit: float, virtual: bool) -> tuple[Client, ...]:
    """The processes of all groups; what is wrong is noted in the table."""
    raw = top.raw("clients")
    if not isinstance(raw, list) or not raw:
        given = "has no [[clients]]" if raw is None else f"clients is {shown(raw)}"
        top.mistake("", f"{given}, expected at least one [[clients]]")
        return ()
    clients: list[Client] = []
    owners: dict[str, int] = {}  # of every name the ledger or the run folder knows
    processes = names = 0
    for group, entry in enumerate(raw):
        table = Table(entry, f"clients[{group}]", top.mistakes)
        client = _client(table, virtual)
        if client is None:
            continue
        alike = _alike(table, client, group, seed=seed, limit=limit)
        table.close()
        processes += len(alike)
        names += sum(1 if isinstance(each, Honest) else each.accounts for each in alike)
        if processes > PROCESSES or names > ACCOUNTS:
            table.mistake(
                "",
                f"brings the scenario to {processes} processes with {names} accounts; expected at "
                f"most {PROCESSES} with {ACCOUNTS}",
            )
            return tuple(clients)
        taken = {name for each in alike for name in (each.name, *accounts(each))}
        for name in sorted(taken & owners.keys() - {""}):
            table.mistake("name", f"is {client.name!r}, {_clash(name, client.name, owners[name])}")
            break
        owners |= dict.fromkeys(taken - owners.keys(), group)
        clients += alike
    if not top.mistakes and not clients:
        top.mistake("clients", "are nobody: every group has 0 processes")
    elif not top.mistakes and all(client.background for client in clients):
        top.mistake("clients", "are all in the background, expected one whose end is awaited")
    return tuple(
        replace(client, seed=None) if client.seed == seed + 1 + place else client
        for place, client in enumerate(clients)
    )


def _clash(name: str, own: str, group: int) -> str:
    if name == own:
        return f"as in clients[{group}]"
    return f"but {name!r} is a process or an account of clients[{group}], too"


def npz(value: str) -> bool:
    """Whether this names a file of images."""
    return value.startswith("npz:") and len(value) > len("npz:")


def core(table: Table) -> int | None:
    """The one core a process may use."""
    table.known("core")
    return table.whole("core", low=-256, high=255) if table.has("core") else None


def _client(table: Table, virtual: bool) -> Client | None:
    """One process of a group, as it would be alone."""
    if not table.sound:
        return None
    if not table.has("kind") and not table.has("name"):
        table.mistake("", "has neither name nor kind")
        return None
    kind = table.text("kind", choices=("honest", "attack"))
    if not kind:
        return None
    name = table.text("name", pattern=NAME, meaning=NAME_MEANING)
    solver = table.text("solver", "virtual" if virtual else "native", choices=SOLVERS)
    if (solver == "virtual") != virtual:
        other = "true" if solver == "virtual" else "false"
        table.mistake("solver", f"is {solver!r}, which needs server.virtual = {other}")
    threads = table.whole("threads", 1, low=0, high=256)
    nice = table.whole("nice", 19, low=0, high=19)
    place = core(table)
    pace = table.number("pace", 0.0, low=0, high=3600)
    background = table.flag("background", False)
    if kind == "honest":
        return Honest(
            name=name,
            solver=solver,
            threads=threads,
            nice=nice,
            core=place,
            pace=pace,
            background=background,
            drift=table.text("drift", "none", choices=DRIFTS),
            drift_strength=table.number("drift_strength", 1.0, low=0, high=100),
            images=table.whole("images", low=1, high=10_000_000),
            batch=table.whole("batch", 16, low=1, high=256),
        )
    attack = table.text("attack", choices=names())
    has = {"pool": True, "inside": table.has("inside")}  # of an attack nobody knows
    if attack:
        has = {need: need in needs(attack) for need in has}
        for key in ("pool", "pool_size", "inside"):
            if table.has(key) and not has[key.removesuffix("_size")]:
                table.mistake(key, f"is of no use to the attack {attack}")
            table.known(key)
    return Thief(
        name=name,
        solver=solver,
        threads=threads,
        nice=nice,
        core=place,
        pace=pace,
        background=background,
        attack=attack,
        pool=table.text("pool", choices=POOLS, also=npz) if has["pool"] else "",
        pool_size=table.whole("pool_size", low=1, high=10_000_000) if has["pool"] else 0,
        inside=table.text("inside", choices=POOLS, also=npz) if has["inside"] else "",
        accounts=table.whole("accounts", 1, low=1, high=10_000),
        deal=table.text("deal", "parallel", choices=DEALS),
        network=table.text("network", choices=NETWORKS),
        config=_config(table, attack),
        label=table.text("label", ""),
    )


def _config(table: Table, attack: str) -> dict[str, Setting]:
    raw = table.raw("config")
    if raw is None:
        return {}
    settings = Table(raw, table.path("config"), table.mistakes)
    known = fields(attack) if attack else {}
    found: dict[str, Setting] = {}
    for name, wanted in known.items():
        value = settings.raw(name)
        if settings.has(name):
            found[name] = value
            if wrong := complaint(wanted, value):
                settings.mistake(name, wrong)
    if attack:
        settings.close()
    return found


def _alike(
    table: Table, client: Client, group: int, *, seed: int, limit: float
) -> tuple[Client, ...]:
    """The processes of a group: NAME-1 to NAME-n, or NAME if it gives neither number nor seeds.

    None at all for 0 processes.
    """
    seeds = table.wholes("seeds", low=0, high=SEED_LIMIT)
    many = table.has("processes") or bool(seeds)
    count = table.whole("processes", len(seeds) or 1, low=0, high=1_000)
    if seeds and len(seeds) != count:
        table.mistake("seeds", f"lists {len(seeds)}, expected one for each of {count} processes")
        return (client,)
    starts = _starts(table, count, np.random.default_rng([seed, group]), limit)
    return tuple(
        replace(
            client,
            name=f"{client.name}-{number + 1}" if many and client.name else client.name,
            group=client.name if many else "",
            start=starts[number],
            seed=seeds[number] if seeds else seed + 1 + group + FELLOW * number,
        )
        for number in range(count)
    )


def _starts(table: Table, count: int, rng: np.random.Generator, limit: float) -> list[float]:
    """When each process starts: all at once, or with exponential times between them."""
    first = table.number("start", 0.0, low=0, high=1e6)
    if first >= limit:
        table.mistake("start", f"is {first:g}, expected less than the limit of {limit:g} s")
    if not table.has("arrival_rate"):
        table.known("arrival_rate")
        return [first] * count
    before = len(table.mistakes)
    rate = table.number("arrival_rate", low=1e-6, high=1e6)
    if len(table.mistakes) > before:
        return [first] * count
    starts = first + np.cumsum(rng.exponential(1 / rate, count))
    if count and first < limit <= starts[-1]:
        table.mistake(
            "arrival_rate",
            f"is {rate:g} a second, with which the last of {count} comes at {starts[-1]:.0f} s;"
            f" expected before the limit of {limit:g} s",
        )
    return [round(float(start), 3) for start in starts]
