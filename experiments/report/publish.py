"""What is committed of a run or a sweep: a small summary, and a page and figures made from it.

DIR/summary.json   as of the run (see `summary`) or the sweep, with a title, and rates at which its
                   work could be done elsewhere
DIR/README.md      a function of it
DIR/*.svg          functions of it
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from core.documents import read_json
from core.learning.artifacts import write_atomically
from experiments import folder as folders
from experiments import report
from experiments.folder import SWEEP_FILE
from experiments.report import elsewhere, findings, sweep_findings, sweep_tables
from experiments.report import tables_old as tables
from experiments.report.summary import FORMAT, summarise

if TYPE_CHECKING:
    from experiments.report.figures import Drawing

LIMIT = 200_000  # bytes of a summary
MARK = "<!-- python -m experiments publish made this page of summary.json. -->"

Summary = Mapping[str, Any]


class PublishError(ValueError):
    """A run that is not published, or a folder that cannot take it; one line."""


def publish(run: Path, into: Path, *, title: str = "", modified: bool = False) -> None:
    """Writes what is committed of a run or sweep into a folder of its own.

    Raises PublishError for what is unfinished, was run from a modified tree (unless that is
    `modified`, which the page then says), or is too large, and for a folder of something else;
    FolderError for records that are not whole.
    """
    _claimed(into)
    if (run / SWEEP_FILE).exists():
        from experiments.report import sweep_summary

        summary = sweep_summary.summarise(run)
        wrong = _unfinished_sweep(summary)
    else:
        summary = summarise(folders.read(run))
        wrong = _unfinished_run(summary)
    if wrong:
        raise PublishError(f"{run} is not finished: {wrong}")
    if not modified and (changed := _modified(summary)):
        raise PublishError(f"{run} was not run from a clean revision: {changed} (--modified)")
    more = {
        "title": title or summary["name"],
        "command": without_places(summary["command"]),
        "elsewhere": elsewhere.rates(summary),
    }
    text = report.json_text(committed({**summary, **more}))
    if (size := len(text)) > LIMIT:
        raise PublishError(f"the summary of {run} has {size:,} bytes, expected at most {LIMIT:,}")
    files = {"summary.json": text, **rendered(json.loads(text))}
    into.mkdir(parents=True, exist_ok=True)
    for old in _shown(into) - files.keys():
        (into / old).unlink(missing_ok=True)
    _save(into, files)


def remake(into: Path) -> None:
    """Makes the page and the figures of a published run again. Raises PublishError."""
    _save(into, rendered(read(into)))


def write_docs(docs: Path) -> None:
    """Makes every published page again; see `experiments.docs`."""
    for summary in sorted((docs / "results").glob("*/summary.json")):
        remake(summary.parent)


def read(into: Path) -> dict[str, Any]:
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
    from experiments.report import figures, sweep_figure  # with them comes matplotlib

    swept = summary["kind"] == "sweep"
    drawings = sweep_figure.draw(summary) if swept else figures.draw(summary)
    files = {f"{drawing.name}.svg": drawing.svg + "\n" for drawing in drawings}
    return {"README.md": page(summary, drawings), **files}


def page(summary: Summary, drawings: Iterable[Drawing]) -> str:
    """The page in Markdown."""
    swept = summary["kind"] == "sweep"
    said = (sweep_findings if swept else findings).sentences(summary)
    parts = [f"# {summary['title']}", MARK, summary["question"], _bullets(said)]
    figures = [f"![{d.title}]({d.name}.svg)\n\n{d.title}: {d.caption}" for d in drawings]
    if swept:
        parts += [*figures, sweep_tables.markdown(summary)]
        columns = sweep_tables.columns(summary)
    else:
        for arm in summary["arms"]:
            parts.append(f"Policy `{arm['policy']}`:\n\n{tables.markdown(summary, arm)}")
        parts += figures
        columns = tables.shown(summary)
    parts += [elsewhere.section(summary)]
    parts += [f"## Do it again\n\n    {summary['command']}", report.CAVEAT, _made(summary)]
    meanings = [f"- {column.heading}: {column.meaning}." for column in columns]
    parts.append("## The columns\n\n" + "\n".join(meanings))
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _bullets(texts: Iterable[str]) -> str:
    return "\n".join(f"- {text}" for text in texts)


def _made(summary: Summary) -> str:
    """Where it was run, and from what."""
    origin = summary["provenance"]
    revisions = [origin["git_revision"], *(c["revision"] for c in summary.get("cells", ()))]
    names = findings.listed([str(each)[:7] for each in dict.fromkeys(revisions)])
    clean = "a modified tree at" if _modified(summary) else "revision"
    return (
        f"Run from {clean} {names} on {origin['date'][:10]}: {origin['cpu']}, {origin['cores']}"
        f" cores, {origin['system']}, Python {origin['python']}. All numbers, the scenario and the"
        " versions are in [summary.json](summary.json)."
    )


def _unfinished_run(summary: Summary) -> str:
    ended = [arm["policy"] for arm in summary["arms"] if arm["server_code"] is not None]
    missing = [p for p in summary["scenario"]["server"]["policies"] if p not in ended]
    return f"policy {', '.join(missing)} did not come to its end" if missing else ""


def _unfinished_sweep(summary: Summary) -> str:
    for cell in summary["cells"]:
        if cell["missing"] or not cell["finished"]:
            return f"cell {cell['name']}: {cell['missing'] or 'did not come to its end'}"
    return ""


def _modified(summary: Summary) -> str:
    """What was not run from a clean revision; "" if all was."""
    origin = summary["provenance"]
    if origin["git_revision"] is None or origin.get("git_modified") is not False:
        return "the tree was modified" if origin["git_revision"] else "the revision is not known"
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
    words = shlex.split(command)
    kept: list[str] = []
    for at, word in enumerate(words):
        after = at > 0 and words[at - 1] in ("--home", "--out")
        if not after and word.split("=")[0] not in ("--home", "--out"):
            kept.append(word)
    return shlex.join(kept)


def _claimed(into: Path) -> None:
    """Makes sure that a folder is one of this kind, or none yet. Raises PublishError."""
    if not into.exists():
        return
    if not into.is_dir():
        raise PublishError(f"{into} is not a folder")
    own = {"summary.json", "README.md"}
    found = sorted(each.name for each in into.iterdir())
    foreign = [name for name in found if name not in own and not name.endswith(".svg")]
    if foreign:
        raise PublishError(f"{into} holds something else: {', '.join(foreign[:3])}")
    if found:
        read(into)


def _shown(into: Path) -> set[str]:
    """The figures that the page there shows; there may be others beside them."""
    page = into / "README.md"
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    return set(re.findall(r"^!\[[^]]*\]\(([\w-]+\.svg)\)$", text, flags=re.MULTILINE))


def _save(into: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        write_atomically(into / name, text.encode())


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
