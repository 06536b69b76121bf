"""The folder of a run or of a sweep, and its one reader.

    scenario.json            the scenario as given and as resolved, command, calibration, provenance
                             and, as `pinned`, the SHA-256 of every file that its arms used
    calibration.json         what the arms are priced by
    costs/NAME.safetensors   what the images of an attacker's pool cost, if it knows
    POLICY/server.jsonl      what the gate recorded
    POLICY/clients/NAME.jsonl  what each client recorded
    POLICY/runner.jsonl      when each client started and how it ended
    POLICY/load.jsonl        load average of the machine
    POLICY/evaluation.jsonl  the victim and each surrogate on held-out images
    POLICY/logs/NAME.txt     the output of each process
    POLICY/surrogates/NAME/  what each attacker has learnt

A sweep has `sweep.json` and such a folder for each cell. Lines of a record file are counted from
one, the header being the first. A file may say more than its schema here, never less, and a field
never changes its meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from core import records
from core.documents import read_json

SWEEP_FILE = "sweep.json"
END_STATUSES = ("done", "refused", "unreachable", "interrupted", "crashed")
UNDER_WAY = ("waiting", "running")  # statuses of a client that has not ended


class FolderError(ValueError):
    """A run folder that is not whole. The message names the file and, where it can, the line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One answered batch, as the client saw it; seconds, the thinking time between left out."""

    client: str  # the account it was asked under
    request_id: str
    images: int
    asked: int  # images so far, this batch included
    at: float  # since the client started, virtual solving included
    total: float
    network: float
    server: float
    solve: float
    open: float
    hashes: int
    work: int  # expected hashes
    virtual: bool  # the solving time is drawn, not spent
    # From the server's record:
    cost: float  # privacy cost of the batch
    victim: float = 0.0  # seconds of the victim
    defence: float = 0.0  # seconds of the defence
    l1: float | None = None  # mean distance that the defence moved the answers
    kept: float | None = None  # share of answers whose best class stayed


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """One surrogate an attacker saved; accuracy and fidelity are None until it is evaluated."""

    asked: int
    at: float  # seconds since the client started, virtual solving included
    path: str
    train_seconds: float
    accuracy: float | None = None
    fidelity: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientRun:
    """One client under one policy."""

    name: str
    kind: str  # "honest" or "attack"
    label: str  # the attack's name, or "honest"
    group: str  # of which it is one process of several, or its own name
    requests: tuple[Request, ...] = ()
    checkpoints: tuple[Checkpoint, ...] = ()
    status: str = "crashed"  # END_STATUSES, "stopped" by the runner, or UNDER_WAY
    reason: str = ""
    seconds: float = 0.0  # from its start to its end, virtual solving included
    background: bool = False  # the run did not wait for its end
    pool: tuple[int, int] | None = None  # images in a pool that has fewer than the budget, budget
    right: float | None = None  # share of an honest client's answers that were right
    cpu: float | None = None  # seconds of CPU, start-up included


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRun:
    """The run under one policy."""

    policy: str
    clients: tuple[ClientRun, ...]
    load: tuple[float, ...] = ()  # one-minute load averages
    victim_accuracy: float | None = None
    server_code: int | None = None  # exit code of the server, None if the run was cut short


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A whole run."""

    about: Mapping[str, Any]  # the content of scenario.json
    policies: tuple[PolicyRun, ...]

    @property
    def scenario(self) -> Mapping[str, Any]:
        """The scenario as resolved."""
        return self.about["resolved"]  # type: ignore[no-any-return]


Fields = Mapping[str, tuple[type, ...]]
REAL = (int, float)


def _schema(kind: type, until: str) -> Fields:
    """The fields of a dataclass before the one that is not in the client's record."""
    types = {"str": (str,), "int": (int,), "float": REAL, "bool": (bool,)}
    names = [each.name for each in fields(kind)]
    return {each.name: types[str(each.type)] for each in fields(kind)[: names.index(until)]}


