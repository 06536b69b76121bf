"""The command lines of a run: what each process is told."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from experiments.arm import Commands, Place
from experiments.scenario import Client, Honest, Scenario, Setting, Thief

PYTHON = sys.executable


def model_name(scenario: Scenario) -> str:
    """The name of a scenario's victim under the home folder: scenarios may share one."""
    dataset = scenario.victim.dataset
    if not re.fullmatch(r"[a-z0-9-]+", dataset):  # a path
        dataset = "npz-" + hashlib.sha256(dataset.encode()).hexdigest()[:12]
    return f"{dataset}-{scenario.victim.network}-s{scenario.seed}"


def prepare(scenario: Scenario, home: Path) -> list[str]:
    """Trains the victim and what its measure needs, unless they are there."""
    return [
        *(PYTHON, "-m", "server", "prepare", "--home", str(home)),
        *("--model", model_name(scenario), "--dataset", scenario.victim.dataset),
        *("--network", scenario.victim.network, "--measure", scenario.server.measure),
        *("--seed", str(scenario.seed)),
    ]


def calibrate(scenario: Scenario, home: Path) -> list[str]:
    """Fits the price to honest traffic and to this machine."""
    return [
        *(PYTHON, "-m", "server", "calibrate", "--home", str(home)),
        *("--model", model_name(scenario), "--measure", scenario.server.measure),
        *("--t-max", str(scenario.server.t_max)),
    ]


def arm(scenario: Scenario, policy: str, folder: Path, home: Path) -> Commands:
    """The server and the clients of one arm."""
    return Commands(
        server=_server(scenario, policy, folder, home),
        clients={
            client.name: _starter(scenario, client, scenario.seed + 1 + index, folder, home)
            for index, client in enumerate(scenario.clients)
        },
        server_core=scenario.server.core,
        places={c.name: Place(niceness=c.nice, core=c.core) for c in scenario.clients},
    )


def _server(scenario: Scenario, policy: str, folder: Path, home: Path) -> list[str]:
    return [
        *(PYTHON, "-m", "server", "serve", "--home", str(home)),
        *("--model", model_name(scenario), "--measure", scenario.server.measure),
        *("--policy", policy, "--puzzle", scenario.server.puzzle, "--port", "0", "--open"),
        *("--ledger", str(folder / "ledger.db"), "--record", str(folder / "server.jsonl")),
        *(["--virtual"] if scenario.server.virtual else []),
    ]


def _starter(
    scenario: Scenario, client: Client, seed: int, folder: Path, home: Path
) -> Callable[[str], Sequence[str]]:
    """The same seed in every arm, so that a client asks the same under each policy."""

    def command(target: str) -> list[str]:
        shared = [
            *("--target", target, "--client-id", client.name, "--home", str(home)),
            *("--solver", client.solver, "--threads", str(client.threads), "--seed", str(seed)),
            *("--record", str(folder / "clients" / f"{client.name}.jsonl")),
        ]
        if isinstance(client, Honest):
            return [
                *(PYTHON, "-m", "client", "honest", *shared),
                *("--dataset", scenario.victim.dataset, "--images", str(client.images)),
                *("--batch", str(client.batch), "--pace", str(client.pace)),
            ]
        return [
            *(PYTHON, "-m", "attacks", client.attack, *shared),
            *("--pool", client.pool, "--pool-size", str(client.pool_size)),
            *("--network", client.network),
            *("--surrogates", str(folder / "surrogates" / client.name)),
            *(flag for key, value in client.config.items() for flag in _flag(key, value)),
        ]

    return command


def _flag(key: str, value: Setting) -> list[str]:
    name = key.replace("_", "-")
    if isinstance(value, bool):
        return [f"--attack.{name}" if value else f"--attack.no-{name}"]
    return [f"--attack.{name}", str(value)]


def images(client: Client) -> int:
    """How many images a client means to ask, for its progress bar."""
    if isinstance(client, Thief):
        budget = client.config.get("budget", client.pool_size)
        return int(budget)
    return client.images
