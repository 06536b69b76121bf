"""What is committed of a run or a sweep: a small summary, and a page and figures made from it.

DIR/summary.json   as of the run or the sweep (see `experiments.summary`), with a title, and
                   "elsewhere": rates of hardware that could do its work
DIR/README.md      a function of it
DIR/*.svg          functions of it
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from core.documents import read_json
from core.learning.artifacts import write_atomically
from experiments.docs import write_block
from experiments.records import SWEEP_FILE, read
from experiments.report import hardware_times
from experiments.report.headlines import headlines
from experiments.report.page import json_text, render
from experiments.report.tables import Column, by_policy, columns, markdown, rows
from experiments.summary import FORMAT, Summary, summarise, summarise_sweep

LIMIT = 200_000  # bytes of a summary
README = ("client", "images", "accuracy", "work/image", "total (s)", "slowdown", "price ratio")
"""Headings of the columns that the README shows of the demo."""


class PublishError(ValueError):
    """A run that is not published, or a folder that cannot take it; one line."""


@dataclass(frozen=True, slots=True)
class Flags:
    """Write what is committed of a run or a sweep: a small summary, a page, figures."""

    run: tyro.conf.Positional[Path]
    """The folder of a run or of a sweep that came to its end, from a clean revision."""
    folder: tyro.conf.Positional[Path]
    """The folder to write: docs/results/NAME."""
    title: str = ""
    """Of the page (default: the scenario's name)."""
    modified: bool = False
    """Take what was run from a modified tree, too; the page says so."""


def run(flags: Flags) -> None:
    """Writes what is committed of a run or a sweep."""
    publish(flags.run, flags.folder, title=flags.title, modified=flags.modified)


def publish(run: Path, into: Path, *, title: str = "", modified: bool = False) -> None:
    """Writes what is committed of a run or sweep into a folder of its own.

    Raises PublishError for what is unfinished, was run from a modified tree (unless that is
    `modified`, which the page then says), or is too large, and for a folder of something else;
    FolderError for records that are not whole.
    """
    _check_folder(into)
    swept = (run / SWEEP_FILE).exists()
    summary = summarise_sweep(run) if swept else summarise(read(run))
    if unfinished := _unfinished(summary):
        raise PublishError(f"{run} is not finished: {unfinished}")
    if not modified and (changed := modified_tree(summary)):
        raise PublishError(f"{run} was not run from a clean revision: {changed} (--modified)")
    more = {
        "title": title or summary["name"],
        "command": without_places(summary["command"]),
        "elsewhere": hardware_times.rates(summary),
    }
    text = json_text(committed({**summary, **more}))
    if (size := len(text)) > LIMIT:
        raise PublishError(f"the summary of {run} has {size:,} bytes, expected at most {LIMIT:,}")
    files = {"summary.json": text, **rendered(json.loads(text))}
    page = into / "README.md"
    before = page.read_text(encoding="utf-8") if page.exists() else ""
    for old in re.findall(r"^!\[[^]]*\]\(([\w-]+\.svg)\)$", before, flags=re.MULTILINE):
        if old not in files:  # the page there shows it; others may be somebody else's
            (into / old).unlink(missing_ok=True)
    _save(into, files)


def remake(into: Path) -> None:
    """Makes the page and the figures of a published run again. Raises PublishError."""
    _save(into, rendered(read_published(into)))


def write_docs(docs: Path) -> None:
    """Makes every published page and the README's tables again; see `experiments.docs`."""
    for summary in sorted((docs / "results").glob("*/summary.json")):
        remake(summary.parent)
    write_block(docs.parent / "README.md", "demo", readme_tables(docs / "results" / "demo"))


def readme_tables(into: Path) -> str:
    """What the README shows of a published run: the rest is on its page."""
    demo = read_published(into)
    return "\n".join(_tables(demo, [each for each in columns(demo) if each.heading in README]))


def read_published(into: Path) -> dict[str, Any]:
    """The summary of a published run. Raises PublishError."""
    path = into / "summary.json"
    try:
        summary: dict[str, Any] = read_json(path)
        if summary["format"] != FORMAT:
            raise ValueError(f"format {summary['format']!r}, expected {FORMAT}")
        summary["title"], summary["elsewhere"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PublishError(f"{path} is not the summary of a published run: {error!r}") from error
    return summary


def rendered(summary: Summary) -> dict[str, str]:
    """The page and the figures by file name."""
    from experiments.report import figures  # with it comes matplotlib

    drawings, found = figures.draw(summary), columns(summary)
    times, work = hardware_times.times(summary)
    cells = summary.get("cells", ())
    revisions = [summary["provenance"]["git_revision"], *(each["revision"] for each in cells)]
    text = render(
        "published.md",
        summary=summary,
        headlines=headlines(summary),
        tables=_tables(summary, found),
        drawings=drawings,
        times=markdown(times, work) if work else "",
        tree="a modified tree at" if modified_tree(summary) else "revision",
        revisions=", ".join(dict.fromkeys(str(each)[:7] for each in revisions)),
        columns=[each for each in found if not each.code and each.heading != "policy"],
    )
    return {"README.md": text, **{f"{each.name}.svg": each.svg + "\n" for each in drawings}}


def _tables(summary: Summary, found: list[Column]) -> list[str]:
    """A table for each policy of a run, of a sweep one."""
    if summary["kind"] == "sweep":
        return [markdown(found, rows(summary))]
    found = [each for each in found if each.heading != "policy"]
    return [
        f"Policy `{policy}`:\n\n{markdown(found, lines)}"
        for policy, lines in by_policy(rows(summary)).items()
    ]


def _unfinished(summary: Summary) -> str:
    """What did not come to its end; "" if all did."""
    for cell in summary.get("cells", ()):
        if cell["missing"] or not cell["finished"]:
            return f"cell {cell['name']}: {cell['missing'] or 'did not come to its end'}"
    if summary["kind"] == "sweep":
        return ""
    ended = [arm["policy"] for arm in summary["arms"] if arm["server_code"] is not None]
    missing = [p for p in summary["scenario"]["server"]["policies"] if p not in ended]
    return f"policy {', '.join(missing)} did not come to its end" if missing else ""


def modified_tree(summary: Summary) -> str:
    """What was not run from a clean revision; "" if all was."""
    origin = summary["provenance"]
    if origin["git_revision"] is None:
        return "the revision is not known"
    if origin.get("git_modified") is not False:
        return "the tree was modified"
    for cell in summary.get("cells", ()):
        if cell["revision"] is None or cell["modified"] is not False:
            return f"the tree was modified when cell {cell['name']} was run"
    return ""


def committed(value: Any) -> Any:
    """The same as it is committed: numbers to six digits, no folders of this machine.

    Of an absolute path in a text, its last word is kept.
    """
    if isinstance(value, Mapping):
        return {key: committed(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [committed(each) for each in value]
    if isinstance(value, float):
        return float(f"{value:.6g}")
    return re.sub(r"(?<![\w./])/(?:[^/\s\"']+/)+", "", value) if isinstance(value, str) else value


def without_places(command: str) -> str:
    """A command without --home and --out, which name places of one machine."""
    words, places = shlex.split(command), {"--home", "--out"}
    both = zip(["", *words], words, strict=False)
    return shlex.join(word for before, word in both if not {before, word.split("=")[0]} & places)


def _check_folder(into: Path) -> None:
    """Makes sure that a folder is one of this kind, or none yet. Raises PublishError."""
    if into.exists() and not into.is_dir():
        raise PublishError(f"{into} is not a folder")
    found = sorted(each.name for each in into.glob("*"))
    own = re.compile(r"summary\.json|README\.md|.*\.svg")
    if foreign := [name for name in found if not own.fullmatch(name)]:
        raise PublishError(f"{into} holds something else: {', '.join(foreign[:3])}")
    if found:
        read_published(into)


def _save(into: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        write_atomically(into / name, text.encode())
