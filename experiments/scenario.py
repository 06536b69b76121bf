"""Scenarios: who asks which victim for how much, read from TOML and validated whole.

A scenario runs once for each policy of its server; each such part of the run is an *arm*.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from core.documents import DocumentError, read_toml, shown
from core.validation import Mistakes
from experiments import groups
from experiments.checked import Table, nearest
from experiments.groups import DATASETS, NAME, NAME_MEANING, NETWORKS, SEED_LIMIT, Client
from experiments.settings import Setting as Setting  # named here by those who make scenarios
from server import measures
from server.defences import DEFENCES, configured
from server.options import DEFAULT_MEASURE

POLICIES = ("none", "paper", "rate")
PUZZLES = ("sha1", "sha256", "argon2id")
BUILT_IN = Path(__file__).parent / "scenarios"
LIMIT = 1800.0
LONGEST = 1e6  # seconds
TOLD = 50  # mistakes of a scenario that its error shows


class ScenarioError(ValueError):
    """A scenario that cannot be run. `mistakes` names all that is wrong with it."""

    def __init__(self, source: str, mistakes: Sequence[str]) -> None:
        self.mistakes = tuple(mistakes)
        self.lines = tuple(f"{source}: {mistake}" for mistake in mistakes)
        if len(mistakes) == 1:
            super().__init__(f"scenario {source}: {mistakes[0]}")
        else:
            more = [f"and {len(mistakes) - TOLD} more"] if len(mistakes) > TOLD else []
            lines = "".join(f"\n  {mistake}" for mistake in [*mistakes[:TOLD], *more])
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
class Scenario:
    """Everything a run depends on, beside the machine it runs on."""

    name: str
    seed: int
    victim: Victim
    server: Server
    clients: tuple[Client, ...]
    limit: float = LIMIT  # seconds an arm may take before its clients are stopped
    data: str = ""  # a folder to look in first for the archives that the scenario names
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
    raw = read(name)
    return parse(raw, source=name), raw


def read(name: str) -> dict[str, Any]:
    """The tables of a scenario by file or name, with those of the scenarios it extends."""
    return _read(find(name), name, ())


def question(name: str) -> str:
    """What a scenario by file or name asks: the first comment of its file; "" if there is none."""
    try:
        lines = find(name).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError):  # it was made without a file
        return ""
    comment = itertools.takewhile(lambda line: line.startswith("#"), lines)
    return " ".join(line.lstrip("# ").rstrip() for line in comment)


def _read(path: Path, name: str, through: tuple[Path, ...]) -> dict[str, Any]:
    try:
        raw = read_toml(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ScenarioError(name, [f"cannot be read: {reason}"]) from error
    except DocumentError as error:
        raise ScenarioError(name, [str(error)]) from error
    if "extends" not in raw:
        return raw
    other = raw.pop("extends")
    if not isinstance(other, str):
        raise ScenarioError(
            name, [f"extends is {shown(other)}, expected a file or the name of one"]
        )
    through = (*through, path.resolve())
    try:
        base = find(str(path.parent / other) if other.endswith(".toml") else other)
        if base.resolve() in through:
            raise ScenarioError(other, ["extends itself"])
        return extend(_read(base, other, through), raw)
    except ScenarioError as error:
        raise ScenarioError(name, [f"extends {text}" for text in error.lines]) from error


def extend(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with what `over` says: tables and groups of one name are merged, all else replaced."""
    merged = dict(base)
    for key, value in over.items():
        before = merged.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            merged[key] = extend(before, value)
        elif key == "clients" and isinstance(before, list) and isinstance(value, list):
            merged[key] = _groups(before, value)
        else:
            merged[key] = value
    return merged


def _groups(before: list[Any], after: list[Any]) -> list[Any]:
    merged = list(before)
    places = {name: at for at, group in enumerate(before) if (name := _name(group)) is not None}
    for group in after:
        at = places.get(_name(group))
        if at is None:
            merged.append(group)
        else:
            merged[at] = extend(merged[at], group)
    return merged


def _name(group: Any) -> Any:
    name = group.get("name") if isinstance(group, dict) else None
    return name if isinstance(name, str) else None


def parse(raw: Mapping[str, Any], *, source: str = "scenario") -> Scenario:
    """Validates a scenario as a whole. Raises ScenarioError with every mistake in it."""
    mistakes: list[str] = []
    top = Table(raw, "", mistakes)
    name = top.text("name", pattern=NAME, meaning=NAME_MEANING)
    seed = top.whole("seed", low=0, high=SEED_LIMIT)
    limit = top.number("limit", LIMIT, low=1, high=LONGEST)
    data = top.text("data", "")
    victim = _victim(top)
    server = _server(top)
    clients = groups.read(top, seed=seed, limit=limit, virtual=server.virtual)
    if top.has("sweep"):
        top.known("sweep")
        top.mistake("sweep", "makes several scenarios of one, expected a single one here")
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
        data=data,
        source=source,
    )


def check(scenario: Scenario) -> None:
    """Refuses a scenario made by hand as `parse` would refuse one from a file: ScenarioError."""

    def given(table: Mapping[str, Any], *but: str) -> dict[str, Any]:
        return {k: v for k, v in table.items() if k not in but and v not in (None, "", {})}

    raw = given(scenario.resolved(), "source")
    raw["server"] = given(raw["server"]) | {"policies": list(scenario.server.policies)}
    raw["clients"] = [
        given(client, "seed", "group", *(() if client.get("pool") else ("pool_size",)))
        for client in raw["clients"]
    ]
    parse(raw, source=scenario.source or scenario.name)


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
        dataset=table.text("dataset", choices=DATASETS, also=groups.npz),
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
        core=groups.core(table),
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
    where = table.path("defence_config")
    if not isinstance(raw, Mapping):
        table.mistakes.append(f"{where} is {shown(raw)}, expected a table")
        return {}
    defence = table.raw("defence") or Server().defence
    if defence in tuple(DEFENCES):
        if "budget" in raw:  # as it was called before
            table.mistakes.append(f"{where}.budget is called epsilon now")
        else:
            try:
                configured(defence, raw, where)
            except Mistakes as found:
                table.mistakes += found.mistakes
    return dict(raw)


def _measure(name: str) -> bool:
    try:
        measures.parse(name)
    except ValueError:
        return False
    return True