CLIENT_KINDS: Mapping[str, Fields] = {
    "predict": _schema(Request, "cost"),
    "checkpoint": _schema(Checkpoint, "accuracy"),
    # Asked, and perhaps never paid for.
    "price": {"request_id": (str,), "images": (int,), "work": (int,), "at": REAL},
    # Of an attacker whose pool has fewer images than its budget.
    "pool": {"images": (int,), "budget": (int,)},
    # Of an honest client: how many answers were right, by its labels.
    "answers": {"images": (int,), "right": (int,)},
    "end": {"status": (str,), "reason": (str,), "at": REAL},
}
SERVER_KINDS: Mapping[str, Fields] = {
    "predict": {"client": (str,), "request_id": (str,), "images": (int,), "cost": REAL},
    "redeem": {"client": (str,)},
}
RUNNER_KINDS: Mapping[str, Fields] = {
    "start": {"client": (str,), "at": REAL},
    "exit": {"client": (str,), "at": REAL, "code": (int,), "stopped": (bool,), "tail": (str,)},
    "server": {"code": (int,)},
}
LOAD_KINDS: Mapping[str, Fields] = {"load": {"at": REAL, "one_minute": REAL}}
EVALUATION_KINDS: Mapping[str, Fields] = {
    "victim": {"accuracy": REAL, "images": (int,)},
    "surrogate": {"client": (str,), "path": (str,), "accuracy": REAL, "fidelity": REAL},
}


def read(folder: Path, *, partial: bool = False) -> Run:
    """Reads a run folder. Raises FolderError for anything missing, malformed or unknown.

    Of a run that goes on, read `partial`: what is not there yet is left out.
    """
    about = read_scenario(folder)
    policies = tuple(
        _policy(folder / policy, about["resolved"]["clients"], partial=partial)
        for policy in about["resolved"]["server"]["policies"]
        if begun(folder / policy / "runner.jsonl")
    )
    if not policies:
        raise FolderError(f"{folder} holds no finished arm (no POLICY/runner.jsonl)")
    return Run(about=about, policies=policies)


def read_scenario(folder: Path) -> dict[str, Any]:
    """The scenario.json of a run folder. Raises FolderError."""
    return _described(folder / "scenario.json", "run", _is_run)


def read_sweep(folder: Path) -> dict[str, Any]:
    """The sweep.json of a sweep's folder. Raises FolderError."""
    return _described(folder / SWEEP_FILE, "sweep", _is_sweep)


