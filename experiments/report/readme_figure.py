"""The README's figure: accuracy of a stolen copy against seconds, and what an honest user waits.

A pure function of the demo's published summary.json, on one scale of seconds for both.
"""

from __future__ import annotations

from pathlib import Path

from experiments.report.publish import PublishError, read_published
from experiments.report.tables import percent, ratio, seconds
from experiments.summary import Summary

ATTACKER, USER = "copycat", "honest"
POLICIES = {"none": "without the gate", "rate": "with the gate"}


def write_docs(docs: Path) -> None:
    """Draws docs/results/demo/readme.svg. Raises PublishError for a demo without it."""
    folder = docs / "results" / "demo"
    (folder / "readme.svg").write_text(draw(read_published(folder)), encoding="utf-8")


def _client(summary: Summary, name: str, key: str) -> list[Summary]:
    """A client without the gate and with it, which has a value there."""
    found = {
        arm["policy"]: client
        for arm in summary["arms"]
        for client in arm["clients"]
        if client["name"] == name and client[key] is not None
    }
    if missing := [policy for policy in POLICIES if policy not in found]:
        raise PublishError(f"the demo has no {key} of {name!r} under policy {missing[0]!r}")
    return [found[policy] for policy in POLICIES]


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


def draw(summary: Summary) -> str:
    """The figure as SVG."""
    from experiments.report.lines import Line, Panel, lines  # with it comes matplotlib

    attacker, user = _client(summary, ATTACKER, "accuracy"), _client(summary, USER, "slowdown")
    names, victim = POLICIES.values(), summary["victim"]["accuracy"]
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
    said = said.replace("\n", " ")
    return lines("readme", title, said, panels, size=(7.6, 1.9), share="x", heights=(3.2, 1)).svg


def _total(client: Summary) -> str:
    return seconds(client["seconds"]["total"])
