"""The summary of a run or of a sweep, in numbers: a pure function of the records.

`summary.json`, format 2. Seconds are wall seconds, work is in expected hashes; a number that cannot
be had (no honest client, no arm without work, no surrogate) is null, never zero. A pNN is a
quantile, interpolated linearly between the values there are.

    format, kind    2, "run"
    name, question  of the scenario, and its first comment
    command         repeats the run
    provenance, calibration, scenario   as of the run
    victim          {"dataset", "network", "accuracy"} on held-out images
    arms            one for each "policy":
      load          {"mean", "max"} of the one-minute load average
      server_code   exit code of the server, null if the arm was cut short
      honest_work_per_image   median over the requests of honest clients
      clients       one for each client:
        name, kind, label, group, status, reason, background, right
                               as of `experiments.records.ClientRun`
        accounts               that were answered; an attacker may deal its batches among several
        images                 answered
        pool                   {"images", "budget"} of an attacker whose pool has fewer, or absent
        accuracy, fidelity     of the last surrogate, on held-out images; fidelity is the share of
                               them on which it agrees with the victim
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

That of a sweep has the same format, kind "sweep", name, question, command and provenance, and

    scenario        as given
    fields          what was swept, dotted
    cells           one for each combination:
      name          of its folder
      changes       {field: value}
      missing       why there is nothing of it, or null
      revision, modified   of the tree it was run from
      finished      whether every arm came to its end
      puzzle        what its work was asked in
      victim        accuracy on held-out images
      arms          {"policy", "server_code", "groups"}; as of a run, without quantiles
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

from core.documents import read_json
from experiments.records import ClientRun, PolicyRun, Request, Run, read_sweep

FORMAT = 2
MIN_CLIENTS_FOR_QUANTILES = 5
COURSE = 32  # points of a client's course
COURSES = 8  # clients of a group that have one
DIGITS = 5  # significant ones of what is kept for figures only
EACH = ("slowdown", "overhead", "price_ratio")  # of which a group has a median and a p99

Summary = Mapping[str, Any]


def summarise(run: Run) -> dict[str, Any]:
    """The summary of a run; see the head of this module."""
    about = run.about
    scenario, calibration = about["resolved"], about["calibration"]
    bare = {
        client.name: _seconds_per_image(client.requests)
        for each in run.policies
        for client in each.clients
        if each.policy == "none"
    }
    rate = calibration.get("rates", {}).get(scenario["server"].get("puzzle"), {})
    accuracies = (each.victim_accuracy for each in run.policies)
    return {
        "format": FORMAT,
        "kind": "run",
        "name": scenario["name"],
        "question": about.get("question", ""),
        **{key: about[key] for key in ("command", "provenance", "calibration")},
        "scenario": scenario,
        "victim": {
            **scenario["victim"],
            "accuracy": next((each for each in accuracies if each is not None), None),
        },
        "arms": [_policy(each, bare, rate.get("hashes_per_second")) for each in run.policies],
    }


def summarise_sweep(folder: Path) -> dict[str, Any]:
    """The summary of a sweep from those of its cells. Raises FolderError if it is none."""
    about = read_sweep(folder)
    cells, question = [], ""
    for cell in about["cells"]:
        path, found, missing = folder / cell["name"] / "summary.json", None, None
        try:
            found = read_json(path)
            if found["format"] != FORMAT:
                raise ValueError(f"format {found['format']!r}, expected {FORMAT}")
            question = question or found["question"]
        except FileNotFoundError:
            missing = f"no {path.name}" if path.parent.exists() else "not run"
        except (OSError, ValueError, KeyError, TypeError) as error:
            missing = f"{path.name}: {error}"
        more = {"arms": []} if found is None or missing else _cell(found)
        cells.append({"name": cell["name"], "changes": cell["changes"], "missing": missing, **more})
    return {
        "format": FORMAT,
        "kind": "sweep",
        "name": about["given"].get("name", folder.name),
        "question": question,
        "command": about["command"],
        "provenance": about["provenance"],
        "scenario": about["given"],
        "fields": list(about["cells"][0]["changes"]),
        "cells": cells,
    }


def _cell(run: Summary) -> dict[str, Any]:
    server = run["scenario"]["server"]
    ended = {arm["policy"] for arm in run["arms"] if arm["server_code"] is not None}
    return {
        "revision": run["provenance"]["git_revision"],
        "modified": run["provenance"].get("git_modified"),
        "finished": set(server["policies"]) <= ended,
        "puzzle": server.get("puzzle"),
        "victim": run["victim"]["accuracy"],
        "arms": [
            {
                **{key: arm[key] for key in ("policy", "server_code")},
                "groups": [
                    {k: group[k] for k in group if k != "quantiles"} for group in arm["groups"]
                ],
            }
            for arm in run["arms"]
        ],
    }


def as_planned(client: Summary) -> bool:
    """Whether a client, or a group of them, came to the end that it was meant to have."""
    return client["status"] in (("done", "stopped") if client["background"] else ("done",))


def _policy(run: PolicyRun, bare: Mapping[str, float | None], rate: float | None) -> dict[str, Any]:
    honest = [
        request.work / request.images
        for client in run.clients
        if client.kind == "honest"
        for request in client.requests
    ]
    usual = median(honest) if honest else None
    clients = [_client(client, usual, bare.get(client.name), rate) for client in run.clients]
    groups: dict[str, list[tuple[ClientRun, dict[str, Any]]]] = {}
    for client, summary in zip(run.clients, clients, strict=True):
        groups.setdefault(client.group, []).append((client, summary))
        if len(groups[client.group]) > COURSES:
            summary["course"] = []
    return {
        "policy": run.policy,
        "load": {"mean": fmean(run.load), "max": max(run.load)} if run.load else None,
        "server_code": run.server_code,
        "honest_work_per_image": usual,
        "clients": clients,
        "groups": [_group(name, *zip(*both, strict=True)) for name, both in groups.items()],
    }


def _client(
    client: ClientRun, usual: float | None, bare: float | None, rate: float | None
) -> dict[str, Any]:
    totals = _totals(client.requests)
    per_image, seconds = totals["work_per_image"], _seconds_per_image(client.requests)
    own = ("name", "group", "kind", "label", "status", "reason", "background", "right")
    pool = {"pool": {"images": client.pool[0], "budget": client.pool[1]}} if client.pool else {}
    parts = ("solve", "server", "network", "open", "total", "victim", "defence")
    return {
        **{key: getattr(client, key) for key in own},
        "accounts": len({request.client for request in client.requests}),
        **pool,
        **{
            key: getattr(client.checkpoints[-1], key) if client.checkpoints else None
            for key in ("accuracy", "fidelity")
        },
        **{key: _mean(client.requests, key) for key in ("l1", "kept")},
        **totals,
        "seconds": {
            **{key: sum(getattr(request, key) for request in client.requests) for key in parts},
            "training": sum(checkpoint.train_seconds for checkpoint in client.checkpoints),
            "wall": client.seconds,
            "cpu": client.cpu,
        },
        "slowdown": _ratio(seconds, bare),
        "overhead": None if (more := _ratio(_ratio(per_image, rate), bare)) is None else 1 + more,
        "price_ratio": _ratio(per_image, usual),
        "checkpoints": [asdict(checkpoint) for checkpoint in client.checkpoints],
        "course": [[_short(r.at), _short(r.work / r.images)] for r in _thinned(client.requests)],
    }


def _group(name: str, runs: Sequence[ClientRun], clients: Sequence[Summary]) -> dict[str, Any]:
    requests = [request for run in runs for request in run.requests]
    states = Counter(client["status"] for client in clients)
    first = clients[0]
    crowd = len(clients) >= MIN_CLIENTS_FOR_QUANTILES and first["kind"] == "honest"
    medians = ("accuracy", "fidelity", *EACH)
    return {
        "name": name,
        **{key: first[key] for key in ("kind", "label", "background")},
        "status": ", ".join(f"{many} {state}" for state, many in states.items())
        if len(states) > 1
        else first["status"],
        "clients": len(clients),
        "accounts": sum(client["accounts"] for client in clients),
        **{key: _quantile((client[key] for client in clients), 0.5) for key in medians},
        **_totals(requests),
        "seconds": {
            part: _sum([client["seconds"][part] for client in clients]) for part in first["seconds"]
        },
        "p99": {key: _quantile((client[key] for client in clients), 0.99) for key in EACH},
        "quantiles": {
            part: [_short(value) for value in np.quantile(values, np.linspace(0, 1, 101))]
            for part, values in _latencies(requests).items()
        }
        if crowd and requests
        else None,
    }


def _totals(requests: Sequence[Request]) -> dict[str, Any]:
    """What clients and groups have of all their requests alike."""
    images, work = (sum(getattr(r, key) for r in requests) for key in ("images", "work"))
    return {
        "images": images,
        "cost_per_image": _ratio(sum(r.cost for r in requests), images),
        "work": work,
        "work_per_image": _ratio(work, images),
        "hashes": sum(request.hashes for request in requests),
        "virtual": any(request.virtual for request in requests),
        "latency": {
            part: {f"p{level}": float(np.quantile(values, level / 100)) for level in (50, 99)}
            for part, values in _latencies(requests).items()
        }
        if requests
        else None,
    }


def _latencies(requests: Sequence[Request]) -> dict[str, list[float]]:
    """The two latencies of each request, in seconds; see the head of this module."""
    return {
        "ask": [request.network + request.server for request in requests],
        "total": [request.total for request in requests],
    }


def _ratio(value: float | None, by: float | None) -> float | None:
    return value / by if value is not None and by else None


def _sum(values: Sequence[float | None]) -> float | None:
    return None if None in values else sum(value for value in values if value is not None)


def _mean(requests: Sequence[Request], key: str) -> float | None:
    """The mean over images of a number that each request has; None where one has none."""
    values = [(getattr(request, key), request.images) for request in requests]
    if not values or any(value is None for value, _ in values):
        return None
    return float(sum(v * images for v, images in values) / sum(images for _, images in values))


def _quantile(values: Iterable[float | None], level: float) -> float | None:
    """A quantile of the values that are not None."""
    there = [value for value in values if value is not None]
    return float(np.quantile(there, level)) if there else None


def _thinned(requests: Sequence[Request]) -> list[Request]:
    """At most COURSE of them, evenly, the first and the last one included."""
    if len(requests) <= COURSE:
        return list(requests)
    return [requests[at] for at in np.linspace(0, len(requests) - 1, COURSE).round().astype(int)]


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _seconds_per_image(requests: Sequence[Request]) -> float | None:
    return _ratio(sum(r.total for r in requests), sum(r.images for r in requests))
