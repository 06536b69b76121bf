"""The parts that pages have in common: style, sortable tables, figures. All text is escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from experiments.report.figures import Drawing

TEMPLATES = Path(__file__).parents[1] / "templates"


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table: what it shows, what it is sorted by, and where its words lead."""

    text: str
    value: float | int | str | None = None  # None comes last, whichever way the table is sorted
    links: Mapping[str, str] | None = None  # address by word, instead of the text


@dataclass(frozen=True, slots=True)
class Heading:
    """Of a column; columns of words are aligned to the left."""

    text: str
    meaning: str = ""
    words: bool = False


def page(template: str, *, title: str, heading: str | None = None, **parts: str) -> str:
    """A page of its own of a template and its parts; it is headed by its title, or by `heading`."""
    return _read("shell.html").substitute(
        title=title,
        heading=title if heading is None else heading,
        style=_read("page.css").template,
        body=_read(template).substitute(parts, script=_read("sort.js").template),
    )


def _read(name: str) -> Template:
    return Template((TEMPLATES / name).read_text(encoding="utf-8"))


def prose(text: str) -> str:
    """A sentence in which what stands between backticks is code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def table(headings: Sequence[Heading], rows: Iterable[Sequence[Cell]]) -> str:
    """A table that is sorted by a click on a heading."""
    head = "".join(
        f'<th scope="col" aria-sort="none"{_words(heading)}><button type="button"'
        f' title="{escape(heading.meaning)}">{_breaking(heading.text)}</button></th>'
        for heading in headings
    )
    body = "\n".join(
        f"<tr>{''.join(_cell(h, c) for h, c in zip(headings, row, strict=True))}</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll"><table class="sortable"><thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _breaking(text: str) -> str:
    """Text that may be broken behind a slash."""
    return escape(text).replace("/", "/<wbr>")


def _words(heading: Heading) -> str:
    return ' class="word"' if heading.words else ""


def _cell(heading: Heading, cell: Cell) -> str:
    by = "" if cell.value is None else f' data-sort="{escape(str(cell.value))}"'
    text = escape(cell.text)
    if cell.links is not None:
        text = " ".join(
            f'<a href="{escape(address)}">{escape(word)}</a>'
            for word, address in cell.links.items()
        )
    return f"<td{_words(heading)}{by}>{text}</td>"


def items(texts: Iterable[str]) -> str:
    """The points of a list."""
    return "\n".join(f"<li>{escape(text)}</li>" for text in texts)


def terms(pairs: Iterable[tuple[str, str]]) -> str:
    """The pairs of a list of terms."""
    return "\n".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in pairs)


def figures(drawings: Iterable[Drawing]) -> str:
    """Figures with their titles and captions."""
    return "\n".join(
        f"<figure><h3>{escape(d.title)}</h3>{d.svg}"
        f"<figcaption>{escape(d.caption)}</figcaption></figure>"
        for d in drawings
    )
