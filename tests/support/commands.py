"""`python -m server`, in this process and as processes of its own."""

import io
import os
import subprocess
import sys
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from unittest import mock

import tyro
from gates import served

from server import commands, options
from server.__main__ import main

MEASURE = "surprisal:typicality"


def run(*arguments):
    """A command in this process: its exit code, and what it wrote."""
    out, err, mask = io.StringIO(), io.StringIO(), os.umask(0)
    os.umask(mask)
    try:
        with (
            mock.patch.object(sys, "argv", ["server", *map(str, arguments)]),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            code = main()
    finally:
        os.umask(mask)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def refused(*arguments):
    """The one line on stderr of a command that failed."""
    done = run(*arguments)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: ")
    return done.stderr


@contextmanager
def serving(home, *flags):
    """A gate as its flags say, in this process; the address it listens on."""
    words = [str(word) for word in ("--home", home, "--model", "m", "--port", 0, *flags)]
    chosen = tyro.cli(options.serving(words), args=words)
    with commands.assembled(chosen) as parts, served(*parts) as address:
        yield address


@contextmanager
def process(home, *flags, port=0, prefix=()):
    """A serving process and the address it printed; `prefix` is a command that runs it."""
    words = ("serve", "--home", home, "--model", "m", "--port", port, *flags)
    process = subprocess.Popen(
        [*prefix, sys.executable, "-m", "server", *map(str, words)],
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
