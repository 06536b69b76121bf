"""Runs a command and turns its end into an exit code: mistakes, Ctrl-C, a closed output pipe.

All commands of all packages go through `run`. Standard library only.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TextIO

from core import environment

MISTAKE = 1
INTERRUPTED = 130  # 128 + SIGINT, as a shell says it
UNREAD = 141  # 128 + SIGPIPE: the reader of the output has closed the pipe, as `head` does
RETRY = 0.05  # seconds until a Ctrl-C that came during an import is tried again

Mistakes = tuple[type[Exception], ...]


def run(
    command: Callable[[], int | None],
    mistakes: Callable[[], Mistakes] = tuple,
    *,
    code: int = MISTAKE,
) -> int:
    """Exit code of a command. What stops it is said in one line on stderr.

    Before it begins, what must not count of the user's environment is neutralised.

    OSError, ValueError and `mistakes` are mistakes of the user, whose text explains them: `code`.
    `mistakes` is asked when something was raised, so that it may import what is slow. A
    KeyboardInterrupt that has a text says that.
    """
    environment.settle()
    try:
        try:
            with _interruptible():
                return command() or 0
        finally:
            _flush()
    except KeyboardInterrupt as error:
        _say(str(error) or "interrupted")
        return INTERRUPTED
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # how rich ends it
            return UNREAD
        raise
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _discard_unread():
            return UNREAD
        if isinstance(error, (OSError, ValueError, *mistakes())):
            _say(f"error: {explained(error)}")
            return code
        raise


@contextmanager
def _interruptible() -> Iterator[None]:
    """Keeps a Ctrl-C from modules that are being imported: in the middle of it, some abort."""
    before = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()
    if not main or before is not signal.default_int_handler:  # as in the background
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        if not _imports(frame):
            raise KeyboardInterrupt
        again = threading.Timer(RETRY, os.kill, (os.getpid(), number))
        again.daemon = True
        again.start()

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _imports(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def explained(error: Exception) -> str:
    """An error in one line; of the system's own, the file and what is wrong with it."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _say(line: str) -> None:
    try:
        print(line, file=sys.stderr, flush=True)
    except BrokenPipeError:
        _discard_unread()


def _flush() -> None:
    """Writes what is left now: at the interpreter's end a closed pipe cannot be caught."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()


def _discard_unread() -> bool:
    """Discards what is still printed into a pipe that its reader closed; whether there is one."""
    unread = [stream for stream in (sys.stdout, sys.stderr) if _is_unread(stream)]
    for stream in unread:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())
    return bool(unread)


def _is_unread(stream: TextIO | None) -> bool:
    poll = select.poll()
    with suppress(OSError, ValueError, AttributeError):  # no stream, or one without a file
        poll.register(stream.fileno(), 0)  # type: ignore[union-attr]
        return any(event & select.POLLERR for _, event in poll.poll(0))
    return False
