"""Reads documents into dataclasses with pydantic, and names all mistakes at once.

A dataclass that is read this way forbids unknown keys by `__pydantic_config__ = FORBID`. Numbers
are bounded by `Annotated[float, between(0, 1)]`, names by `one_of(...)`; what no annotation can say
is checked in `__post_init__`, which raises ValueError.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from core.documents import SHOWN, shown
from core.suggest import suggest

T = TypeVar("T")
Loc = tuple[int | str, ...]

FORBID = ConfigDict(extra="forbid")
"""The configuration of a dataclass whose unknown keys are mistakes."""

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

BOUNDS = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")


class Mistakes(ValueError):
    """A document that does not fit its dataclass. `str()` has one line for each mistake."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = tuple(mistakes)


def between(low: float, high: float) -> Any:
    """The annotation of a number in [low, high]."""
    return Field(ge=low, le=high)


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
    text = json.dumps(document, default=_foreign)  # in JSON a list may be a tuple, strictly
    try:
        found: T = _adapter(kind).validate_json(text, strict=True)  # type: ignore[arg-type]
    except ValidationError as error:
        lines = (_line(kind, document, found, where) for found in error.errors())
        raise Mistakes(list(dict.fromkeys(lines))) from error
    return found


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
    return TypeAdapter(kind)


def _foreign(value: object) -> dict[str, str]:
    """What JSON does not have, such as a date, as something that fits no field."""
    return {type(value).__name__: str(value)}


def _line(kind: Any, document: object, found: ErrorDetails, where: str) -> str:
    value, rule = found["input"], found["type"]
    missing = rule in ("missing", "missing_argument")
    loc, kinds = _follow(kind, document, found["loc"][:-1] if missing else found["loc"])
    match rule:
        case "missing" | "missing_argument":
            loc, text = (*loc, found["loc"][-1]), "is missing"
        case "extra_forbidden" | "unexpected_keyword_argument":
            _, kinds = _follow(kind, document, found["loc"][:-1])
            text = unknown(str(loc[-1]), _keys(kinds))
        case "value_error":
            text = str(found["ctx"]["error"])
        case "literal_error":
            text = choice(value, _quoted(found["ctx"]["expected"]))
        case "union_tag_invalid":  # a table whose tag is unknown
            text = choice(found["ctx"]["tag"], _quoted(found["ctx"]["expected_tags"]))
            loc = (*loc, found["ctx"]["discriminator"].strip("'"))
        case "union_tag_not_found" if isinstance(value, Mapping):
            loc, text = (*loc, found["ctx"]["discriminator"].strip("'")), "is missing"
        case "union_tag_not_found":
            text = f"is {shown(value)}, expected a table"
        case _:
            expected = EXPECTED.get(rule) or found["msg"].removeprefix("Input should be ")
            if rule in BOUNDS:
                expected = next(filter(None, map(_range, kinds)), expected)
            text = f"is {shown(value)}, expected {expected}"
    return f"{place(where, *loc)} {text}".strip()


def _quoted(names: str) -> list[str]:
    """Names as pydantic lists them: `'a', 'b' or 'c'`."""
    return re.findall(r"'([^']*)'", names)


def _follow(kind: Any, document: Any, loc: Loc) -> tuple[Loc, list[Any]]:
    """A place of a document, and the types that may be there; tags of unions are no places."""
    path: Loc = ()
    kinds = [kind]
    for part in loc:
        alike = [each for kind in kinds for each in _alternatives(kind)]
        if isinstance(document, Mapping) and part in document:
            kinds = [each for kind in alike for each in _field(kind, str(part))]
        elif isinstance(document, list | tuple) and isinstance(part, int):
            kinds = [get_args(kind)[0] for kind in alike if get_args(kind)]
        else:
            kinds = [each for each in alike if part in _tags(each)] or kinds
            continue
        document = document[part]
        path = (*path, part)
    return path, kinds


def _alternatives(kind: Any) -> list[Any]:
    """The members of a union, without their annotations; of all else, itself."""
    if get_origin(kind) is Annotated:
        return _alternatives(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return [each for member in get_args(kind) for each in _alternatives(member)]
    return [kind]


def _field(kind: Any, name: str) -> list[Any]:
    """The type of a field of a dataclass, or of a value of a dict."""
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind, include_extras=True)
        return [hints[name]] if name in hints else []
    return [get_args(kind)[1]] if get_origin(kind) in (dict, Mapping) else []


def _tags(kind: Any) -> set[Any]:
    """The names by which a union may tell a dataclass from others."""
    if not dataclasses.is_dataclass(kind):
        return set()
    literals = [hint for hint in get_type_hints(kind).values() if get_origin(hint) is Literal]
    return {name for literal in literals for name in get_args(literal)}


def _keys(kinds: Iterable[Any]) -> list[str]:
    """The keys of the dataclasses that may be at a place."""
    members = [each for kind in kinds for each in _alternatives(kind)]
    fields = [dataclasses.fields(each) for each in members if dataclasses.is_dataclass(each)]
    return list(dict.fromkeys(field.name for each in fields for field in each))


def _range(kind: Any) -> str:
    """The bounds of an annotated number, `1 to 256`; empty if it does not have both."""
    if get_origin(kind) in (Union, UnionType):
        return next(filter(None, map(_range, get_args(kind))), "")
    infos = getattr(kind, "__metadata__", ())
    rules = [rule for info in infos for rule in getattr(info, "metadata", [info])]
    low = [rule.ge for rule in rules if hasattr(rule, "ge")]
    high = [rule.le for rule in rules if hasattr(rule, "le")]
    return f"{low[0]:.12g} to {high[0]:.12g}" if low and high else ""
