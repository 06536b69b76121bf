"""Scenarios: who asks which victim for how much, read from TOML and validated whole.

A scenario runs once for each policy of its server; each such part of the run is an *arm*.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from experiments.checked import Table, nearest
from experiments.settings import complaint, fields, names, needs
from server import measures
from server.defences import DEFENCES
from server.defences.options import Perturb, flags
from server.options import DEFAULT_MEASURE

POLICIES = ("none", "paper", "rate")
PUZZLES = ("sha1", "sha256", "argon2id")
SOLVERS = ("native", "python", "virtual")
NETWORKS = ("lenet", "lenet-thin", "resnet10-thin")
DATASETS = ("mnist5k", "digits", "fashion-mnist")
POOLS = (*DATASETS, "photos")
BUILT_IN = Path(__file__).parent / "scenarios"
LIMIT = 1800.0
NAME = r"[a-z0-9][a-z0-9_-]{0,39}"

Setting = bool | int | float | str


class ScenarioError(ValueError):
    """A scenario that cannot be run. `mistakes` names all that is wrong with it."""

    def __init__(self, source: str, mistakes: Sequence[str]) -> None:
        self.mistakes = tuple(mistakes)
        if len(mistakes) == 1:
            super().__init__(f"scenario {source}: {mistakes[0]}")
        else:
            lines = "".join(f"\n  {mistake}" for mistake in mistakes)
            super().__init__(f"scenario {source} has {len(mistakes)} mistakes:{lines}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """The model worth stealing."""

    dataset: str
    network: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The gate in front of it."""

    measure: str = DEFAULT_MEASURE
    policies: tuple[str, ...] = ("none", "rate")  # one arm each
    puzzle: str = "sha1"
    t_max: float = 1.0  # seconds of work for 64 images, at most
    virtual: bool = False  # solving times are drawn, not spent
    defence: str = "none"  # what perturbs the answers, in every arm
    defence_config: Mapping[str, Setting] = field(default_factory=dict)  # its flags
    core: int | None = None  # the one core it may use, of those there are; -1 is the last


@dataclass(frozen=True, slots=True, kw_only=True)
class Honest:
    """A user who asks about images like those the victim was made for."""

    name: str
    images: int
    batch: int = 16
    pace: float = 0.0  # seconds between two requests
    solver: str = "native"
    threads: int = 1
    nice: int = 19  # 0 to 19; the server runs at 0
    core: int | None = None  # the one core it may use, of those there are; -1 is the last
    kind: str = "honest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thief:
    """A process that runs one attack."""

    name: str
    attack: str
    network: str
    pool: str = ""  # "": the attack makes its queries up
    pool_size: int = 0
    inside: str = ""  # a second pool, of images like those the victim was made for
    solver: str = "native"
    threads: int = 1
    nice: int = 19
    core: int | None = None
    config: Mapping[str, Setting] = field(default_factory=dict)  # overrides of the attack's Config
    kind: str = "attack"


