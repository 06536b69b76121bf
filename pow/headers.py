"""Stamps as people pass them on: bare, or as the mail headers X-Hashcash and Hashcash (RFC 5322).

Headers have names in any case, and may be folded over lines. No stamp holds white space, so that
all of it is left out of a header.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_NAME: Final = re.compile(r"(?:x-)?hashcash:", re.IGNORECASE | re.ASCII)


def listed(lines: Iterable[str]) -> tuple[str, ...]:
    """Stamps, one a line, bare or as headers; empty lines do not count.

    A folded header goes on in lines that are indented.
    """
    found: list[str] = []
    header = False  # whether what was found last may go on
    for line in lines:
        text = line.strip()
        name = _NAME.match(text)
        if name:
            found.append(_squeezed(text[name.end() :]))
        elif header and _is_folded(line):
            found[-1] += _squeezed(text)
            continue
        elif text:
            found.append(text)
        header = name is not None
    return tuple(found)


def of_mail(lines: Iterable[str]) -> tuple[str, ...]:
    """The stamps of a mail; its headers end with the first empty line."""
    headers: list[str] = []
    for line in lines:
        if not line.strip():
            break
        if headers and _is_folded(line):
            headers[-1] += line
        else:
            headers.append(line)
    return listed(header for header in headers if _NAME.match(header))


def _is_folded(line: str) -> bool:
    return line[:1] in (" ", "\t")


def _squeezed(text: str) -> str:
    return "".join(text.split())
