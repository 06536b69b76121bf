"""How commands end: one line for a mistake or a Ctrl-C, none where nobody reads the output."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import threading

import pytest

from core import command, environment


def raising(error):
    def run():
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (KeyboardInterrupt("interrupted; see here"), 130, "interrupted; see here"),
        (ValueError("x is 3"), 1, "error: x is 3"),
        (KeyError("no victim"), 1, "error: 'no victim'"),
        (FileNotFoundError(2, "No such file", "a.toml"), 1, "error: a.toml: No such file"),
        (OSError(28, "No space left"), 1, "error: No space left"),
        (BrokenPipeError(32, "Broken pipe"), 1, "error: Broken pipe"),  # not of the output
    ],
)
def test_an_end_is_one_line(error, code, said, capsys):
    assert command.run(raising(error), lambda: (KeyError,)) == code
    assert capsys.readouterr().err == f"{said}\n"


def test_codes_are_passed_on_and_bugs_are_not_hidden():
    assert command.run(lambda: None) == 0
    assert command.run(lambda: 3) == 3
    assert command.run(raising(ValueError("x")), code=2) == 2
    with pytest.raises(KeyError):
        command.run(raising(KeyError("x")))


COMMANDS = {
    "server prepare": ("server.commands", "prepare", ["prepare"]),
    "server calibrate": ("server.commands", "calibrate", ["calibrate"]),
    "server serve": ("server.commands", "serve", ["serve", "--open"]),
    "client honest": ("client.honest", "run", ["honest", "--target", "h:1", "--client-id", "a"]),
    "attacks random": ("attacks.process", "run", ["random", "--target", "h:1"]),
    "experiments run": ("experiments.runner", "run", ["run", "smoke"]),
    "experiments prices": ("experiments.studies.price_simulation", "record", ["prices"]),
    "pow mint": ("pow.__main__", "mint", ["mint", "foo"]),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_settles_first_and_ends_so(name, monkeypatch, capsys, tmp_path):
    module, function, arguments = COMMANDS[name]
    monkeypatch.chdir(tmp_path)
    settled = []
    monkeypatch.setattr(environment, "settle", lambda: settled.append(name))

    def interrupt(*args, **kwargs):
        assert settled
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module(module), function, interrupt)
    monkeypatch.setattr(sys, "argv", [name.split()[0], *arguments])
    assert importlib.import_module(f"{name.split()[0]}.__main__").main() == 130
    err = capsys.readouterr().err
    assert err.startswith("interrupted")
    assert err.count("\n") == 1


@pytest.mark.process
@pytest.mark.parametrize("arguments", [["pow", "--help"], ["attacks", "--list"]])
def test_a_reader_that_goes_away_is_no_mistake(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", *arguments], stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (command.UNREAD, b"")


@pytest.mark.process
def test_a_ctrl_c():
    # In a job in the background SIGINT is ignored, and children inherit that.
    ready = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{ready}\nimport sys\nfrom pow.__main__ import main\nsys.exit(main(['check']))"
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as child:
        child.stdin.write("x\n" * 99_000)  # more than a pipe holds: it has begun to read
        child.stdin.flush()
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (130, "interrupted\n")


def test_a_ctrl_c_waits_for_an_import(tmp_path, monkeypatch):
    """Some modules abort the process if one comes in the middle of their making."""
    (tmp_path / "slow_to_import.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nimport json\ndone = True\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    waited = threading.Event()

    def run():
        module = importlib.import_module("slow_to_import")
        assert module.done
        waited.wait(60)  # for the Ctrl-C

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert command.run(run) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert sys.modules.pop("slow_to_import").done
