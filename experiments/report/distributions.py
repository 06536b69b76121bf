"""How what honest clients wait is distributed: a curve a policy, for groups large enough."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from statistics import median

from core.drawing import INK, Figure, Line2D, svg
from experiments.report.figures import CLIENTS, MARKERS, Drawing, LineStyle, Summary
from experiments.report.labels import plain_log
from experiments.report.summary import CROWD

STYLES: tuple[LineStyle, LineStyle] = ("-", "--")
WIDE = 8.0  # a horizontal axis whose ends are further apart than this factor is logarithmic


def overheads(summary: Summary) -> Drawing | None:
    """The share of a group's honest clients up to each overhead, and up to each slowdown."""
    curves = []
    for arm in summary["arms"]:
        for group in arm["groups"]:
            if group["kind"] != "honest" or group["clients"] < CROWD or arm["policy"] == "none":
                continue
            of = [client for client in arm["clients"] if client["group"] == group["name"]]
            curves.append(
                (
                    _name(arm, group),
                    _there([client["overhead"] for client in of]),
                    _there([client["slowdown"] for client in of]),
                )
            )
    return _draw(
        summary,
        curves,
        "overhead",
        "What honest clients wait longer",
        "Share of the honest clients with at most this overhead, (service + work) / service, drawn"
        " through; dashed, the slowdown that was measured; marked, the medians.",
        "times as long as without work",
        "share of clients (%)",
        ("overhead", "slowdown, measured"),
    )


def latencies(summary: Summary) -> Drawing | None:
    """The share of a group's honest requests answered within each number of milliseconds."""
    curves = [
        (
            _name(arm, group),
            [1e3 * value for value in group["quantiles"]["total"]],
            [1e3 * value for value in group["quantiles"]["ask"]],
        )
        for arm in summary["arms"]
        for group in arm["groups"]
        if group["quantiles"]
    ]
    return _draw(
        summary,
        curves,
        "latency",
        "How long honest requests take",
        "Share of honest requests answered within this time, drawn through; dashed, without the"
        " solving; marked, the medians.",
        "milliseconds of predict()",
        "share of requests (%)",
        ("answer", "without solving"),
    )


def _draw(
    summary: Summary,
    curves: Sequence[tuple[str, Sequence[float], Sequence[float]]],
    name: str,
    title: str,
    caption: str,
    across: str,
    up: str,
    kinds: tuple[str, str],
) -> Drawing | None:
    curves = [curve for curve in curves if curve[1] or curve[2]]
    if not curves:
        return None
    figure = Figure(figsize=(5.2, 3.3), layout="constrained")
    axes = figure.add_subplot()
    looks = _looks(summary)
    for label, *both in curves:
        colour, marker = looks[label]
        for values, style in zip(both, STYLES, strict=True):
            if values:
                axes.ecdf([*values], color=colour, linestyle=style)
                axes.plot([median(values)], [0.5], marker, color=colour)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}")
    everything = [value for _, *both in curves for values in both for value in values]
    if max(everything) > WIDE * min(everything) > 0:
        axes.set_xscale("log")
        plain_log(axes)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    names = []
    for label, *_ in curves:
        colour, marker = looks[label]
        names.append(Line2D([], [], color=colour, marker=marker, label=label))
    styles = [
        Line2D([], [], color=INK, linestyle=style, label=kind)
        for kind, style in zip(kinds, STYLES, strict=True)
    ]
    figure.legend(
        handles=[*names, *styles],
        loc="outside upper center",
        ncols=min(4, len(curves) + 2),
        fontsize=8,
    )
    return Drawing(name, title, caption, svg(figure, f"{title}: {caption}"))


def _name(arm: Summary, group: Summary) -> str:
    return f"{group['name']}, {arm['policy']}"


def _looks(summary: Summary) -> dict[str, tuple[str, str]]:
    """Colour and marker of each honest group under each policy, the same in every figure."""
    arms = summary["arms"]
    honest = [_name(a, g) for a in arms for g in a["groups"] if g["kind"] == "honest"]
    return dict(zip(honest, zip(cycle(CLIENTS), cycle(MARKERS), strict=False), strict=False))


def _there(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]
