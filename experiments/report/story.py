"""The story of one theft in one figure: what a thief gets for his seconds, and what a user waits.

A pure function of a published summary.json, on one scale of seconds for both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from core.drawing import INK, Axes, Figure, MaxNLocator, style, svg
from experiments.folder import FolderError
from experiments.report.compare import load
from experiments.report.tables_old import percent, ratio, seconds

Client = Mapping[str, Any]

FREE, GATED = "#7d7d86", "#d55e00"
NAME = "story.svg"


def save(results: Path, policy: str = "rate", thief: str = "copycat", user: str = "honest") -> Path:
    """Draws the story of a published run into its folder. Raises FolderError."""
    summary = load(results)
    free, gated = (
        {name: _client(summary, each, name) for name in (thief, user)} for each in ("none", policy)
    )
    victim = summary["victim"]["accuracy"]
    if victim is None or free[thief]["accuracy"] is None or gated[thief]["accuracy"] is None:
        raise FolderError(f"the run has no surrogate of {thief!r} that was scored")
    text = draw((free[thief], gated[thief]), (free[user], gated[user]), victim)
    file = results / NAME
    file.write_text(text, encoding="utf-8")
    return file


def _client(summary: Mapping[str, Any], policy: str, name: str) -> Client:
    for arm in summary["arms"]:
        for client in arm["clients"]:
            if (arm["policy"], client["name"]) == (policy, name):
                return client  # type: ignore[no-any-return]
    raise FolderError(f"the run has no client {name!r} under policy {policy!r}")


def course(thief: Client) -> list[tuple[float, float]]:
    """(seconds, accuracy) of each surrogate; seconds of asking only.

    Start-up and training are his own affair and left out: counted back from the total of predict()
    by the time between two checkpoints, less the training in it.
    """
    at, points = thief["seconds"]["total"], []
    later = None
    for point in reversed(thief["checkpoints"]):
        if later is not None:
            at -= later["at"] - later["train_seconds"] - point["at"]
        points.append((at, point["accuracy"]))
        later = point
    return points[::-1]


def draw(thief: tuple[Client, Client], user: tuple[Client, Client], victim: float) -> str:
    """The figure as SVG; of both clients what they did without the gate and with it."""
    with style():
        figure = Figure(figsize=(7.6, 4.1), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
        _theft(above, thief, victim)
        _waiting(below, user)
        longest = max(client["seconds"]["total"] for client in (*thief, *user))
        below.set_xlim(0, 1.04 * longest)
        below.set_xlabel("seconds of asking (start-up and training left out)")
        below.xaxis.set_major_locator(MaxNLocator(integer=True))
        return svg(figure, _told(thief, user))


def _theft(axes: Axes, thief: tuple[Client, Client], victim: float) -> None:
    free, gated = thief
    axes.set_title(
        f"A thief trains a copy on the answers to {gated['images']:,} foreign images",
        loc="left",
        fontweight="bold",
    )
    for client, colour in ((free, FREE), (gated, GATED)):
        x, y = zip(*course(client), strict=True)
        axes.plot(x, [100 * each for each in y], color=colour, marker="o", linewidth=2.2)
    for client, colour, text, place, side in (
        (free, FREE, "without the gate", (12, 0), "left"),
        (gated, GATED, "with the gate", (0, -24), "right"),
    ):
        longer = f"\n{ratio(client['slowdown'])} as long" if client is gated else ""
        axes.annotate(
            f"{text}: {percent(client['accuracy'])} after {_of(client)} s{longer}",
            (client["seconds"]["total"], 100 * client["accuracy"]),
            xytext=place,
            textcoords="offset points",
            ha=side,
            va="center" if side == "left" else "top",
            color=colour,
            fontweight="bold",
        )
    axes.axhline(100 * victim, color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
    axes.annotate(
        f"the model itself: {percent(victim)}",
        (1, 100 * victim),
        xycoords=("axes fraction", "data"),
        xytext=(0, -4),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=8,
    )
    axes.set_ylim(0, 104)
    axes.set_ylabel("accuracy of the copy (%)")
    axes.tick_params(axis="x", length=0)


def _waiting(axes: Axes, user: tuple[Client, Client]) -> None:
    axes.set_title(
        f"An honest user asks about {user[1]['images']:,} images", loc="left", fontweight="bold"
    )
    texts = (f"{_of(user[0])} s", f"{_of(user[1])} s, {ratio(user[1]['slowdown'])} as long")
    for row, (client, colour, text) in enumerate(zip(user, (FREE, GATED), texts, strict=True)):
        length = client["seconds"]["total"]
        axes.barh(row, length, height=0.7, color=colour)
        axes.annotate(
            text,
            (length, row),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            fontweight="bold",
        )
    axes.set_yticks((0, 1), ("without the gate", "with the gate"))
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.grid(False, axis="y")


def _of(client: Client) -> str:
    return seconds(client["seconds"]["total"])


def _told(thief: tuple[Client, Client], user: tuple[Client, Client]) -> str:
    """The figure in words, for who cannot see it."""
    copy, waits = [], []
    for one, other, way in zip(thief, user, ("without the gate", "with it"), strict=True):
        copy.append(f"{percent(one['accuracy'])} after {_of(one)} seconds of asking {way}")
        waits.append(f"{_of(other)} seconds {way}")
    return (
        f"The thief's copy reaches {' and '.join(copy)}."
        f" An honest user waits {' and '.join(waits)}."
    )


@dataclass(frozen=True, slots=True)
class Flags:
    """Draw the README's figure: what a thief gets for his seconds, and what a user waits."""

    folder: tyro.conf.Positional[Path] = Path("docs/results/demo")
    """The folder of a run, fresh or published; the figure is its story.svg."""
    thief: str = "copycat"
    user: str = "honest"
    policy: str = "rate"
    """Held against policy none."""


def run(flags: Flags) -> None:
    """Draws the story of a theft."""
    print(save(flags.folder, policy=flags.policy, thief=flags.thief, user=flags.user))
