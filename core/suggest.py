"""Suggests the known name that is nearest to an unknown one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from core.documents import SHOWN


def suggest(name: object, known: Iterable[str]) -> str:
    """The end of a message, e.g. `"; did you mean 'rate'?"`; empty if no known name is near."""
    if not isinstance(name, str):
        return ""
    near = get_close_matches(name[:SHOWN], list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