def _described(path: Path, kind: str, check: Callable[[Any], object]) -> dict[str, Any]:
    try:
        about: dict[str, Any] = read_json(path)
        check(about)
    except FileNotFoundError as error:
        raise FolderError(f"{path.parent} is not the folder of a {kind}: no {path.name}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise FolderError(f"{path} does not describe a {kind}: {error!r}") from error
    return about


def _is_run(about: Any) -> None:
    about["resolved"]["clients"], about["resolved"]["server"]["policies"], about["command"]
    about["provenance"], about["calibration"]


def _is_sweep(about: Any) -> None:
    about["given"].items(), about["command"], about["provenance"].items(), about["cells"][0]
    if not all(cell["name"] and cell["changes"].keys() for cell in about["cells"]):
        raise ValueError("a cell that changes nothing")


def finished(folder: Path, policies: Iterable[str]) -> bool:
    """Whether a run came to its end: its summary knows how the server of every arm ended."""
    try:
        summary = read_json(folder / "summary.json")
        ends = {arm["policy"]: arm["server_code"] for arm in summary["arms"]}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return all(ends.get(policy) is not None for policy in policies)


def rows(path: Path, kinds: Mapping[str, Fields]) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """(line number, kind, fields) of each record in a file; what is not known is refused."""
    if not path.exists():
        raise FolderError(f"{path} is missing")
    try:
        _, lines = records.read(path)
    except (OSError, ValueError) as error:
        raise FolderError(str(error)) from error
    for number, row in enumerate(lines, start=2):
        kind = row["kind"]
        where = f"{path}:{number}"
        if kind not in kinds:
            raise FolderError(f"{where}: unknown record kind {kind!r}, expected {', '.join(kinds)}")
        for name, types in kinds[kind].items():
            value = row.get(name)
            if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
                given = f"{name} = {value!r}" if name in row else f"no {name}"
                expected = " or ".join(t.__name__ for t in types)
                raise FolderError(f"{where}: a {kind!r} record with {given}, expected {expected}")
        yield number, kind, row


def begun(path: Path) -> bool:
    """Whether a record was begun: a process may die before its header is written."""
    return path.exists() and b"\n" in path.read_bytes()


def _policy(folder: Path, clients: list[Mapping[str, Any]], *, partial: bool) -> PolicyRun:
    def there(name: str, kinds: Mapping[str, Fields], *, optional: bool = False) -> Any:
        path = folder / name
        return () if (partial or optional) and not begun(path) else rows(path, kinds)

    served: dict[tuple[str, str], Mapping[str, Any]] = {}
    for _, kind, row in there("server.jsonl", SERVER_KINDS):
        if kind == "predict":  # the first one is the charge, those after it are retries
            served.setdefault((row["client"], row["request_id"]), row)
    runner = [(kind, row) for _, kind, row in there("runner.jsonl", RUNNER_KINDS)]
    started = [row["client"] for kind, row in runner if kind == "start"]
    exits = {row["client"]: row for kind, row in runner if kind == "exit"}
    scored = [row for _, _, row in there("evaluation.jsonl", EVALUATION_KINDS, optional=True)]
    scores = {
        (r["client"], r["path"]): (r["accuracy"], r["fidelity"]) for r in scored if "path" in r
    }
    victims = [float(row["accuracy"]) for row in scored if row["kind"] == "victim"]
    status = {each["name"]: "waiting" if partial else "" for each in clients}
    status |= dict.fromkeys(started, "running" if partial else "")
    return PolicyRun(
        policy=folder.name,
        clients=tuple(
            _client(folder, each, served, scores, exits.get(each["name"]), status[each["name"]])
            for each in clients
        ),
        load=tuple(row["one_minute"] for _, _, row in there("load.jsonl", LOAD_KINDS)),
        victim_accuracy=victims[-1] if victims else None,
        server_code=next((row["code"] for kind, row in runner if kind == "server"), None),
    )


def _client(
    folder: Path,
    client: Mapping[str, Any],
    served: Mapping[tuple[str, str], Mapping[str, Any]],
    scores: Mapping[tuple[str, str], tuple[float, float]],
    ended: Mapping[str, Any] | None,
    under_way: str,  # its status if it has not ended; "" if it should have
) -> ClientRun:
    name = client["name"]
    path = folder / "clients" / f"{name}.jsonl"
    requests: list[Request] = []
    checkpoints: list[Checkpoint] = []
    found: dict[str, Any] = {}
    if ended is not None:
        found = {"seconds": float(ended["at"]), "cpu": ended.get("cpu")}
    drawn = 0.0  # seconds of virtual solving, which the client's clock did not see
    crashed = ended is None or ended["stopped"] or ended["code"] not in (0, 3)
    absent = crashed and not begun(path)  # it died before its first line, or has none yet
    for line, kind, row in () if absent else rows(path, CLIENT_KINDS):
        given = {key: row[key] for key in CLIENT_KINDS[kind]}
        if kind == "predict":
            asked = row["client"], row["request_id"]
            if asked not in served:
                if under_way:
                    break  # the server recorded it since its file was read
                raise FolderError(
                    f"{path}:{line}: request {asked[1]} of client {asked[0]!r} is not in"
                    f" {folder / 'server.jsonl'}"
                )
            drawn += row["solve"] if row["virtual"] else 0.0
            given["at"] += drawn
            requests.append(Request(**given, **_of_server(served[asked])))
        elif kind == "checkpoint":
            accuracy, fidelity = scores.get((name, row["path"]), (None, None))
            given["at"] += drawn
            checkpoints.append(Checkpoint(accuracy=accuracy, fidelity=fidelity, **given))
        elif kind == "pool":
            found["pool"] = row["images"], row["budget"]
        elif kind == "answers":
            found["right"] = row["right"] / row["images"]
        elif kind == "end":
            if row["status"] not in END_STATUSES:
                raise FolderError(
                    f"{path}:{line}: unknown status {row['status']!r}: {END_STATUSES}"
                )
            found |= {key: row[key] for key in ("status", "reason")}
            found["seconds"] = row["at"] + drawn
    if ended is None:
        why = "" if under_way else "the run ended before this client did"
        found = {"status": under_way or "stopped", "reason": why, **found}
    elif crashed:
        found |= {"status": "stopped" if ended["stopped"] else "crashed", "reason": ended["tail"]}
    elif "status" not in found:
        raise FolderError(f"{path}: no 'end' record, although the client exited as if it were done")
    return ClientRun(
        name=name,
        kind=client["kind"],
        label=client.get("label") or client.get("attack", "honest"),
        group=client.get("group") or name,
        requests=tuple(requests),
        checkpoints=tuple(checkpoints),
        background=client.get("background", False),
        **found,
    )


def _of_server(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the server recorded of a request; of a defence only where there was one."""
    seconds = {key: row.get("seconds", {}).get(key, 0.0) for key in ("victim", "defence")}
    return {"cost": float(row["cost"]), "l1": row.get("l1"), "kept": row.get("kept"), **seconds}
