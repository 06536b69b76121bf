"""What the pages of the attacks, and the overview, say of `strength`: blocks between two marks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from core.learning.artifacts import write_atomically
from experiments.pages import PageError, marks, rewrite
from experiments.strength import paper as strength_paper
from experiments.strength import read
from experiments.strength.plan import BENCHES, Bench
from experiments.strength.tables import (
    PAPER,
    Content,
    Paper,
    Result,
    baseline,
    lines,
    pool,
    published,
    results,
    table,
)

NAME = "strength"
"""Of the blocks."""

OVERVIEW = "strength.md"


def save(folder: Path, kept: Path) -> None:
    """Writes figures into the folder of results, and every page. Raises ArtifactError, PageError.

    Also ValueError for results that cannot be read.
    """
    from experiments.strength.figure import draw  # with it comes matplotlib

    contents, paper = committed(kept)
    for bench in BENCHES:
        if bench.short in contents:
            drawing = draw(contents[bench.short], bench, paper)
            write_atomically(kept / f"{drawing.name}.svg", f"{drawing.svg}\n".encode())
    found = list(pages(folder))
    if not found:
        raise PageError(f"no page in {folder} has a block {NAME}, and there is no {OVERVIEW}")
    for file, attack in found:
        write_atomically(file, written(file, attack, contents, paper).encode())


def committed(kept: Path) -> tuple[Mapping[str, Content], Paper]:
    """The results in a folder by short name of their dataset, and the paper's. Raises ValueError"""
    contents: Mapping[str, Content] = {
        bench.short: read(kept / f"strength-{bench.short}.json")
        for bench in BENCHES
        if (kept / f"strength-{bench.short}.json").exists()
    }
    return contents, strength_paper.read(kept / PAPER)


def page(attack: str, contents: Mapping[str, Content], paper: Paper) -> str:
    """The block of one attack's page: its curve on each dataset, and how to get it again."""
    parts = []
    for bench in BENCHES:
        if bench.short in contents:
            found = results(contents[bench.short], bench)
            for result in found:
                if result.trial.attack == attack:
                    parts.append(_section(result, found, contents[bench.short], bench, paper))
    if not parts:
        parts = ["Not measured: `experiments/strength/plan.py` says what is tried, and on what.\n"]
    return "\n" + "\n".join(parts)


def _section(
    result: Result, found: Sequence[Result], content: Content, bench: Bench, paper: Paper
) -> str:
    trial, victim, cells = result.trial, content["victim"], result.cells
    rival = baseline(trial, found)
    rows = [["queries", "accuracy %", "fidelity %"], ["--:"] * 3]
    rows[0] += ["random %"] * (rival is not None) + ["paper %"] * bool(trial.paper)
    rows[1] += ["--:"] * (len(rows[0]) - 3)
    for queries in _few(result.queries):
        row = [f"{queries:,}", result.accuracy(queries).percent()]
        row.append(result.fidelity(queries).percent())
        if rival is not None:
            row.append(rival.accuracy(queries).percent())
        if trial.paper:
            row.append(published(paper, bench, trial, queries))
        rows.append(row)
    settings = ", ".join(f"{key} {value}" for key, value in trial.config.items())
    revisions = ", ".join(sorted({str(c["provenance"]["git_revision"])[:7] for c in cells}))
    seeds = " ".join(str(cell["seed"]) for cell in cells)
    command = f"python -m experiments strength --dataset {bench.dataset} --attacks {trial.attack}"
    file = f"strength-{bench.short}.json"
    return (
        f"**{bench.title}{f', {trial.variant}' if trial.variant else ''}**: the victim is a"
        f" {victim['network']}, {100 * victim['accuracy']:.2f} % on {victim['images']:,} held-out"
        f" images; {f'pool {pool(trial)}' if trial.pool else 'no pool'}; {settings}.\n\n"
        f"{lines(rows)}\n"
        f"{result.mean('cpu_seconds'):.0f} s of one core, {result.mean('overhead_ms'):.1f} ms of"
        f" overhead a batch. Made by `{command} --seeds {seeds}` at {revisions}"
        f" ([{file}](../results/{file})).\n"
    )


def _few(queries: Sequence[int], most: int = 12) -> list[int]:
    """At most so many of them, evenly, the last one included."""
    if len(queries) <= most:
        return list(queries)
    picked = np.unique(np.linspace(0, len(queries) - 1, most).round().astype(int))
    return [queries[at] for at in picked]


def overview(contents: Mapping[str, Content], paper: Paper) -> str:
    """The block of the overview: a table for each dataset."""
    parts = []
    for bench in BENCHES:
        content = contents.get(bench.short)
        if content is None:
            continue
        victim = content["victim"]
        parts.append(
            f"\n**{bench.title}** (`{bench.dataset}`; victim {victim['network']}, "
            f"{100 * victim['accuracy']:.2f} % on {victim['images']:,} held-out images)\n\n"
            f"{table(content, bench, paper)}"
        )
    return "".join(parts)


def pages(folder: Path) -> Iterator[tuple[Path, str | None]]:
    """The overview beside a folder of attacks' pages, and these: file, and the attack it is of."""
    beside = folder.parent / OVERVIEW
    if beside.is_file():
        yield beside, None
    for file in sorted(folder.glob("*.md")):
        if marks(NAME)[0] in file.read_text(encoding="utf-8"):
            yield file, file.stem


def written(file: Path, attack: str | None, contents: Mapping[str, Content], paper: Paper) -> str:
    """What a page should say. Raises PageError."""
    block = overview(contents, paper) if attack is None else page(attack, contents, paper)
    return rewrite(file.read_text(encoding="utf-8"), NAME, block, where=str(file))


def write_docs(docs: Path) -> None:
    """Writes every page and figure; see `experiments.docs`."""
    save(docs / "attacks", docs / "results")
