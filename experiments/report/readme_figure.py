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

FREE, GATED = ("without the gate", "#7d7d86"), ("with the gate", "#d55e00")
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
    from core.drawing import INK, Figure, MaxNLocator, style, svg  # with it comes matplotlib

    def note(
        axes: Any, text: str, at: tuple[float, float], by: tuple[float, float], **how: Any
    ) -> None:
        axes.annotate(text, at, xytext=by, textcoords="offset points", **how)

    with style():
        figure = Figure(figsize=(7.6, 4.1), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
        gated = attacker[1]
        heading: Any = {"loc": "left", "fontweight": "bold"}
        above.set_title(
            f"An attacker trains a copy on the answers to {gated['images']:,} foreign images",
            **heading,
        )
        for client, (way, colour), by in zip(
            attacker, (FREE, GATED), ((12, 0), (0, -24)), strict=True
        ):
            x, y = zip(*course(client), strict=True)
            above.plot(x, [100 * each for each in y], color=colour, marker="o", linewidth=2.2)
            text = f"{way}: {percent(client['accuracy'])} after {_total(client)} s"
            sides = {"ha": "left", "va": "center"}
            if client is gated:
                text += f"\n{ratio(client['slowdown'])} as long"
                sides = {"ha": "right", "va": "top"}
            at = (client["seconds"]["total"], 100 * client["accuracy"])
            note(above, text, at, by, color=colour, fontweight="bold", **sides)
        above.axhline(100 * victim, color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
        side: Any = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "top"}
        text = f"the model itself: {percent(victim)}"
        note(above, text, (1, 100 * victim), (0, -4), fontsize=8, **side)
        above.set(ylim=(0, 104), ylabel="accuracy of the copy (%)")
        above.tick_params(axis="x", length=0)

        below.set_title(f"An honest user asks about {user[1]['images']:,} images", **heading)
        for row, (client, (_, colour)) in enumerate(zip(user, (FREE, GATED), strict=True)):
            total = client["seconds"]["total"]
            below.barh(row, total, height=0.7, color=colour)
            text = f"{_total(client)} s"
            if row:
                text += f", {ratio(client['slowdown'])} as long"
            look: Any = {"va": "center", "color": colour, "fontweight": "bold"}
            note(below, text, (total, row), (6, 0), **look)
        below.set_yticks((0, 1), (FREE[0], GATED[0]))
        below.tick_params(axis="y", length=0)
        below.invert_yaxis()
        below.grid(False, axis="y")
        longest = max(client["seconds"]["total"] for client in (*attacker, *user))
        below.set_xlim(0, 1.04 * longest)
        below.set_xlabel("seconds of asking (start-up and training left out)")
        below.xaxis.set_major_locator(MaxNLocator(integer=True))
        return svg(figure, _alt_text(attacker, user))


def _total(client: Summary) -> str:
    return seconds(client["seconds"]["total"])


def _alt_text(attacker: list[Summary], user: list[Summary]) -> str:
    """What the figure shows, in words."""
    ways = (FREE[0], "with it")
    copy = [
        f"{percent(client['accuracy'])} after {_total(client)} seconds of asking {way}"
        for client, way in zip(attacker, ways, strict=True)
    ]
    waits = [f"{_total(client)} seconds {way}" for client, way in zip(user, ways, strict=True)]
    return (
        f"The attacker's copy reaches {' and '.join(copy)}."
        f" An honest user waits {' and '.join(waits)}."
    )
