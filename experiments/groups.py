"""Groups of clients: `[[clients]]` of a scenario, read, checked and made into processes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator

import attacks
from core.documents import shown
from core.validation import (
    Mistakes,
    between,
    choice,
    distinct,
    matching,
    noted,
    one_of,
    validate,
)

SOLVERS = ("native", "python", "virtual")
NETWORKS = ("lenet", "lenet-thin", "resnet10-thin")
DATASETS = ("mnist5k", "digits", "fashion-mnist")
POOLS = (*DATASETS, "photos")
DEALS = ("parallel", "series")
DRIFTS = ("none", "tilted", "dimmed", "blurred")
SEED_STRIDE = 1000  # between the seeds of two processes of a group; above the number of groups
MOST_PROCESSES = 10_000  # of a scenario
MOST_ACCOUNTS = 100_000  # of all processes of a scenario


def npz(value: str) -> bool:
    """Whether this names an archive of images."""
    return value.startswith("npz:") and len(value) > len("npz:")


Setting = bool | int | float | str
Name = Annotated[
    str, matching(r"[a-z0-9][a-z0-9_-]{0,39}", "lower-case letters, digits, - and _, at most 40")
]
Seed = Annotated[int, between(0, 2**31 - 1)]
Core = Annotated[int, between(-256, 255)] | None
Images = Annotated[int, between(1, 10_000_000)]
Pool = Annotated[str, one_of(POOLS, also=npz)]
Network = Annotated[str, one_of(NETWORKS)]
Solver = Annotated[str, one_of(SOLVERS)]


@dataclass(frozen=True, kw_only=True)
class _Process:
    """What a group of clients and each of its processes have in common."""

    name: Name
    threads: Annotated[int, between(0, 256)] = 1  # of its solver; 0: one for each core it may use
    nice: Annotated[int, between(0, 19)] = 19  # the server runs at 0
    core: Core = None  # the one core it may use, of those there are; -1 is the last
    start: Annotated[float, between(0, 1e6)] = 0.0  # seconds after the arm began
    pace: Annotated[float, between(0, 3600)] = 0.0  # seconds between two requests
    background: bool = False  # stopped when all others are done


@dataclass(frozen=True, kw_only=True)
class _Honest(_Process):
    images: Images
    batch: Annotated[int, between(1, 256)] = 16
    drift: Annotated[str, one_of(DRIFTS)] = "none"  # of the images; see core.learning.drift
    drift_strength: Annotated[float, between(0, 100)] = 1.0  # 1 is what a calibration allows for
    kind: str = "honest"


@dataclass(frozen=True, kw_only=True)
class _Attacker(_Process):
    attack: Annotated[str, one_of(attacks.REGISTRY)]
    network: Network  # of the surrogate
    pool: Pool = ""  # "": the attack makes its queries up
    pool_size: Images = 0
    inside: Pool = ""  # a second pool, of images like those the victim was made for
    accounts: Annotated[int, between(1, 10_000)] = 1  # among which its batches are dealt
    deal: Annotated[str, one_of(DEALS)] = "parallel"  # batch by batch, or one after the other
    config: Mapping[str, Any] = field(default_factory=dict)  # overrides of the attack's Config
    label: str = ""  # what tables call it; "" is the name of the attack
    kind: str = "attack"


@dataclass(frozen=True, kw_only=True)
class _Group:
    """How many processes a group has, and when they start."""

    solver: Solver | None = None  # as the server says
    processes: Annotated[int, between(0, 1_000)] | None = None
    seeds: Annotated[tuple[Seed, ...], AfterValidator(distinct)] | None = None  # one for each
    arrival_rate: Annotated[float, between(1e-6, 1e6)] | None = None  # a second; None: all at once

    def __post_init__(self) -> None:
        if self.seeds and len(self.seeds) != self.count:
            raise ValueError(
                f"lists {len(self.seeds)} seeds, expected one for each of {self.count} processes"
            )

    @property
    def count(self) -> int:
        """How many processes there are."""
        return len(self.seeds or (None,)) if self.processes is None else self.processes


@dataclass(frozen=True, kw_only=True)
class _Member:
    """What one process has of its own."""

    solver: str = "native"
    group: str = ""  # of which it is one process of several
    seed: int | None = None  # None: the scenario's, plus one, plus the client's place


@dataclass(frozen=True, kw_only=True)
class _HonestGroup(_Honest, _Group): ...


@dataclass(frozen=True, kw_only=True)
class _AttackerGroup(_Attacker, _Group): ...


GROUPS: Mapping[str, type[_HonestGroup | _AttackerGroup]] = {
    "honest": _HonestGroup,
    "attack": _AttackerGroup,
}


@dataclass(frozen=True, kw_only=True)
class Honest(_Honest, _Member):
    """A user who asks about images like those the victim was made for."""


@dataclass(frozen=True, kw_only=True)
class Attacker(_Attacker, _Member):
    """A process that runs one attack."""


Client = Honest | Attacker


def ledger_names(client: Client) -> tuple[str, ...]:
    """The names under which the ledger knows a client: its own, or NAME-1 to NAME-k."""
    if isinstance(client, Honest) or client.accounts == 1:
        return (client.name,)
    return tuple(f"{client.name}-{number}" for number in range(1, client.accounts + 1))


def read(
    raw: Sequence[object], *, seed: int, limit: float, virtual: bool, mistakes: list[str]
) -> tuple[Client, ...]:
    """The processes of all groups, whose tables are `raw`; what is wrong with them is noted."""
    clients: list[Client] = []
    owners: dict[str, str] = {}  # the group of every name that the ledger or the folder knows
    processes = accounts = 0
    for number, table in enumerate(raw):
        where = f"clients[{number}]"
        with noted(mistakes):
            group = _group(table, where, virtual)
            processes += group.count
            accounts += group.count * (group.accounts if isinstance(group, _AttackerGroup) else 1)
            if processes > MOST_PROCESSES or accounts > MOST_ACCOUNTS:
                mistakes.append(
                    f"{where} brings the scenario to {processes} processes with {accounts}"
                    f" accounts; expected at most {MOST_PROCESSES} with {MOST_ACCOUNTS}"
                )
                break
            starts = _starts(group, where, np.random.default_rng([seed, number]), limit)
            members = list(_members(group, virtual, starts, seed + 1 + number))
            taken = {name for each in members for name in (each.name, *ledger_names(each))}
            for name in sorted(taken & owners.keys())[:1]:
                whose = f"but {name!r} is a process or an account of {owners[name]}, too"
                whose = f"as in {owners[name]}" if name == group.name else whose
                mistakes.append(f"{where}.name is {group.name!r}, {whose}")
            owners |= dict.fromkeys(taken - owners.keys(), where)
            clients += members
    if not mistakes and not clients:
        mistakes.append("clients are nobody, expected at least one [[clients]] with a process")
    elif not mistakes and all(client.background for client in clients):
        mistakes.append("clients are all in the background, expected one whose end is awaited")
    return tuple(
        replace(client, seed=None) if client.seed == seed + 1 + place else client
        for place, client in enumerate(clients)
    )


def _group(raw: object, where: str, virtual: bool) -> _HonestGroup | _AttackerGroup:
    """One of the [[clients]]. Raises Mistakes."""
    if not isinstance(raw, Mapping):
        raise Mistakes([f"{where} is {shown(raw)}, expected a table"])
    if raw.get("kind") not in tuple(GROUPS):
        text = choice(raw["kind"], GROUPS) if "kind" in raw else "is missing"
        raise Mistakes([f"{where}.kind {text}"])
    mistakes: list[str] = []
    with noted(mistakes):
        group = validate(GROUPS[raw["kind"]], raw, where)
    if raw["kind"] == "attack" and raw.get("attack") in tuple(attacks.REGISTRY):
        attack = attacks.load(raw["attack"])
        mistakes += _unfit(raw, where, attack.NEEDS)
        if isinstance(config := raw.get("config"), Mapping):
            with noted(mistakes):
                validate(attack.Config, config, f"{where}.config")
    solver = raw.get("solver")
    if solver in SOLVERS and (solver == "virtual") != virtual:
        other = "true" if solver == "virtual" else "false"
        mistakes.append(f"{where}.solver is {solver!r}, which needs server.virtual = {other}")
    if mistakes:
        raise Mistakes(mistakes)
    return group


def _unfit(raw: Mapping[str, Any], where: str, needs: Collection[str]) -> Iterator[str]:
    """What the attack of a group cannot do without, or has no use for."""
    for key, need in (("pool", "pool"), ("pool_size", "pool"), ("inside", "inside")):
        if need in needs and key not in raw:
            yield f"{where}.{key} is missing"
        if need not in needs and key in raw:
            yield f"{where}.{key} is of no use to the attack {raw['attack']}"


def _starts(
    group: _HonestGroup | _AttackerGroup, where: str, rng: np.random.Generator, limit: float
) -> list[float]:
    """When each process starts: all at once, or with exponential times between. Raises Mistakes."""
    first, rate, count = group.start, group.arrival_rate, group.count
    if first >= limit:
        raise Mistakes([f"{where}.start is {first:g}, expected less than the limit of {limit:g} s"])
    if rate is None:
        return [first] * count
    starts = first + np.cumsum(rng.exponential(1 / rate, count))
    if count and limit <= starts[-1]:
        raise Mistakes(
            [
                f"{where}.arrival_rate is {rate:g} a second, with which the last of {count} comes"
                f" at {starts[-1]:.0f} s; expected before the limit of {limit:g} s"
            ]
        )
    return [round(float(start), 3) for start in starts]


def _members(
    group: _HonestGroup | _AttackerGroup, virtual: bool, starts: Sequence[float], seed: int
) -> Iterator[Client]:
    """The processes of a group: NAME-1 to NAME-n, or NAME if it gives neither number nor seeds."""
    kind: Any = Honest if isinstance(group, _HonestGroup) else Attacker
    own = {each.name: getattr(group, each.name) for each in fields(kind.__bases__[0])}
    own["solver"] = group.solver or ("virtual" if virtual else "native")
    many = group.processes is not None or group.seeds is not None
    for number, start in enumerate(starts):
        own["start"] = start
        own["seed"] = group.seeds[number] if group.seeds else seed + SEED_STRIDE * number
        if many:
            own |= {"name": f"{group.name}-{number + 1}", "group": group.name}
        yield kind(**own)
