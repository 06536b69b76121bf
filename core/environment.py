"""Environment variables that must not affect a command are neutralised here: docs/environment.md.

`settle` is called where a command begins, before anything that reads the environment is imported;
child processes inherit the result.
"""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from io import TextIOWrapper
from typing import Final

DIRECT: Final = (("grpc.enable_http_proxy", 0),)
"""Options of a gRPC channel to this machine: a proxy, which is elsewhere, does not reach it."""

LOOPBACK: Final = "localhost,127.0.0.0/8,::1"
PLAIN: Final = {
    "\N{MULTIPLICATION SIGN}": "x", "\N{EN DASH}": "-", "…": "...", "±": "+-", "≤": "<=",
    "≥": ">=", "µ": "u", "μ": "u", "é": "e", "→": "->", "·": ".", "•": "*", "━": "-", "─": "-",
}  # fmt: skip
"""What a terminal that cannot show a character gets in its place; for others it is "?"."""


def settle(environment: MutableMapping[str, str] = os.environ) -> None:
    """Neutralises what must not get into measurements and figures, or would end a command.

    gRPC asks no proxy for this machine, and keeps its log to itself: it shows what the other side
    sent as it stands, escape sequences included. matplotlib draws as it does without settings; what
    a terminal cannot show is shown in plain letters.
    """
    environment.setdefault("GRPC_VERBOSITY", "NONE")
    known = environment.get("no_grpc_proxy") or environment.get("no_proxy") or ""
    if LOOPBACK not in known:
        environment["no_grpc_proxy"] = f"{known},{LOOPBACK}" if known else LOOPBACK
    environment.pop("MPLBACKEND", None)
    environment["MATPLOTLIBRC"] = os.devnull
    codecs.register_error("plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            with suppress(ValueError):  # closed
                stream.reconfigure(errors="plain")


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Stands for the characters that an encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN.get(letter, "?") for letter in lacking), error.end
