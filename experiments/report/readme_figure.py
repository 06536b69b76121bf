"""The README's figure: accuracy of a stolen copy against seconds, and what an honest user waits.

A pure function of a published summary.json, on one scale of seconds for both.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from experiments.records import FolderError
from experiments.report.compare import load
from experiments.report.tables import percent, ratio, seconds
from experiments.summary import Summary

WAYS = ("without", "with")
NAME = "readme.svg"


@dataclass(frozen=True, slots=True)
class Flags:
    """Draw the README's figure: what an attacker gets for its seconds, and what a user waits."""

    folder: tyro.conf.Positional[Path] = Path("docs/results/demo")
    """The folder of a run, fresh or published; the figure is its readme.svg."""
    attacker: str = "copycat"
    user: str = "honest"
    policy: str = "rate"
    """Compared with policy none."""


def run(flags: Flags) -> None:
    """Draws the figure of a run into its folder. Raises FolderError for a run without it."""
    summary = load(flags.folder)
    attacker, user = (
        [_client(summary, policy, name) for policy in ("none", flags.policy)]
        for name in (flags.attacker, flags.user)
    )
    victim = summary["victim"]["accuracy"]
    if victim is None or any(client["accuracy"] is None for client in attacker):
        raise FolderError(f"the run has no surrogate of {flags.attacker!r} that was scored")
    file = flags.folder / NAME
    file.write_text(draw(attacker, user, victim), encoding="utf-8")
    print(file)


def _client(summary: Summary, policy: str, name: str) -> Summary:
    for arm in summary["arms"]:
        for client in arm["clients"]:
            if (arm["policy"], client["name"]) == (policy, name):
                found: Summary = client
                return found
    raise FolderError(f"the run has no client {name!r} under policy {policy!r}")


def course(attacker: Summary) -> list[tuple[float, float]]:
    """(seconds, accuracy) of each surrogate; seconds of asking only.

    Start-up and training are the attacker's own affair and left out: counted back from the total of
    predict() by the time between two checkpoints, less the training in it.
    """
    at, points = attacker["seconds"]["total"], []
    later = None
    for point in reversed(attacker["checkpoints"]):
        if later is not None:
            at -= later["at"] - later["train_seconds"] - point["at"]
        points.append((at, point["accuracy"]))
        later = point
    return points[::-1]


def draw(attacker: list[Summary], user: list[Summary], victim: float) -> str:
    """The figure as SVG; of both clients the run without the gate and the one with it."""
    from experiments.report.lines import Line, Panel, lines  # with it comes matplotlib

    names = [f"{way} the gate" for way in WAYS]
    copies = ", ".join(
        f"{percent(client['accuracy'])} after {_total(client)} s {name}"
        for client, name in zip(attacker, names, strict=True)
    )
    waits = [
        f"{name}: {_total(client)} s{more}"
        for client, name, more in zip(
            user, names, ("", f",\n{ratio(user[1]['slowdown'])} as long"), strict=True
        )
    ]
    courses = [zip(*course(client), strict=True) for client in attacker]
    images = [f"{clients[1]['images']:,} images" for clients in (attacker, user)]
    panels = [
        Panel(
            [
                Line(name, seconds, [100 * each for each in accuracy])
                for name, (seconds, accuracy) in zip(names, courses, strict=True)
            ],
            title=f"An attacker trains a copy on the answers to {images[0]} not of the task:\n"
            f"{copies}, {ratio(attacker[1]['slowdown'])} as long",
            y="accuracy of the copy (%)",
            bottom=0,
            top=104,
            level=(100 * victim, f"the model itself: {percent(victim)}"),
        ),
        Panel(
            [
                Line(name, [at], [client["seconds"]["total"]], "bar")
                for at, (name, client) in enumerate(zip(names, user, strict=True))
            ],
            title=f"An honest user asks about {images[1]}",
            y="seconds of asking (start-up and training left out)",
            bottom=0,
            top=1.04 * max(client["seconds"]["total"] for client in (*attacker, *user)),
            rows=waits,
        ),
    ]
    title = "What an attacker gets for its seconds, and what a user waits"
    said = f"The attacker's copy reaches {copies}. An honest user waits {', '.join(waits)}."
    how: Any = {"size": (7.6, 1.9), "share": "x", "heights": (3.2, 1)}
    return lines("readme", title, said.replace("\n", " "), panels, **how).svg


def _total(client: Summary) -> str:
    return seconds(client["seconds"]["total"])
