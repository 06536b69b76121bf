"""What a run cost and brought, as numbers: a pure function of its records.

`summary.json`, format 2. Seconds are wall seconds, work is in expected hashes; a number that cannot
be had (no honest client, no arm without work, no surrogate) is null, never zero. A pNN is a
quantile, interpolated linearly between the values there are.

    format, kind    2, "run"; a sweep has a summary of its own, see `sweep_summary`
    name            of the scenario
    question        its first comment
    command         repeats the run
    provenance      revision, versions, host, seed
    calibration     what the prices rest on: hash rate, service time, constants
    scenario        as resolved
    victim          {"dataset", "network", "accuracy"} on held-out images
    arms            one for each policy:
      policy
      load          {"mean", "max"} of the one-minute load average
      server_code   exit code of the server, null if the arm was cut short
      honest_work_per_image   median over the requests of honest clients
      clients       one for each client:
        name, kind, label      label is the attack's name, or "honest"
        group                  the one it is a process of; its own name if it is alone
        status, reason         "done", "refused", "unreachable", "interrupted", "crashed", "stopped"
        background             whether the run did not wait for its end: it may be "stopped"
        accounts               that were answered; a thief may deal his batches among several
        images                 answered
        pool                   {"images", "budget"} of a thief whose pool has fewer; else missing
        accuracy, fidelity     of the last surrogate, on held-out images; fidelity is the share of
                               them on which it agrees with the victim
        right                  share of an honest client's answers that were right
        l1, kept               how far a defence moved the answers, and the share of them whose best
                               class stayed; null without a defence
        cost_per_image         privacy cost by the server's records
        work, work_per_image, hashes
        seconds                {"solve", "server", "network", "open", "total", "training", "wall",
                               "cpu", "victim", "defence"}; total = the first four, wall = from
                               start to end, pauses included, cpu = of the process, victim and
                               defence = parts of server
        latency                of its answered requests, as this client saw them, pauses excluded:
                               {"ask": {"p50", "p99"}, "total": {"p50", "p99"}}; total is the whole
                               of predict(), virtual solving included; ask is what is left of it
                               without solving and opening: both calls, Predict and Redeem, with
                               what the server did in them
        slowdown               seconds of predict() an image, against the same client under "none"
        overhead               (service + work) / service: service is its seconds of predict() an
                               image under "none", work its work an image at the calibrated rate of
                               one thread
        price_ratio            work per image / honest_work_per_image
        virtual                whether solving times were drawn, not spent
        checkpoints            [{"asked", "at", "path", "train_seconds", "accuracy", "fidelity"}]
        course                 [[at, work per image]] of its requests, evenly thinned to 32; of a
                               group, its first 8 clients have one
      groups        one for each group, and for each client that is alone, with the same fields:
        name, kind, label, status, background, clients   how many they are
        accounts, images, work, hashes, seconds   sums over them, and cost_per_image,
                               work_per_image of these sums; latency of all their requests
        accuracy, fidelity, slowdown, overhead, price_ratio   medians over them
        p99                    {"slowdown", "overhead", "price_ratio"}, the same over them
        virtual                whether of any
        quantiles              {"ask", "total"}: the latencies at 0, 1, ..., 100 %; for honest
                               groups of at least five, else null
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean, median
from typing import Any

import numpy as np

from experiments.folder import ArmRun, ClientRun, Request, Run

FORMAT = 2
CROWD = 5  # clients of a group that make a distribution
COURSE = 32  # points of a client's course
COURSES = 8  # clients of a group that have one
DIGITS = 5  # significant ones of what is kept for figures only
EACH = ("slowdown", "overhead", "price_ratio")  # of which a group has a median and a p99


def summarise(run: Run) -> dict[str, Any]:
    """The content of summary.json; see the head of this module."""
    free = next((arm for arm in run.arms if arm.policy == "none"), None)
    bare = {client.name: _seconds_per_image(client) for client in free.clients} if free else {}
    rate = _rate(run)
    return {
        "format": FORMAT,
        "kind": "run",
        "name": run.scenario["name"],
        "question": run.question,
        "command": run.command,
        "provenance": dict(run.provenance),
        "calibration": dict(run.calibration),
        "scenario": dict(run.scenario),
        "victim": {
            **run.scenario["victim"],
            "accuracy": next(
                (arm.victim_accuracy for arm in run.arms if arm.victim_accuracy is not None), None
            ),
        },
        "arms": [_arm(arm, bare, rate) for arm in run.arms],
    }


def as_planned(client: Mapping[str, Any]) -> bool:
    """Whether a client, or a group of them, came to the end that it was meant to have."""
    ends = ("done", "stopped") if client["background"] else ("done",)
    return client["status"] in ends


def _rate(run: Run) -> float | None:
    """Hashes a second of one thread, by the calibration, for the puzzle of this run."""
    rates = run.calibration.get("rates", {})
    rate = rates.get(run.scenario["server"].get("puzzle"))
    return float(rate["hashes_per_second"]) if rate else None


def _arm(arm: ArmRun, bare: Mapping[str, float | None], rate: float | None) -> dict[str, Any]:
    honest = [
        request.work / request.images
        for client in arm.clients
        if client.kind == "honest"
        for request in client.requests
    ]
    usual = median(honest) if honest else None
    load = [value for _, value in arm.load]
    clients = [_client(client, usual, bare.get(client.name), rate) for client in arm.clients]
    groups: dict[str, list[int]] = {}
    for place, client in enumerate(arm.clients):
        groups.setdefault(client.group, []).append(place)
        if len(groups[client.group]) > COURSES:
            clients[place]["course"] = []
    return {
        "policy": arm.policy,
        "load": {"mean": fmean(load), "max": max(load)} if load else None,
        "server_code": arm.server_code,
        "honest_work_per_image": usual,
        "clients": clients,
        "groups": [
            _group(name, [arm.clients[at] for at in places], [clients[at] for at in places])
            for name, places in groups.items()
        ],
    }


def _client(
    client: ClientRun, usual: float | None, bare: float | None, rate: float | None
) -> dict[str, Any]:
    images = sum(request.images for request in client.requests)
    work = sum(request.work for request in client.requests)
    per_image = work / images if images else None
    seconds = _seconds_per_image(client)
    last = client.checkpoints[-1] if client.checkpoints else None
    return {
        "name": client.name,
        "group": client.group,
        "kind": client.kind,
        "label": client.label,
        "status": client.status,
        "reason": client.reason,
        "background": client.background,
        "accounts": len({request.client for request in client.requests}),
        "images": images,
        **(
            {"pool": dict(zip(("images", "budget"), client.pool, strict=True))}
            if client.pool
            else {}
        ),
        "accuracy": last.accuracy if last else None,
        "fidelity": last.fidelity if last else None,
        "right": client.right,
        **{key: _mean(client.requests, key) for key in ("l1", "kept")},
        "cost_per_image": sum(r.cost for r in client.requests) / images if images else None,
        "work": work,
        "work_per_image": per_image,
        "hashes": sum(request.hashes for request in client.requests),
        "seconds": {
            **{
                part: sum(getattr(request, part) for request in client.requests)
                for part in ("solve", "server", "network", "open", "total")
            },
            "training": sum(checkpoint.train_seconds for checkpoint in client.checkpoints),
            "wall": client.seconds,
            "cpu": client.cpu,
            **{
                part: sum(getattr(request, part) for request in client.requests)
                for part in ("victim", "defence")
            },
        },
        "latency": _latency(client.requests),
        "slowdown": seconds / bare if seconds is not None and bare else None,
        "overhead": 1 + per_image / rate / bare
        if per_image is not None and rate and bare
        else None,
        "price_ratio": per_image / usual if per_image is not None and usual else None,
        "virtual": any(request.virtual for request in client.requests),
        "checkpoints": [asdict(checkpoint) for checkpoint in client.checkpoints],
        "course": [[_short(r.at), _short(r.work / r.images)] for r in _thinned(client.requests)],
    }


def _group(name: str, runs: Sequence[ClientRun], clients: Sequence[Mapping[str, Any]]) -> Any:
    requests = [request for run in runs for request in run.requests]
    images, work = (sum(client[key] for client in clients) for key in ("images", "work"))
    statuses = Counter(client["status"] for client in clients)
    crowd = len(clients) >= CROWD and clients[0]["kind"] == "honest" and requests
    return {
        "name": name,
        "kind": clients[0]["kind"],
        "label": clients[0]["label"],
        "status": ", ".join(
            status if len(statuses) == 1 else f"{many} {status}"
            for status, many in statuses.items()
        ),
        "background": clients[0]["background"],
        "clients": len(clients),
        "accounts": sum(client["accounts"] for client in clients),
        "images": images,
        **{key: _median(client[key] for client in clients) for key in ("accuracy", "fidelity")},
        "cost_per_image": sum(r.cost for r in requests) / images if images else None,
        "work": work,
        "work_per_image": work / images if images else None,
        "hashes": sum(client["hashes"] for client in clients),
        "seconds": {
            part: _sum([client["seconds"][part] for client in clients])
            for part in clients[0]["seconds"]
        },
        "latency": _latency(requests),
        **{key: _median(client[key] for client in clients) for key in EACH},
        "p99": {key: _quantile((client[key] for client in clients), 0.99) for key in EACH},
        "virtual": any(client["virtual"] for client in clients),
        "quantiles": {
            part: [_short(value) for value in np.quantile(values, np.linspace(0, 1, 101))]
            for part, values in _parts(requests).items()
        }
        if crowd
        else None,
    }


def _sum(values: Sequence[float | None]) -> float | None:
    return None if None in values else sum(value for value in values if value is not None)


def _mean(requests: Sequence[Request], key: str) -> float | None:
    """Of a number that each request has, over images; None where one has none."""
    values = [(getattr(request, key), request.images) for request in requests]
    if not values or any(value is None for value, _ in values):
        return None
    return float(sum(v * images for v, images in values) / sum(images for _, images in values))


def _parts(requests: Sequence[Request]) -> dict[str, list[float]]:
    """The two latencies of each request, in seconds; see the head of this module."""
    return {
        "ask": [request.network + request.server for request in requests],
        "total": [request.total for request in requests],
    }


def _latency(requests: Sequence[Request]) -> dict[str, dict[str, float]] | None:
    if not requests:
        return None
    return {
        part: {f"p{percent}": float(np.quantile(values, percent / 100)) for percent in (50, 99)}
        for part, values in _parts(requests).items()
    }


def _median(values: Iterable[float | None]) -> float | None:
    return _quantile(values, 0.5)


def _quantile(values: Iterable[float | None], level: float) -> float | None:
    """Of the values there are."""
    there = [value for value in values if value is not None]
    return float(np.quantile(there, level)) if there else None


def _thinned(requests: Sequence[Request]) -> list[Request]:
    """At most COURSE of them, evenly, the first and the last one included."""
    if len(requests) <= COURSE:
        return list(requests)
    return [requests[at] for at in np.linspace(0, len(requests) - 1, COURSE).round().astype(int)]


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _seconds_per_image(client: ClientRun) -> float | None:
    images = sum(request.images for request in client.requests)
    return sum(request.total for request in client.requests) / images if images else None
