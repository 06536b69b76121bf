"""What a run cost and brought, as numbers: a pure function of its records.

`summary.json`, format 1. Seconds are wall seconds, work is in expected hashes; a number that cannot
be had (no honest client, no arm without work, no surrogate) is null, never zero.

    format          1
    name            of the scenario
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
        status, reason         "done", "refused", "unreachable", "interrupted", "crashed", "stopped"
        accounts               that were answered; a thief may deal his batches among several
        images                 answered
        accuracy, fidelity     of the last surrogate, on held-out images; fidelity is the share of
                               them on which it agrees with the victim
        cost_per_image         privacy cost by the server's records
        work, work_per_image, hashes
        seconds                {"solve", "server", "network", "open", "total", "training", "wall"};
                               total = the first four, wall = from start to end, pauses included
        slowdown               seconds of predict() an image, against the same client under "none"
        price_ratio            work per image / honest_work_per_image
        virtual                whether solving times were drawn, not spent
        checkpoints            [{"asked", "at", "path", "train_seconds", "accuracy", "fidelity"}]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from statistics import fmean, median
from typing import Any

from experiments.folder import ArmRun, ClientRun, Run

FORMAT = 1


def summarise(run: Run) -> dict[str, Any]:
    """The content of summary.json; see the head of this module."""
    free = next((arm for arm in run.arms if arm.policy == "none"), None)
    bare = {client.name: _seconds_per_image(client) for client in free.clients} if free else {}
    return {
        "format": FORMAT,
        "name": run.scenario["name"],
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
        "arms": [_arm(arm, bare) for arm in run.arms],
    }


def _arm(arm: ArmRun, bare: Mapping[str, float | None]) -> dict[str, Any]:
    honest = [
        request.work / request.images
        for client in arm.clients
        if client.kind == "honest"
        for request in client.requests
    ]
    usual = median(honest) if honest else None
    load = [value for _, value in arm.load]
    return {
        "policy": arm.policy,
        "load": {"mean": fmean(load), "max": max(load)} if load else None,
        "server_code": arm.server_code,
        "honest_work_per_image": usual,
        "clients": [_client(client, usual, bare.get(client.name)) for client in arm.clients],
    }


def _client(client: ClientRun, usual: float | None, bare: float | None) -> dict[str, Any]:
    images = sum(request.images for request in client.requests)
    work = sum(request.work for request in client.requests)
    per_image = work / images if images else None
    seconds = _seconds_per_image(client)
    last = client.checkpoints[-1] if client.checkpoints else None
    return {
        "name": client.name,
        "kind": client.kind,
        "label": client.label,
        "status": client.status,
        "reason": client.reason,
        "accounts": len({request.client for request in client.requests}),
        "images": images,
        "accuracy": last.accuracy if last else None,
        "fidelity": last.fidelity if last else None,
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
        },
        "slowdown": seconds / bare if seconds is not None and bare else None,
        "price_ratio": per_image / usual if per_image is not None and usual else None,
        "virtual": any(request.virtual for request in client.requests),
        "checkpoints": [asdict(checkpoint) for checkpoint in client.checkpoints],
    }


def _seconds_per_image(client: ClientRun) -> float | None:
    images = sum(request.images for request in client.requests)
    return sum(request.total for request in client.requests) / images if images else None
