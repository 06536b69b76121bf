"""Reads documents into dataclasses with pydantic, and names all mistakes at once.

A dataclass that is read this way forbids unknown keys by `__pydantic_config__ = FORBID`. Numbers
are bounded by `Annotated[float, Field(ge=0, le=1)]`; what no annotation can say is checked in
`__post_init__`, which raises ValueError.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from core.documents import SHOWN, shown
from core.suggest import suggest

T = TypeVar("T")

FORBID = ConfigDict(extra="forbid")
"""The configuration of a dataclass whose unknown keys are mistakes."""


class Mistakes(ValueError):
    """A document that does not fit its dataclass. `str()` has one line for each mistake."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = tuple(mistakes)


def validate(kind: type[T], document: object, where: str = "") -> T:
    """A document (as `core.documents` reads it) as a `kind`; only int becomes float.

    `where` is the path of the document within a larger one, and begins each message. Raises
    Mistakes.
    """
    text = json.dumps(document, default=str)  # in JSON a list may be a tuple, strictly
    try:
        return TypeAdapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        raise Mistakes([_line(kind, found, where) for found in error.errors()]) from error


def _line(kind: Any, found: ErrorDetails, where: str) -> str:
    *_, last = found["loc"] or ("",)
    place = _place(found["loc"], where)
    match found["type"]:
        case "missing" | "missing_argument":
            text = "is missing"
        case "extra_forbidden" | "unexpected_keyword_argument":
            known = _keys(kind, found["loc"][:-1])
            text = "is not a known key" + (
                suggest(last, known) or f", known here: {', '.join(known)}"
            )
        case "value_error":
            text = str(found["ctx"]["error"])
        case "literal_error" | "union_tag_invalid":
            choices = str(found["ctx"].get("expected") or found["ctx"]["expected_tags"])
            value = found["input"]
            if isinstance(value, Mapping):  # a table whose tag is unknown
                value = found["ctx"]["tag"]
            names = [part.strip(" '") for part in choices.replace(" or ", ",").split(",")]
            text = f"is {shown(value)}, expected one of {', '.join(names)}{suggest(value, names)}"
        case _:
            expected = found["msg"].removeprefix("Input should be ").removeprefix("an instance of ")
            text = f"is {shown(found['input'])}, expected {expected}"
    return f"{place} {text}".strip()


def _place(loc: Iterable[int | str], where: str) -> str:
    place = where
    for part in loc:
        if isinstance(part, int):
            place += f"[{part}]"
        else:
            place += ("." if place else "") + part[:SHOWN]
    return place


def _keys(kind: Any, loc: Sequence[int | str]) -> list[str]:
    """The keys of the dataclass at a place of a larger one; empty if there is none."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if dataclasses.is_dataclass(kind):
        names = [field.name for field in dataclasses.fields(kind)]
        if not loc:
            return names
        hints = get_type_hints(kind, include_extras=True)
        return _keys(hints[str(loc[0])], loc[1:]) if loc[0] in hints else []
    for inner in get_args(kind):
        rest = loc[1:] if loc and (isinstance(loc[0], int) or get_origin(kind) is dict) else loc
        found = _keys(inner, rest)
        if found:
            return found
    return []
