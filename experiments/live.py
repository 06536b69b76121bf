"""An arm while it runs, as numbers: what the live views draw, fed by the tails of its records.

No clock and no screen in here. Records that are not whole are left out, whatever is wrong with
them: a view must not end a run, and the report names the file and the line.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.documents import parse_json

POINTS = 120
"""Points of a history that are kept, at most."""
RECENT = 10.0
"""Seconds over which the server's requests a second are counted."""
UNDER_WAY = ("waiting", "running")
"""States of a client that has not ended."""


class Tail:
    """Whole lines of a growing JSON-lines file, each given once; those that are no object never."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0

    def lines(self) -> list[dict[str, Any]]:
        """The records added since the last call; none while the file is not there."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._position)
                text = file.read()
        except FileNotFoundError:
            return []
        whole = text[: text.rfind(b"\n") + 1]
        self._position += len(whole)
        found = []
        for line in whole.splitlines():
            with suppress(ValueError):
                found.append(parse_json(line))
        return [record for record in found if isinstance(record, dict)]


class History:
    """A growing list of points of which only so many are kept: every second, every fourth, ..."""

    def __init__(self) -> None:
        self._kept: list[Sequence[float]] = []
        self._last: Sequence[float] | None = None
        self._every = 1
        self._seen = 0

    def add(self, point: Sequence[float]) -> None:
        """One more point, the newest."""
        if self._seen % self._every == 0:
            self._kept.append(point)
        self._last = point
        self._seen += 1
        if len(self._kept) == POINTS:
            self._kept = self._kept[::2]
            self._every *= 2

    def points(self) -> list[Sequence[float]]:
        """Those that are kept, and always the newest; at most POINTS."""
        if self._last is None or self._kept[-1] is self._last:
            return self._kept[:]
        return [*self._kept, self._last]


@dataclass(slots=True, kw_only=True)
class Client:
    """One client so far, by its own record; seconds include virtual solving."""

    name: str
    kind: str  # "honest" or "attack"
    label: str  # the attack's name, or "honest"
    total: int  # images it means to ask
    state: str = "waiting"
    images: int = 0  # answered
    price: float | None = None  # expected hashes for an image of its last batch
    work: int = 0  # expected hashes
    hashes: int = 0
    solve: float = 0.0
    virtual: bool = False  # solving times are drawn, not spent
    accuracy: float | None = None  # of the newest surrogate that is scored
    fidelity: float | None = None
    history: History = field(default_factory=History)  # (seconds, images, work)
    scores: History = field(default_factory=History)  # (images, accuracy, fidelity)
    begun: float = 0.0  # seconds after the arm
    drawn: float = 0.0  # seconds of virtual solving
    checkpoints: dict[str, int] = field(default_factory=dict)  # file -> images it was learnt from
    scored: int = -1  # images of the newest surrogate that is scored
    ended: str = ""  # how, by its own record

    @property
    def hash_rate(self) -> float | None:
        """Hashes in a second of solving; None before any, and where solving is virtual."""
        return self.hashes / self.solve if self.solve and self.hashes and not self.virtual else None

    def take(self, record: Mapping[str, Any]) -> None:
        """One line of the client's record."""
        if record["kind"] == "predict":
            images, work = int(record["images"]), int(record["work"])
            self.images += images
            self.work += work
            self.price = work / images
            self.hashes += record["hashes"]
            self.solve += record["solve"]
            if record["virtual"]:
                self.virtual = True
                self.drawn += record["solve"]
            at = round(self.begun + record["at"] + self.drawn, 3)
            self.history.add((at, self.images, self.work))
        elif record["kind"] == "checkpoint":
            self.checkpoints[record["path"]] = record["asked"]
        elif record["kind"] == "end":
            self.ended = record["status"]

    def score(self, record: Mapping[str, Any]) -> None:
        """One of its surrogates on held-out images; they may be scored in any order."""
        asked = self.checkpoints[record["path"]]
        self.scores.add((asked, record["accuracy"], record["fidelity"]))
        if asked > self.scored:
            self.scored = asked
            self.accuracy, self.fidelity = record["accuracy"], record["fidelity"]


