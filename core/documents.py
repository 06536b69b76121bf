"""Reads untrusted JSON and TOML within bounds of size, depth and numbers; errors are one line.

A document out of bounds is refused before anything walks through it, converts a number in it or
prints one.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, NoReturn

LARGEST = 64 << 20  # bytes of a document, at most
DEEPEST = 32  # tables and lists within each other, at most
WIDEST = 1 << 128  # whole numbers are smaller: any has a float, and prints in a line
DIGITS = 40  # characters of such a number, at most
SHOWN = 80  # characters of a value that a message shows, at most

_DEEP = f"is nested too deeply, expected at most {DEEPEST} tables and lists within each other"
_WIDE = "holds a whole number that is too long, expected one of at most 128 bits"


class DocumentError(ValueError):
    """A document that cannot be read; one line that does not name the file."""


def read_json(path: Path) -> Any:
    """What a JSON file holds. Raises OSError, DocumentError."""
    return parse_json(_text(path))


def read_toml(path: Path) -> dict[str, Any]:
    """What a TOML file holds. Raises OSError, DocumentError."""
    text = _text(path)
    try:
        found = tomllib.loads(text)
        _checked(found)
        return found
    except RecursionError as error:
        raise DocumentError(_DEEP) from error
    except tomllib.TOMLDecodeError as error:
        raise DocumentError(f"is not valid TOML: {_line(error)}") from error
    except DocumentError:
        raise
    except ValueError as error:  # Python converts no number of thousands of digits
        raise DocumentError(_WIDE) from error


def parse_json(text: str | bytes) -> Any:
    """What JSON says; NaN and infinities, which JSON does not have, are refused: DocumentError."""
    try:
        return _checked(json.loads(text, parse_constant=_no_number, parse_int=_whole))
    except RecursionError as error:
        raise DocumentError(_DEEP) from error
    except DocumentError:
        raise
    except ValueError as error:
        raise DocumentError(f"not JSON ({_line(error)})") from error


def shown(value: object) -> str:
    """A value as a message shows it: on one line, and not all of a long one."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a whole number of thousands of digits; deep nesting
        return f"({type(value).__name__}, too long to show)"
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def _text(path: Path) -> str:
    with open(path, "rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise DocumentError(f"is larger than {LARGEST >> 20} MiB, expected a small document")
    try:
        return data.decode("utf-8-sig")  # editors of some systems begin with a mark
    except UnicodeDecodeError as error:
        raise DocumentError(f"is not UTF-8 text: {error.reason} at byte {error.start}") from error


def _checked(document: Any) -> Any:
    """The document itself; raises DocumentError for depth and numbers out of bounds."""
    layer = [document]
    for _ in range(DEEPEST + 1):
        below: list[Any] = []
        for value in layer:
            if isinstance(value, dict):
                below += value.values()
            elif isinstance(value, list):
                below += value
            elif isinstance(value, int) and not -WIDEST < value < WIDEST:
                raise DocumentError(_WIDE)
            elif isinstance(value, float) and not -float("inf") < value < float("inf"):
                raise DocumentError(f"holds the number {value}, expected finite ones")
        if not below:
            return document
        layer = below
    raise DocumentError(_DEEP)


def _whole(digits: str) -> int:
    if len(digits) > DIGITS:
        raise DocumentError(_WIDE)
    return int(digits)


def _no_number(name: str) -> NoReturn:
    raise DocumentError(f"not JSON (it holds {name})")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
