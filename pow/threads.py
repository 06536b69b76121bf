"""One piece of work shared by several threads."""

from __future__ import annotations

import threading
from collections.abc import Callable


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
