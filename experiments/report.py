"""The page of a run: one HTML file that needs nothing else, made from records alone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from experiments import folder as folders
from experiments import tables
from experiments.summary import summarise

TEMPLATE = Path(__file__).parent / "templates" / "report.html"
NOT_APART = 2.0  # below this price ratio a thief pays about what an honest client may pay

CAVEAT = (
    "Work rests on this machine's calibration, seconds also on what else it did, accuracy on"
    " neither. The privacy cost is an information score, not a differential-privacy guarantee."
)

Summary = Mapping[str, Any]


def write(folder: Path) -> Path:
    """Makes summary.json, figures/*.svg and report.html of a run folder; returns the page.

    Raises FolderError for a folder whose records are not whole; nothing is written then.
    """
    from experiments import figures  # with it comes matplotlib

    run = folders.read(folder)
    summary = summarise(run)
    drawings = figures.draw(run)
    text = page(summary, drawings)
    _write(folder / "summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
    (folder / "figures").mkdir(exist_ok=True)
    for drawing in drawings:
        _write(folder / "figures" / f"{drawing.name}.svg", drawing.svg)
    _write(folder / "report.html", text)
    return folder / "report.html"


def _write(path: Path, text: str) -> None:
    """Replaces a file at once, so that a reader never sees half of it."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def page(summary: Summary, drawings: Iterable[Any]) -> str:
    """The page as HTML; every text from outside is escaped."""
    columns = tables.shown(summary)
    scenario = summary["scenario"]
    victim = summary["victim"]
    about = f"{victim['network']} on {victim['dataset']}, measure {scenario['server']['measure']}"
    about += f", seed {scenario['seed']}"
    if victim["accuracy"] is not None:
        about += f"; the victim is right on {tables.percent(victim['accuracy'])} of held-out images"
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escape(f"powgate: {summary['name']}"),
        about=escape(about + "."),
        findings="\n".join(f"<li>{escape(sentence)}</li>" for sentence in sentences(summary)),
        headings="".join(
            f'<th{_word(c)} title="{escape(c.meaning)}">{escape(c.heading)}</th>' for c in columns
        ),
        rows="\n".join(_rows(summary, columns)),
        troubles="\n".join(_troubles(summary)),
        meanings="\n".join(
            f"<dt>{escape(c.heading)}</dt><dd>{escape(c.meaning)}</dd>" for c in columns
        ),
        figures="\n".join(
            f"<figure><h3>{escape(d.title)}</h3>{d.svg}"
            f"<figcaption>{escape(d.caption)}</figcaption></figure>"
            for d in drawings
        ),
        command=escape(summary["command"]),
        caveat=escape(CAVEAT),
        provenance="\n".join(
            f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in _origin(summary)
        ),
        calibration=escape(json.dumps(summary["calibration"], indent=2)),
        scenario=escape(json.dumps(scenario, indent=2)),
    )


def sentences(summary: Summary) -> list[str]:
    """What the run says, in a few sentences computed from its summary."""
    found = []
    for arm in summary["arms"]:
        if arm["policy"] != "none":
            found += [text for text in (_price(arm), _delay(arm)) if text]
    found += [text for text in (_theft(summary),) if text]
    if any(client["virtual"] for arm in summary["arms"] for client in arm["clients"]):
        found.append("Solving times of this run are virtual: drawn, not spent.")
    trouble = [
        f"{c['name']} under {arm['policy']} ({c['status']})"
        for arm in summary["arms"]
        for c in arm["clients"]
        if c["status"] != "done"
    ]
    if trouble:
        found.append(f"Not every client finished: {_list(trouble)}.")
    found += [
        f"The server under {arm['policy']} did not end well (exit code {arm['server_code']})."
        for arm in summary["arms"]
        if arm["server_code"] not in (0, None)
    ]
    return found or ["No client got an answer."]


def _price(arm: Summary) -> str:
    priced = [c for c in arm["clients"] if c["kind"] == "attack" and c["price_ratio"] is not None]
    if not priced:
        return ""
    priced.sort(key=lambda c: -c["price_ratio"])
    apart = [c for c in priced if c["price_ratio"] >= NOT_APART]
    alike = [c for c in priced if c["price_ratio"] < NOT_APART]
    text = f"Under policy {arm['policy']} "
    if apart:
        each = _list([f"{c['name']} {tables.ratio(c['price_ratio'])}" for c in apart])
        text += f"an image cost {each} the work of an honest one"
    if alike:
        each = _list([f"{c['name']} ({tables.ratio(c['price_ratio'])})" for c in alike])
        text += f"{'; ' if apart else ''}the price did not tell {each} from an honest client"
    return text + "."


def _delay(arm: Summary) -> str:
    each = [
        f"{tables.ratio(c['slowdown'])} as long for {c['name']}"
        f" ({tables.seconds(c['seconds']['total'])} s for {c['images']:,} images)"
        for c in arm["clients"]
        if c["slowdown"] is not None
    ]
    if not each:
        return ""
    return f"Compared with no work, predictions under policy {arm['policy']} took {_list(each)}."


def _theft(summary: Summary) -> str:
    arm = summary["arms"][-1]
    scored = [c for c in arm["clients"] if c["accuracy"] is not None]
    scored.sort(key=lambda c: -c["accuracy"])
    each = [
        f"{c['name']}'s surrogate on {tables.percent(c['accuracy'])} (fidelity"
        f" {tables.percent(c['fidelity'])}, {c['images']:,} images)"
        for c in scored
    ]
    victim = summary["victim"]["accuracy"]
    if not each or victim is None:
        return ""
    each = [f"the victim is right on {tables.percent(victim)}", *each]
    return f"Of held-out images {_list(each)}."


def _list(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def _word(column: tables.Column) -> str:
    return ' class="word"' if column.heading in ("client", "status") else ""


def _rows(summary: Summary, columns: list[tables.Column]) -> Iterable[str]:
    for arm in summary["arms"]:
        title = escape(f"policy {arm['policy']}")
        yield f'<tr class="arm"><td colspan="{len(columns)}">{title}</td></tr>'
        for client in arm["clients"]:
            cells = (f"<td{_word(c)}>{escape(tables.cell(c, client))}</td>" for c in columns)
            yield f"<tr>{''.join(cells)}</tr>"


def _troubles(summary: Summary) -> Iterable[str]:
    for arm in summary["arms"]:
        for client in arm["clients"]:
            if client["status"] != "done":
                who = f"{client['name']} under {arm['policy']}: {client['status']}"
                yield (
                    f'<p class="warn">{escape(who)}</p><pre>{escape(client["reason"] or "–")}</pre>'  # noqa: RUF001
                )


def _origin(summary: Summary) -> Iterable[tuple[str, str]]:
    for key, value in summary["provenance"].items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{name} {version}" for name, version in value.items() if version)
        yield key.replace("_", " "), "unknown" if value is None else str(value)
    for arm in summary["arms"]:
        if arm["load"]:
            load = arm["load"]
            yield (
                f"load average, {arm['policy']}",
                f"{load['mean']:.2f} on average, {load['max']:.2f} at most",
            )
