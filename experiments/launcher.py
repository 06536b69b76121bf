"""Becomes another program that dies with its parent, at a given niceness, on given cores. Linux;
elsewhere only a clean end of the parent stops the child.

    python launcher.py PARENT_PID NICENESS CORE COMMAND...

CORE is a position among the cores this process may use, negative from the last; "any" leaves all.
Niceness 19 also means the idle scheduling class: a nice process that computes without pause still
keeps its core for some milliseconds when another wakes up, and so delays every answer and every
disk flush of a server; an idle one makes way at once.

A file of its own, run before the command: the same calls in a forked child of a process with
threads (as `preexec_fn` would) may deadlock. Standard library only, so it costs milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
IDLE_FROM = 19
STOPS = (signal.SIGINT, signal.SIGTERM)
"""What ends a program in order. A shell starts a background job with SIGINT ignored, and whoever
ignores a signal hands that on: the command is to be stopped all the same."""


def main(arguments: list[str]) -> None:
    """Ties its life to the parent's, then becomes the command."""
    parent, niceness, core, *command = arguments
    for number in STOPS:
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != int(parent):  # it died before that
            sys.exit(1)
        if core != "any":
            allowed = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, {allowed[int(core) % len(allowed)]})
        if int(niceness) >= IDLE_FROM:
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    os.nice(int(niceness))
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"cannot start {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
