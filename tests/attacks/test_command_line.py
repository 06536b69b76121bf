"""`python -m attacks`: its list, and mistakes before any gate is asked."""

import re
import subprocess
import sys

import pytest

import attacks
from attacks.__main__ import main


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "attacks", *arguments], capture_output=True, text=True
    )


def test_the_list():
    done = run("--list")
    assert done.returncode == 0
    head, *rows = [re.split(r"  +", line) for line in done.stdout.splitlines()]
    assert head == ["name", "what it does", "source", "labels", "needs"]
    assert [row[0] for row in rows] == list(attacks.REGISTRY) == sorted(attacks.REGISTRY)
    random = next(row for row in rows if row[0] == "random")
    assert random[2:] == ["Dziedzic et al., ICLR 2022", "soft or hard", "pool"]


@pytest.mark.parametrize("width", [80, 140])
def test_the_list_fits_a_terminal(monkeypatch, capsys, width):
    monkeypatch.setattr(sys, "argv", ["attacks", "--list"])
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "dumb")
    assert main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    assert [line.split()[0] for line in lines[1:] if line[0] != " "] == list(attacks.REGISTRY)
    assert "Dziedzic et al., ICLR 2022" in [line.strip() for line in lines]
    assert sum(line.rstrip().endswith("pool, costs") for line in lines) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("knockof",), "did you mean knockoff?"),
        (("zzz",), "copycat, deepfool, dfme"),
        (("random", "--target", "x:1", "--client-id", "a", "--attack.budget", "5"), "one batch"),
    ],
)
def test_mistakes_are_one_line(arguments, message):
    done = run(*arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
