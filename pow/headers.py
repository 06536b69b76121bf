"""Stamps as people pass them on: bare, or as the mail headers X-Hashcash and Hashcash (RFC 5322).

Headers have names in any case, and may be folded over lines. No stamp holds white space, so that
all of it is left out of a header.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import takewhile
from typing import Final

_NAME: Final = re.compile(r"^(?:x-)?hashcash:", re.IGNORECASE | re.ASCII)
_INDENTED: Final = (" ", "\t")


def listed(lines: Iterable[str]) -> tuple[str, ...]:
    """Stamps, one a line, bare or as headers; empty lines do not count.

    A folded header goes on in lines that are indented.
    """
    found: list[str] = []
    header = False  # whether what was found last may go on
    for line in lines:
        text = line.strip()
        if header and line[:1] in _INDENTED and not _NAME.match(text):
            found[-1] += "".join(text.split())
            continue
        header = _NAME.match(text) is not None
        if text:
            found.append("".join(_NAME.sub("", text).split()) if header else text)
    return tuple(found)


def of_mail(lines: Iterable[str]) -> tuple[str, ...]:
    """The stamps of a mail; its headers end with the first empty line."""
    headers: list[str] = []
    for line in takewhile(str.strip, lines):
        if headers and line[:1] in _INDENTED:
            headers[-1] += line
        else:
            headers.append(line)
    return listed(header for header in headers if _NAME.match(header))
