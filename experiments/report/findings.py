"""What a run says, in sentences computed from its summary."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from statistics import median
from typing import Any

from experiments.report import tables_old as tables
from experiments.report.summary import as_planned

FEW = 4  # groups that a sentence names
NOT_APART = 2.0  # below this multiple of what honest clients pay, a thief pays what they may pay

Summary = Mapping[str, Any]


def sentences(summary: Summary) -> list[str]:
    """Three about price, waiting and theft, as far as there was any; then what went wrong."""
    arms = summary["arms"]
    priced = [arm for arm in arms if arm["policy"] != "none"]
    found = [
        _each(priced, _price) or _each(priced, _overhead),
        _each(priced, _delay, "compared with no work, predictions "),
        _theft(summary) or _each(arms, _latency, "an answer "),
    ]
    found = [text for text in found if text]
    if any(group["virtual"] for arm in arms for group in arm["groups"]):
        found.append("Solving times of this run are virtual: drawn, not spent.")
    trouble = [
        f"{c['name']} under {arm['policy']} ({c['status']})"
        for arm in arms
        for c in arm["clients"]
        if not as_planned(c)
    ]
    if trouble:
        found.append(f"Not every client finished: {listed(trouble)}.")
    found += _short_pools(summary)
    found += [
        f"The server under {arm['policy']} did not end well (exit code {arm['server_code']})."
        for arm in arms
        if arm["server_code"] not in (0, None)
    ]
    return found or ["No client got an answer."]


def _short_pools(summary: Summary) -> list[str]:
    """Of thieves who asked for less than their budget because their pool had no more images."""
    short: dict[str, str] = {}
    for arm in summary["arms"]:
        for client in arm["clients"]:
            pool = client.get("pool")
            if pool and client["status"] == "done" and client["images"] < pool["budget"]:
                short[client["name"]] = (
                    f"{client['name']} asked {client['images']:,} images of its budget of"
                    f" {pool['budget']:,}, as its pool has {pool['images']:,}"
                )
    if not short:
        return []
    more = [f"{len(short) - FEW} more did so, too"] if len(short) > FEW else []
    text = "; ".join([*list(short.values())[:FEW], *more])
    return [f"{text[0].upper()}{text[1:]}."]


def listed(parts: list[str]) -> str:
    """Words as a list in a sentence."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def _spanned(said: list[tuple[float, str]]) -> str:
    """What is said of some groups, in their order; of many, of the least and of the largest."""
    if len(said) <= FEW:
        return listed([text for _, text in said])
    low, high = min(said, key=lambda each: each[0]), max(said, key=lambda each: each[0])
    return f"{low[1]} up to {high[1]}, {len(said)} in all,"


def _each(arms: Iterable[Summary], say: Callable[[Summary], str], lead: str = "") -> str:
    """One sentence with what there is to say of each arm; "" if that is nothing."""
    said = [f"under policy {arm['policy']} {text}" for arm in arms if (text := say(arm))]
    text = lead + "; ".join(said)
    return f"{text[0].upper()}{text[1:]}." if said else ""


def _groups(arm: Summary, kind: str, known: str) -> list[Summary]:
    return [group for group in arm["groups"] if group["kind"] == kind and group[known] is not None]


def _price(arm: Summary) -> str:
    thieves = sorted(_groups(arm, "attack", "price_ratio"), key=lambda g: -g["price_ratio"])
    if not thieves:
        return ""
    honest = median(
        client["price_ratio"]
        for client in arm["clients"]
        if client["kind"] == "honest" and client["price_ratio"] is not None
    )
    dear = [group for group in thieves if group["price_ratio"] >= NOT_APART * max(1.0, honest)]
    alike = [group for group in thieves if group not in dear]
    said = []
    if dear:
        each = _spanned(
            [
                (g["price_ratio"], f"{g['name']} {tables.ratio(g['price_ratio'])}{_median(g)}")
                for g in dear
            ]
        )
        said.append(f"an image cost {each} the work of an honest one")
    if alike:
        each = listed([f"{g['name']} ({tables.ratio(g['price_ratio'])})" for g in alike])
        said.append(
            f"the price did not tell {each} from honest clients ({tables.ratio(honest)},"
            " their entry included)"
        )
    return "; ".join(said)


def _overhead(arm: Summary) -> str:
    each = [
        (
            group["overhead"],
            f"{tables.ratio(group['overhead'])} as long for {group['name']}"
            f"{_median(group, 'overhead')}",
        )
        for group in _groups(arm, "honest", "overhead")
    ]
    return f"an answer and its work should take {_spanned(each)} as without work" if each else ""


def _delay(arm: Summary) -> str:
    each = [
        (
            g["slowdown"],
            f"{tables.ratio(g['slowdown'])} as long for {g['name']}"
            + (
                _median(g, "slowdown")
                or f" ({tables.seconds(g['seconds']['total'])} s for {g['images']:,} images)"
            ),
        )
        for g in arm["groups"]
        if g["slowdown"] is not None
    ]
    return f"took {_spanned(each).rstrip(',')}" if each else ""


def _latency(arm: Summary) -> str:
    each = [
        (
            group["latency"]["total"]["p50"],
            f"{group['name']} {tables.duration(group['latency']['total']['p50'])} (99 of 100"
            f" requests at most {tables.duration(group['latency']['total']['p99'])})",
        )
        for group in _groups(arm, "honest", "latency")
    ]
    return f"took {_spanned(each).rstrip(',')}" if each else ""


def _theft(summary: Summary) -> str:
    arm = summary["arms"][-1]
    scored = sorted(_groups(arm, "attack", "accuracy"), key=lambda group: -group["accuracy"])
    each = [
        (
            g["accuracy"],
            f"{g['name']}'s surrogate on {tables.percent(g['accuracy'])} (fidelity"
            f" {tables.percent(g['fidelity'])}, {g['images'] // g['clients']:,} images"
            + (f"; medians of {g['clients']})" if g["clients"] > 1 else ")"),
        )
        for g in scored
    ]
    victim = summary["victim"]["accuracy"]
    if not each or victim is None:
        return ""
    said = f"the victim is right on {tables.percent(victim)}"
    if len(each) > FEW:
        return f"Of held-out images {said}, {_spanned(each).rstrip(',')}."
    return f"Of held-out images {listed([said, *(text for _, text in each)])}."


def _median(group: Summary, quantity: str = "") -> str:
    """That a number is a median, and what 99 of 100 do not exceed; "" for a client alone."""
    if group["clients"] == 1:
        return ""
    most = f"; p99 {tables.ratio(group['p99'][quantity])}" if quantity else ""
    return f" (median of {group['clients']}{most})"
