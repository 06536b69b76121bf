"""The page of `defences`: a pure function of committed results, written between two marks.

A number over several seeds is their mean and half the width of its 95 % interval (Student's t).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.learning.artifacts import write_atomically
from experiments.defences import read
from experiments.defences.figure import CAPTION, draw
from experiments.defences.plan import BENCHES, REDIRECTION, Bench, Learnt, Perturb, label
from experiments.pages import rewrite
from experiments.strength.tables import NOTHING, estimate, lines

NAME = "defences"
"""Of the block."""

Cells = Sequence[Mapping[str, Any]]


def save(page: Path, kept: Path) -> None:
    """Rewrites the block of the page, and the figures, from the results in a folder.

    Raises PageError, ArtifactError, and ValueError for results that cannot be read.
    """
    text = rewrite(page.read_text(encoding="utf-8"), NAME, block(kept), where=str(page))
    for bench in BENCHES:
        file = kept / f"defences-{bench.short}.json"
        if file.exists():
            drawing = draw(read(file), bench)
            write_atomically(kept / f"{drawing.name}.svg", f"{drawing.svg}\n".encode())
    write_atomically(page, text.encode())


def block(kept: Path) -> str:
    """All tables, in Markdown. Raises ValueError for results that cannot be read."""
    parts: list[str] = []
    for bench in BENCHES:
        file = kept / f"defences-{bench.short}.json"
        if file.exists():
            parts += _dataset(read(file), bench, file.name)
    return "\n".join(parts) or "Nothing has been measured yet (`python -m experiments defences`).\n"


def _dataset(content: Mapping[str, Any], bench: Bench, file: str) -> Iterator[str]:
    shields = [label(shield) for shield in bench.shields]
    thefts, benign, wire = content["thefts"], content["benign"], content["wire"]
    if thefts:
        victim = content["victim"]
        revisions = sorted({str(c["provenance"]["git_revision"])[:7] for c in [*thefts, *benign]})
        queries = sorted({cell["queries"] for cell in thefts})
        yield (
            f"### {bench.title}\n\n"
            f"{victim['network']}, {_percent([victim['accuracy']])} % right on"
            f" {victim['images']:,} held-out images; thieves ask"
            f" {' or '.join(f'{n:,}' for n in queries)} images. Clones: accuracy (fidelity), in %."
            f" [{file}](results/{file}), made at {', '.join(revisions)} by"
            f" `python -m experiments defences --dataset {bench.dataset}`.\n"
        )
        yield lines(_clones(thefts, shields, [thief.name for thief in bench.thieves]))
        yield f"![{CAPTION}](results/defences-{bench.short}.svg)\n"
        yield (
            "What that costs: honest users' accuracy in %, mean L1 moved on their images and on"
            " those of each thief, and CPU milliseconds an image.\n"
        )
        pools = {thief.pool: thief.name for thief in reversed(bench.thieves)}  # the first of each
        yield lines(_costs(benign, thefts, shields, list(reversed(pools.values()))))
    if wire:
        revisions = sorted({str(cell["provenance"]["git_revision"])[:7] for cell in wire})
        yield (
            f"### {bench.title}, with and without proof of work, over loopback\n\n"
            f"The same victim and thieves, each a process, beside an honest user; all ask at once,"
            f" without work and with the work that policy `rate` asks. An image: milliseconds of"
            f" the client's wall time, on a machine that had other work, too; solving is drawn, not"
            f" spent; work in hashes; the server's CPU time is that of victim and defence, from the"
            f" table above. Made at {', '.join(revisions)} by"
            f" `python -m experiments defences --dataset {bench.dataset} --wire`.\n"
        )
        yield lines(_wire(wire, benign, [label(shield) for shield in bench.wire]))
    if content["learning"]:
        revisions = sorted({str(c["provenance"]["git_revision"])[:7] for c in content["learning"]})
        yield (
            f"### {bench.title}, by what the surrogates have learnt\n\n"
            f"{label(REDIRECTION)} against `{bench.thieves[0].name}`: how often a surrogate is"
            f" right on held-out images, how often the best score is that of the surrogates' own"
            f" class, what honest users get, and the accuracy of clones, in %. Made at"
            f" {', '.join(revisions)} by"
            f" `python -m experiments defences --dataset {bench.dataset} --learning`.\n"
        )
        yield lines(_learning(content["learning"], bench))


def _clones(thefts: Cells, shields: Sequence[str], thieves: Sequence[str]) -> list[list[str]]:
    rows = [["defence", "seeds", *thieves], ["---", "--:", *["--:"] * len(thieves)]]
    for shield in shields:
        mine = [cell for cell in thefts if cell["defence"] == shield]
        if not mine:
            continue
        columns = []
        for thief in thieves:
            cells = [cell for cell in mine if cell["thief"] == thief]
            columns.append(_clone(cells))
        rows.append([shield, str(len({cell["seed"] for cell in mine})), *columns])
    return rows


def _clone(cells: Cells) -> str:
    """Accuracy, and fidelity in brackets; of an honest user there is none."""
    if not any(cell["accuracy"] is not None for cell in cells):
        return NOTHING
    accuracy = _percent([cell["accuracy"] for cell in cells])
    return f"{accuracy} ({_percent([cell['fidelity'] for cell in cells], interval=False)})"


def _costs(
    benign: Cells, thefts: Cells, shields: Sequence[str], thieves: Sequence[str]
) -> list[list[str]]:
    head = ["defence", "honest accuracy", "top class kept", "L1, honest"]
    head += [*(f"L1, {thief}" for thief in thieves), "victim ms", "defence ms"]
    rows = [head, ["---", *["--:"] * (len(head) - 1)]]
    for shield in shields:
        mine = [cell for cell in benign if cell["defence"] == shield]
        if not mine:
            continue
        row = [shield, _percent([cell["accuracy"] for cell in mine])]
        row.append(_percent([cell["kept"] for cell in mine], interval=False))
        row.append(_plain([cell["l1"] for cell in mine]))
        for thief in thieves:
            asked = [c["l1"] for c in thefts if (c["defence"], c["thief"]) == (shield, thief)]
            row.append(_plain(asked))
        row += [_plain([cell[name] for cell in mine]) for name in ("victim_ms", "defence_ms")]
        rows.append(row)
    return rows


def _wire(wire: Cells, benign: Cells, shields: Sequence[str]) -> list[list[str]]:
    """A row for each client, whose arms are side by side."""
    policies = list(dict.fromkeys(cell["policy"] for cell in wire))
    priced = [policy for policy in policies if policy != "none"]
    head = ["defence", "client", "seeds", *(f"clone, {policy}" for policy in policies)]
    head += [f"client ms, {policy}" for policy in policies]
    head += [f"{name}, {policy}" for policy in priced for name in ("of it solving", "work")]
    rows = [[*head, "server CPU ms"], ["---", "---", *["--:"] * (len(head) - 1)]]
    for shield in shields:
        mine = [cell for cell in wire if cell["defence"] == shield]
        spent = [c["victim_ms"] + c["defence_ms"] for c in benign if c["defence"] == shield]
        for client in dict.fromkeys(cell["client"] for cell in mine):
            arms = {
                policy: [c for c in mine if (c["client"], c["policy"]) == (client, policy)]
                for policy in policies
            }
            row = [shield, client, str(len(arms[policies[0]]))]
            row += [_clone(arms[policy]) for policy in policies]
            row += [_plain([1e3 * c["total_seconds"] for c in arms[policy]]) for policy in policies]
            for policy in priced:
                row.append(_plain([1e3 * cell["solve_seconds"] for cell in arms[policy]]))
                row.append(f"{estimate([c['work_per_image'] for c in arms[policy]]).mean:,.0f}")
            rows.append([*row, _plain(spent)])
    return rows


def _learning(cells: Cells, bench: Bench) -> list[list[str]]:
    head = ["surrogates learnt", "seeds", "right", "own class, honest", "own class, thief's"]
    head += ["honest accuracy", "L1, honest"]
    head += [f"clone of {queries:,}" for queries in bench.learnt_queries]
    rows = [head, ["---", *["--:"] * (len(head) - 1)]]
    for learnt in (None, *bench.learnt):
        shield = label(Perturb() if learnt is None else REDIRECTION)
        wanted = asdict(learnt or Learnt())
        mine = [
            cell
            for cell in cells
            if cell["defence"] == shield and all(cell[k] == v for k, v in wanted.items())
        ]
        if not mine:
            continue
        once = [cell for cell in mine if cell["queries"] == mine[0]["queries"]]
        said = "no defence" if learnt is None else _learnt(learnt)
        rows.append(
            [
                *(said, str(len(once))),
                *(
                    _percent([cell.get(name) for cell in once], interval=False)
                    for name in ("right", "own_class_honest", "own_class_asked", "honest_accuracy")
                ),
                _plain([cell["honest_l1"] for cell in once if "honest_l1" in cell]),
                *(
                    _percent([cell["accuracy"] for cell in mine if cell["queries"] == queries])
                    for queries in bench.learnt_queries
                ),
            ]
        )
    return rows


def _learnt(learnt: Learnt) -> str:
    if not learnt.epochs:
        return "nothing"
    whose = "own images" if learnt.source == "own" else "of the images asked"
    times = "once" if learnt.epochs == 1 else f"{learnt.epochs} times"
    return f"{learnt.images:,} {whose}, {times}"


def _percent(values: Sequence[float | None], *, interval: bool = True) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return NOTHING
    found = estimate(known)
    half = "" if found.half is None or not interval else f" ± {100 * found.half:.1f}"
    return f"{100 * found.mean:.1f}{half}"


def _plain(values: Sequence[float]) -> str:
    return f"{estimate(values).mean:.3g}" if values else NOTHING


def write_docs(docs: Path) -> None:
    """Writes the page and its figures; see `experiments.docs`."""
    save(docs / "defences.md", docs / "results")
