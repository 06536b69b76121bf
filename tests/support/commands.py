"""`python -m server` as processes."""

import subprocess
import sys
from contextlib import contextmanager

MEASURE = "surprisal:typicality"


def server(*arguments):
    return [sys.executable, "-m", "server", *map(str, arguments)]


def run(*arguments):
    return subprocess.run(server(*arguments), capture_output=True, text=True, timeout=60)


@contextmanager
def serving(home, *flags, port=0, prefix=()):
    """A serving process and the address it printed; `prefix` is a command that runs it."""
    process = subprocess.Popen(
        [*prefix, *server("serve", "--home", home, "--model", "m", "--port", port, *flags)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("listening on "), line + process.stderr.read()
        yield process, line.split()[-1]
    finally:
        process.kill()
        process.communicate()


def refused(*arguments):
    """The one line on stderr of a command that failed."""
    done = run(*arguments)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: ")
    return done.stderr