@dataclass(slots=True)
class Server:
    """What the gate gave out so far, by its own record."""

    requests: int = 0  # Predicts, retries included
    images: int = 0  # charged
    cost: float = 0.0  # privacy cost
    work: int = 0  # expected hashes given out
    rate: float = 0.0  # requests a second: of late, or over a whole arm that has ended

    def take(self, record: Mapping[str, Any]) -> None:
        """One line of the server's record."""
        if record["kind"] == "predict":
            self.requests += 1
            if not record["retry"]:  # it is charged once
                self.images += record["images"]
                self.cost += record["cost"]
                self.work += record["work"]


class Arm:
    """One arm: its clients by name, its server, and the seconds since it was first looked at."""

    def __init__(self, folder: Path, clients: Sequence[Client], *, name: str) -> None:
        self.name = name  # of the scenario
        self.policy = folder.name
        self.clients = {client.name: client for client in clients}
        self.server = Server()
        self.victim_accuracy: float | None = None
        self.seconds = 0.0
        self._tails = {c.name: Tail(folder / "clients" / f"{c.name}.jsonl") for c in clients}
        self._runner = Tail(folder / "runner.jsonl")
        self._gate = Tail(folder / "server.jsonl")
        self._scores = Tail(folder / "evaluation.jsonl")
        self._began: float | None = None
        self._recent: deque[tuple[float, int]] = deque()

    @property
    def over(self) -> bool:
        """Whether every client has ended."""
        return all(client.state not in UNDER_WAY for client in self.clients.values())

    def read(self, now: float, states: Mapping[str, str]) -> None:
        """Takes what was recorded since the last time; `now` is seconds on any clock."""
        over = self.over
        scores = self._scores.lines()  # before the checkpoints, so that each score has its own
        for record in self._runner.lines():
            with suppress(KeyError, TypeError):
                if record["kind"] == "start":
                    self.clients[record["client"]].begun = record["at"]
        for name, client in self.clients.items():
            for record in self._tails[name].lines():
                with suppress(KeyError, TypeError, ValueError, ZeroDivisionError):
                    client.take(record)
            client.state = states.get(name, client.state)
            if client.ended and client.state in ("running", "ended early"):
                client.state = client.ended  # it knows why
        for record in self._gate.lines():
            with suppress(KeyError, TypeError):
                self.server.take(record)
        for record in scores:
            with suppress(KeyError, TypeError):
                if record["kind"] == "victim":
                    self.victim_accuracy = record["accuracy"]
                elif record["kind"] == "surrogate":
                    self.clients[record["client"]].score(record)
        self._time(now, frozen=over)

    def _time(self, now: float, *, frozen: bool) -> None:
        """Seconds and requests a second; they stand still once every client has ended."""
        if self._began is None:
            self._began = now
        if frozen:
            return
        self.seconds = now - self._began
        self._recent.append((now, self.server.requests))
        while now - self._recent[0][0] > RECENT:
            self._recent.popleft()
        since, before = (self._began, 0) if self.over else self._recent[0]
        if now > since:
            self.server.rate = (self.server.requests - before) / (now - since)

    def snapshot(self) -> dict[str, Any]:
        """All of it as JSON."""
        server = self.server
        return {
            "name": self.name,
            "policy": self.policy,
            "seconds": self.seconds,
            "over": self.over,
            "victim_accuracy": self.victim_accuracy,
            "server": {
                "requests": server.requests,
                "images": server.images,
                "cost": server.cost,
                "work": server.work,
                "rate": server.rate,
            },
            "clients": [
                {
                    "name": client.name,
                    "kind": client.kind,
                    "label": client.label,
                    "total": client.total,
                    "state": client.state,
                    "images": client.images,
                    "price": client.price,
                    "work": client.work,
                    "hash_rate": client.hash_rate,
                    "virtual": client.virtual,
                    "accuracy": client.accuracy,
                    "fidelity": client.fidelity,
                    "history": client.history.points(),
                    "scores": sorted(client.scores.points()),
                }
                for client in self.clients.values()
            ],
        }
