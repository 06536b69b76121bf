"""Reads documents into dataclasses with pydantic, and names all mistakes at once.

Unknown keys are mistakes, within tables, too. Numbers are bounded by
`Annotated[float, between(0, 1)]`, names by `one_of(...)`; what no annotation can say is checked in
`__post_init__`, which raises ValueError.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, get_args, get_type_hints

from pydantic import AfterValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from core.documents import SHOWN, shown
from core.suggest import suggest

T = TypeVar("T")

EXPECTED: Mapping[str, str] = {
    "bool_type": "true or false",
    "dataclass_type": "a table",
    "dict_type": "a table",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "list_type": "a list",
    "string_type": "a string",
    "tuple_type": "a list",
}
"""What was expected, by pydantic's name of a mistake; for all others its own words."""


class Mistakes(ValueError):
    """A document that does not fit its dataclass. `str()` has one line for each mistake."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = tuple(mistakes)


@contextmanager
def noted(mistakes: list[str]) -> Iterator[None]:
    """Adds what is wrong in a block to the mistakes known so far, and goes on after it."""
    try:
        yield
    except Mistakes as found:
        mistakes += found.mistakes


def between(low: float, high: float) -> Any:
    """The annotation of a number in [low, high]."""

    def check(value: float) -> float:
        if low <= value <= high:
            return value
        raise ValueError(f"is {shown(value)}, expected {low:.12g} to {high:.12g}")

    return AfterValidator(check)


def one_of(known: Collection[str], also: Callable[[str], bool] = lambda _: False) -> Any:
    """The annotation of a string that is among `known`, or that `also` accepts."""

    def check(value: str) -> str:
        if value in known or also(value):
            return value
        raise ValueError(choice(value, known))

    return AfterValidator(check)


def matching(pattern: str, meaning: str) -> Any:
    """The annotation of a string that matches a pattern, which a message calls `meaning`."""

    def check(value: str) -> str:
        if re.fullmatch(pattern, value):
            return value
        raise ValueError(f"is {shown(value)}, expected {meaning}")

    return AfterValidator(check)


def distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    """Refuses a list that is empty or names something twice; for `AfterValidator`."""
    if not values:
        raise ValueError("is [], expected a list of at least one")
    for at, value in enumerate(values):
        if value in values[:at]:
            raise ValueError(f"has {shown(value)} a second time")
    return values


def choice(value: object, known: Collection[str]) -> str:
    """The message about a value that is none of those known."""
    return f"is {shown(value)}, expected one of {', '.join(known)}{suggest(value, known)}"


def unknown(key: str, known: Collection[str]) -> str:
    """The message about a key that is none of those known."""
    return "is not a known key" + (suggest(key, known) or f", known here: {', '.join(known)}")


def validate(kind: type[T], document: object, where: str = "") -> T:
    """A document (as `core.documents` reads it) as a `kind`; only int becomes float.

    `where` is the path of the document within a larger one, and begins each message. Raises
    Mistakes.
    """
    text = json.dumps([document], default=_foreign)  # in JSON a list may be a tuple, strictly
    try:
        found: list[T] = _adapter(kind).validate_json(text, strict=True)  # type: ignore[arg-type]
    except ValidationError as error:
        lines = (_line(kind, mistake, where) for mistake in error.errors())
        raise Mistakes(list(dict.fromkeys(lines))) from error
    return found[0]


def place(where: str, *loc: int | str) -> str:
    """The path of a place within a document, e.g. `clients[2].config.lr`."""
    for part in loc:
        if isinstance(part, int):
            where += f"[{part}]"
        else:
            where += ("." if where else "") + part[:SHOWN]
    return where


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Reads a list of `kind`: pydantic configures no dataclass from outside, but what has one."""
    return TypeAdapter(list[kind], config=ConfigDict(extra="forbid"))


def _foreign(value: object) -> dict[str, str]:
    """What JSON does not have, such as a date, as something that fits no field."""
    return {type(value).__name__: str(value)}


def _line(kind: Any, found: ErrorDetails, where: str) -> str:
    value, rule, loc = found["input"], found["type"], found["loc"][1:]
    match rule:
        case "missing" | "missing_argument":
            text = "is missing"
        case "unexpected_keyword_argument":
            text = unknown(str(loc[-1]), _keys(kind, loc[:-1]))
        case "value_error":
            text = str(found["ctx"]["error"])
        case "literal_error":
            text = choice(value, re.findall("'([^']*)'", found["ctx"]["expected"]))
        case _:
            expected = EXPECTED.get(rule) or found["msg"].removeprefix("Input should be ")
            text = f"is {shown(value)}, expected {expected}"
    return f"{place(where, *loc)} {text}".strip()


def _keys(kind: Any, loc: tuple[int | str, ...]) -> list[str]:
    """The keys of the dataclass at a place of a document."""
    for part in loc:
        if dataclasses.is_dataclass(kind):
            kind = get_type_hints(kind)[str(part)]
        else:  # the items of a list, the values of a dict
            kind = get_args(kind)[0 if isinstance(part, int) else 1]
    return [field.name for field in dataclasses.fields(kind)]
