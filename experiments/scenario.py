"""Scenarios: who asks which victim for how much, read from TOML and validated whole.

A scenario runs once for each policy of its server; each such part of the run is an *arm*. The
classes whose keys a file gives are read by `core.validation`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator

from core.documents import DocumentError, read_toml, shown
from core.suggest import suggest
from core.validation import Mistakes, between, distinct, noted, one_of, validate
from experiments import groups
from experiments.groups import DATASETS, Client, Core, Name, Network, Seed, npz
from server import measures
from server.defences import DEFENCES, configured
from server.options import DEFAULT_MEASURE
from server.pricing import POLICIES

PUZZLES = ("sha1", "sha256", "argon2id")
BUILT_IN = Path(__file__).parent / "scenarios"
MOST_SHOWN = 50  # mistakes of a scenario that its error shows


class ScenarioError(ValueError):
    """A scenario that cannot be run. `mistakes` names all that is wrong with it."""

    def __init__(self, source: str, mistakes: Sequence[str]) -> None:
        self.mistakes = tuple(mistakes)
        self.lines = tuple(f"{source}: {mistake}" for mistake in mistakes)
        if len(mistakes) == 1:
            super().__init__(f"scenario {source}: {mistakes[0]}")
        else:
            left = len(mistakes) - MOST_SHOWN
            told = [*mistakes[:MOST_SHOWN], *([f"and {left} more"] if left > 0 else [])]
            lines = "".join(f"\n  {mistake}" for mistake in told)
            super().__init__(f"scenario {source} has {len(mistakes)} mistakes:{lines}")


def _is_measure(name: str) -> bool:
    try:
        measures.parse(name)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """The model worth stealing."""

    dataset: Annotated[str, one_of(DATASETS, also=npz)]
    network: Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The gate in front of it."""

    measure: Annotated[str, one_of(measures.MEASURES, also=_is_measure)] = DEFAULT_MEASURE
    policies: Annotated[tuple[Annotated[str, one_of(POLICIES)], ...], AfterValidator(distinct)] = (
        "none",
        "rate",
    )  # one arm each
    puzzle: Annotated[str, one_of(PUZZLES)] = "sha1"
    t_max: Annotated[float, between(0.001, 86_400)] = 1.0  # seconds of work for 64 images, at most
    virtual: bool = False  # solving times are drawn, not spent
    defence: Annotated[str, one_of(DEFENCES)] = "none"  # what perturbs the answers, in every arm
    defence_config: Mapping[str, Any] = field(default_factory=dict)  # its settings
    core: Core = None  # the one core it may use, of those there are; -1 is the last


@dataclass(frozen=True, kw_only=True)
class _Scenario:
    name: Name
    seed: Seed
    victim: Victim
    server: Server = Server()
    limit: Annotated[float, between(1, 1e6)] = 1800.0  # seconds an arm may take
    data: str = ""  # a folder to look in first for the archives that the scenario names


@dataclass(frozen=True, kw_only=True)
class _Document(_Scenario):
    clients: list[Any]


@dataclass(frozen=True, kw_only=True)
class Scenario(_Scenario):
    """Everything a run depends on, beside the machine it runs on."""

    clients: tuple[Client, ...]
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
    hint = suggest(name, built_in) or f", known: {', '.join(built_in)}"
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
        raise ScenarioError(name, [f"cannot be read: {error.strerror or error}"]) from error
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
    places = {_name(group): at for at, group in enumerate(before)}
    for group in after:
        at = places.get(_name(group)) if _name(group) else None
        if at is None:
            merged.append(group)
        else:
            merged[at] = extend(merged[at], group)
    return merged


def _name(group: Any) -> str:
    name = group.get("name") if isinstance(group, dict) else None
    return name if isinstance(name, str) else ""


def parse(raw: Mapping[str, Any], *, source: str = "scenario") -> Scenario:
    """Validates a scenario as a whole. Raises ScenarioError with every mistake in it."""
    mistakes: list[str] = []
    found: _Document | None = None
    with noted(mistakes):
        found = validate(_Document, raw)
    server = raw["server"] if isinstance(raw.get("server"), Mapping) else {}
    with noted(mistakes):
        _check_defence(server)
    clients = groups.read(
        raw["clients"] if isinstance(raw.get("clients"), list) else [],
        seed=0 if found is None else found.seed,
        limit=float("inf") if found is None else found.limit,
        virtual=server.get("virtual") is True,
        mistakes=mistakes,
    )
    if found is None or mistakes:
        raise ScenarioError(source, mistakes)
    shared = {each.name: getattr(found, each.name) for each in fields(_Scenario)}
    return Scenario(clients=clients, source=source, **shared)


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


def _check_defence(server: Mapping[str, Any]) -> None:
    defence, settings = server.get("defence", "none"), server.get("defence_config", {})
    where = "server.defence_config"
    if isinstance(settings, Mapping) and defence in tuple(DEFENCES):
        wrong = [f"{where}.budget is called epsilon now"] if "budget" in settings else []
        try:
            configured(defence, {k: v for k, v in settings.items() if k != "budget"}, where)
        except Mistakes as more:
            wrong += more.mistakes
        if wrong:
            raise Mistakes(wrong)