Client = Honest | Thief


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Everything a run depends on, beside the machine it runs on."""

    name: str
    seed: int
    victim: Victim
    server: Server
    clients: tuple[Client, ...]
    limit: float = LIMIT  # seconds an arm may take before its clients are stopped
    source: str = ""  # the name or file it was read from

    def resolved(self) -> dict[str, Any]:
        """The scenario with its defaults filled in, ready for JSON."""
        return asdict(self)


def find(name: str) -> Path:
    """The file of a scenario given by path, or by name if it is one of those that come along."""
    path = Path(name)
    if path.suffix == ".toml" or path.is_file():
        return path
    built_in = sorted(entry.stem for entry in BUILT_IN.glob("*.toml"))
    if name in built_in:
        return BUILT_IN / f"{name}.toml"
    hint = nearest(name, built_in) or f", known: {', '.join(built_in)}"
    raise ScenarioError(repr(name), [f"is neither a file nor a scenario that comes along{hint}"])


def load(name: str) -> tuple[Scenario, dict[str, Any]]:
    """Reads a scenario by file or name; also returns it as given, for the record."""
    path = find(name)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or str(error)
        raise ScenarioError(name, [f"cannot be read: {reason}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ScenarioError(name, [f"is not valid TOML: {error}"]) from error
    return parse(raw, source=name), raw


def parse(raw: Mapping[str, Any], *, source: str = "scenario") -> Scenario:
    """Validates a scenario as a whole. Raises ScenarioError with every mistake in it."""
    mistakes: list[str] = []
    top = Table(raw, "", mistakes)
    name = top.text("name", pattern=NAME, meaning="lower-case letters, digits, - and _")
    seed = top.whole("seed", low=0, high=2**31 - 1)
    limit = top.number("limit", LIMIT, low=1, high=1e6)
    victim = _victim(top)
    server = _server(top)
    clients = _clients(top, server)
    top.close()
    if mistakes:
        raise ScenarioError(source, mistakes)
    return Scenario(
        name=name,
        seed=seed,
        victim=victim,
        server=server,
        clients=clients,
        limit=limit,
        source=source,
    )


def _npz(value: str) -> bool:
    return value.startswith("npz:") and len(value) > len("npz:")


def _part(top: Table, key: str, *, needed: bool) -> Table:
    if not top.has(key) and needed:
        top.known(key)
        top.mistake("", f"has no [{key}]")
        return Table({}, key, [])  # its keys need not be missed one by one
    raw = top.raw(key)
    return Table({} if raw is None else raw, key, top.mistakes)


def _victim(top: Table) -> Victim:
    table = _part(top, "victim", needed=True)
    victim = Victim(
        dataset=table.text("dataset", choices=DATASETS, also=_npz),
        network=table.text("network", choices=NETWORKS),
    )
    table.close()
    return victim


def _server(top: Table) -> Server:
    table = _part(top, "server", needed=False)
    default = Server()
    server = Server(
        measure=table.text(
            "measure", default.measure, choices=tuple(measures.MEASURES), also=_measure
        ),
        policies=table.names("policies", default.policies, choices=POLICIES),
        puzzle=table.text("puzzle", default.puzzle, choices=PUZZLES),
        t_max=table.number("t_max", default.t_max, low=0.001, high=86_400),
        virtual=table.flag("virtual", default.virtual),
        core=_core(table),
        defence=table.text("defence", default.defence, choices=tuple(DEFENCES)),
        defence_config=_defence_config(table),
    )
    table.close()
    return server


def _defence_config(table: Table) -> dict[str, Setting]:
    """The settings of the defence: those that `python -m server serve` has flags for."""
    raw = table.raw("defence_config")
    if raw is None:
        return {}
    settings = Table(raw, table.path("defence_config"), table.mistakes)
    accepted = flags()
    read: dict[str, Setting] = {}
    for name, types in accepted.items():
        value = settings.raw(name)
        if not settings.has(name):
            continue
        if type(value) not in types:
            expected = " or ".join(sorted(each.__name__ for each in types))
            settings.mistake(name, f"is {value!r}, expected {expected}")
            continue
        read[name] = value
    settings.close()
    defence = table.raw("defence") or Server().defence
    if defence in tuple(DEFENCES):
        try:
            Perturb(defence=defence, **read).config()  # type: ignore[arg-type]
        except ValueError as error:
            table.mistake("defence_config", f"does not fit: {error}")
    return read


def _measure(name: str) -> bool:
    try:
        measures.parse(name)
    except ValueError:
        return False
    return True


def _core(table: Table) -> int | None:
    table.known("core")
    return table.whole("core", low=-256, high=255) if table.has("core") else None


def _clients(top: Table, server: Server) -> tuple[Client, ...]:
    raw = top.raw("clients")
    if not isinstance(raw, list) or not raw:
        given = "has no [[clients]]" if raw is None else f"clients is {raw!r}"
        top.mistake("", f"{given}, expected at least one [[clients]]")
        return ()
    clients: list[Client] = []
    first: dict[str, int] = {}
    for index, entry in enumerate(raw):
        table = Table(entry, f"clients[{index}]", top.mistakes)
        client = _client(table, server)
        if client is None:
            continue
        clients.append(client)
        if client.name and first.setdefault(client.name, index) != index:
            table.mistake("name", f"is {client.name!r}, as in clients[{first[client.name]}]")
    return tuple(clients)


def _client(table: Table, server: Server) -> Client | None:
    if not table.sound:
        return None
    if not table.has("kind") and not table.has("name"):
        table.mistake("", "has neither name nor kind")
        return None
    kind = table.text("kind", choices=("honest", "attack"))
    if not kind:
        return None
    name = table.text("name", pattern=NAME, meaning="lower-case letters, digits, - and _")
    solver = table.text("solver", "virtual" if server.virtual else "native", choices=SOLVERS)
    if (solver == "virtual") != server.virtual:
        other = "true" if solver == "virtual" else "false"
        table.mistake("solver", f"is {solver!r}, which needs server.virtual = {other}")
    threads = table.whole("threads", 1, low=1, high=256)
    nice = table.whole("nice", 19, low=0, high=19)
    core = _core(table)
    client: Client
    if kind == "honest":
        client = Honest(
            name=name,
            solver=solver,
            threads=threads,
            nice=nice,
            core=core,
            images=table.whole("images", low=1, high=10_000_000),
            batch=table.whole("batch", 16, low=1, high=256),
            pace=table.number("pace", 0.0, low=0, high=3600),
        )
    else:
        attack = table.text("attack", choices=names())
        has = {"pool": True, "inside": table.has("inside")}  # of an attack nobody knows
        if attack:
            has = {need: need in needs(attack) for need in has}
            for key in ("pool", "pool_size", "inside"):
                if table.has(key) and not has[key.removesuffix("_size")]:
                    table.mistake(key, f"is of no use to the attack {attack}")
                table.known(key)
        client = Thief(
            name=name,
            solver=solver,
            threads=threads,
            nice=nice,
            core=core,
            attack=attack,
            pool=table.text("pool", choices=POOLS, also=_npz) if has["pool"] else "",
            pool_size=table.whole("pool_size", low=1, high=10_000_000) if has["pool"] else 0,
            inside=table.text("inside", choices=POOLS, also=_npz) if has["inside"] else "",
            network=table.text("network", choices=NETWORKS),
            config=_config(table, attack),
        )
    table.close()
    return client


def _config(table: Table, attack: str) -> dict[str, Setting]:
    raw = table.raw("config")
    if raw is None:
        return {}
    settings = Table(raw, table.path("config"), table.mistakes)
    known = fields(attack) if attack else {}
    read: dict[str, Setting] = {}
    for name, wanted in known.items():
        value = settings.raw(name)
        if settings.has(name):
            read[name] = value
            if wrong := complaint(wanted, value):
                settings.mistake(name, wrong)
    if attack:
        settings.close()
    return read
