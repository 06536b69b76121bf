"""The command lines of a run: what each process is told."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import attacks
from experiments.groups import Attacker, Client, Honest, Setting
from experiments.scenario import Scenario

PYTHON = sys.executable


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """How and when a client starts; niceness so that solvers starve no server."""

    command: Callable[[str], Sequence[str]]  # of the server's address
    niceness: int = 19
    core: int | None = None  # None is any
    after: float = 0.0  # seconds after the arm began
    background: bool = False  # stopped when all others are done


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """What an arm starts: the server, and each client once the server's address is known."""

    server: Sequence[str]
    clients: Mapping[str, Start]
    server_core: int | None = None


def model_name(scenario: Scenario) -> str:
    """The name of a scenario's victim under the home folder: scenarios may share one."""
    dataset = scenario.victim.dataset
    if not re.fullmatch(r"[a-z0-9-]+", dataset):  # a path
        dataset = "npz-" + hashlib.sha256(dataset.encode()).hexdigest()[:12]
    return f"{dataset}-{scenario.victim.network}-s{scenario.seed}"


def data(scenario: Scenario) -> Path | None:
    """The folder of image archives, from whichever folder a command runs."""
    return Path(scenario.data).absolute() if scenario.data else None


def priced(scenario: Scenario) -> bool:
    """Whether any policy asks for work, which takes a calibration."""
    return scenario.server.policies != ("none",)


def prepare(scenario: Scenario, home: Path) -> list[str]:
    """Trains the victim and what its measure needs, unless they are there."""
    return [
        *(PYTHON, "-m", "server", "prepare", *_model(scenario, home), *_data(scenario)),
        *("--dataset", scenario.victim.dataset, "--network", scenario.victim.network),
        *("--seed", str(scenario.seed), "--defence", scenario.server.defence),
    ]


def calibrate(scenario: Scenario, home: Path, out: Path) -> list[str]:
    """Fits the price to honest traffic and to this machine."""
    return [
        *(PYTHON, "-m", "server", "calibrate", *_model(scenario, home), *_data(scenario)),
        *("--t-max", str(scenario.server.t_max), "--copy", str(calibration(out))),
    ]


def victim(scenario: Scenario, home: Path) -> Path:
    """The victim's weights, once it is prepared."""
    return home / "models" / model_name(scenario) / "victim.safetensors"


def calibration(out: Path) -> Path:
    """What all arms of a run are priced by: its own copy."""
    return out / "calibration.json"


def knows_costs(client: Client) -> bool:
    """Whether this is an attacker that is told what each image of its pool costs."""
    return isinstance(client, Attacker) and "costs" in attacks.load(client.attack).NEEDS


def arm(scenario: Scenario, policy: str, folder: Path, home: Path) -> Commands:
    """The server and the clients of one arm."""
    return Commands(
        server=_server(scenario, policy, folder, home),
        clients={
            each.name: Start(
                command=partial(_client, scenario, each, folder, home),
                niceness=each.nice,
                core=each.core,
                after=each.start,
                background=each.background,
            )
            for each in scenario.clients
        },
        server_core=scenario.server.core,
    )


def _server(scenario: Scenario, policy: str, folder: Path, home: Path) -> list[str]:
    return [
        *(PYTHON, "-m", "server", "serve", *_model(scenario, home)),
        *("--policy", policy, "--puzzle", scenario.server.puzzle, "--port", "0", "--open"),
        *("--ledger", str(folder / "ledger.db"), "--record", str(folder / "server.jsonl")),
        *("--calibration", str(calibration(folder.parent))),
        *(["--virtual"] if scenario.server.virtual else []),
        *("--defence", scenario.server.defence),
        *_flags("defence", scenario.server.defence_config),
    ]


def costs(scenario: Scenario, client: Attacker, out: Path, home: Path) -> list[str]:
    """Writes what the images of an attacker's pool cost, for an attack that knows."""
    return [
        *(PYTHON, "-m", "experiments", "costs", *_model(scenario, home), *_data(scenario)),
        *("--pool", client.pool, "--size", str(client.pool_size)),
        *("--seed", str(seed(scenario, client)), "--out", str(costs_file(client, out))),
    ]


def evaluate(scenario: Scenario, policy: str, out: Path, home: Path) -> list[str]:
    """Scores the surrogates of an arm while it goes on."""
    return [
        *(PYTHON, "-m", "experiments", "evaluate", str(out), policy, "--home", str(home)),
        *("--victim", str(victim(scenario, home)), *_data(scenario)),
    ]


def costs_file(client: Attacker, out: Path) -> Path:
    """What the images of this attacker's pool cost."""
    return out / "costs" / f"{client.name}.safetensors"


def seed(scenario: Scenario, client: Client) -> int:
    """The same seed in every arm, so that a client asks the same under each policy."""
    if client.seed is not None:
        return client.seed
    return scenario.seed + 1 + scenario.clients.index(client)


def _client(scenario: Scenario, client: Client, folder: Path, home: Path, target: str) -> list[str]:
    shared = [
        *("--target", target, "--client-id", client.name, "--home", str(home)),
        *("--solver", client.solver, "--threads", str(_threads(client))),
        *("--seed", str(seed(scenario, client)), "--pace", str(client.pace)),
        *("--record", str(folder / "clients" / f"{client.name}.jsonl")),
        *_data(scenario),
    ]
    if isinstance(client, Honest):
        return [
            *(PYTHON, "-m", "client", "honest", *shared),
            *("--dataset", scenario.victim.dataset, "--images", str(client.images)),
            *("--batch", str(client.batch)),
            *("--drift", client.drift, "--drift-strength", str(client.drift_strength)),
        ]
    return [
        *(PYTHON, "-m", "attacks", client.attack, *shared),
        *(["--pool", client.pool, "--pool-size", str(client.pool_size)] if client.pool else []),
        *(["--inside", client.inside] if client.inside else []),
        *(["--costs", str(costs_file(client, folder.parent))] if knows_costs(client) else []),
        *("--network", client.network),
        *("--accounts", str(client.accounts), "--deal", client.deal),
        *("--surrogates", str(folder / "surrogates" / client.name)),
        *_flags("attack", client.config),
    ]


def _model(scenario: Scenario, home: Path) -> list[str]:
    name, measure = model_name(scenario), scenario.server.measure
    return ["--home", str(home), "--model", name, "--measure", measure]


def _data(scenario: Scenario) -> list[str]:
    folder = data(scenario)
    return [] if folder is None else ["--data", str(folder)]


def _threads(client: Client) -> int:
    """Of its solver: as many as it says, or one for each core it may use."""
    return client.threads or (1 if client.core is not None else len(os.sched_getaffinity(0)))


def _flags(of: str, settings: Mapping[str, Setting]) -> list[str]:
    """The settings of an attack or a defence, as flags `--attack.x` or `--defence.x`."""
    words: list[str] = []
    for key, value in settings.items():
        name = key.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{of}.{name}" if value else f"--{of}.no-{name}")
        else:
            words += [f"--{of}.{name}", str(value)]
    return words
