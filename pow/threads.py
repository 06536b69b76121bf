"""A search for stamps, and one piece of work, shared by several threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class SharedSearch:
    """What every search is given and what its threads add up."""

    prefix: str
    bits: int
    count: int
    algorithm: str
    kernel: str
    keep_on: Callable[[int], None] = lambda _: None  # called with the hashes so far; may raise
    lock: threading.Lock = field(default_factory=threading.Lock)
    counters: list[str] = field(default_factory=list)
    hashes: int = 0
    cpu_seconds: float = 0.0


def share(work: Callable[[bool], None], threads: int, stop: Callable[[], None]) -> None:
    """Runs `work(helper)` in `threads` threads, this one among them; re-raises what ends one.

    `stop` makes the others return; it is called when one has raised, and at the end.
    """
    failures: list[BaseException] = []

    def help_out() -> None:
        try:
            work(True)
        except BaseException as error:  # handed to the caller's thread
            failures.append(error)
            stop()

    helpers = [threading.Thread(target=help_out, daemon=True) for _ in range(threads - 1)]
    try:
        for helper in helpers:
            helper.start()
        work(False)
        for helper in helpers:
            helper.join()
    finally:
        stop()
        for helper in helpers:
            if helper.ident is not None:
                helper.join()
    if failures:
        raise failures[0]
