"""A gate as a process of its own: it serves, drains, is killed, and comes back."""

import contextlib
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from commands import process
from http2 import PREFACE, connect, headers, settings

from client.session import Session, Unreachable
from core.learning.datasets import load
from core.records import read

pytestmark = pytest.mark.process


def test_a_gate_serves_and_finishes_what_is_under_way_on_sigterm(home, images, tmp_path):
    record, answers = tmp_path / "server.jsonl", []
    flags = ("--open", "--policy", "none", "--ledger", tmp_path / "l.db", "--record", record)
    with process(home, *flags) as (server, address):
        with Session(address, client_id="anne") as session:
            assert session.service.shape == (1, 8, 8)
            probabilities = session.predict(images[:16])
            assert session.account().queries == 16

        def ask():
            with (
                Session(address, client_id="bob", timeout=0.5) as session,
                contextlib.suppress(Unreachable),
            ):
                while True:
                    answers.append(session.predict(images[:100]))

        thread = threading.Thread(target=ask)
        thread.start()
        while len(answers) < 3:
            time.sleep(0.01)
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
        thread.join()
    truth = load("digits", home=home).splits["honest"].labels[:16]
    assert (probabilities.argmax(axis=1) == truth).mean() > 0.7
    header, lines = read(record)
    assert header["config"]["policy"] == "none"
    assert [line["images"] for line in lines] == [16] + [100] * len(answers)
    with contextlib.closing(sqlite3.connect(tmp_path / "l.db")) as db:
        (charged,) = db.execute("SELECT charged FROM accounts WHERE client = 'bob'").fetchone()
    assert charged == 100 * len(answers)  # nothing that was charged stayed without its answer


def test_a_ctrl_c_ends_a_gate_in_order_and_says_so(home, images, tmp_path):
    """It may open as many files as it takes connections; a flood of bad calls fills no log."""
    command = ["sh", "-c", 'ulimit -S -n 200; exec "$@"', "sh"]
    flags = ("--open", "--policy", "none", "--ledger", tmp_path / "l.db")
    bad = PREFACE + settings() + headers("/x", [("grpc-encoding", b"\xff")])
    with process(home, *flags, prefix=command) as (server, address):
        with contextlib.ExitStack() as crowd:
            for _ in range(400):
                crowd.enter_context(connect(address))
            with Session(address, client_id="anne", timeout=10) as session:
                session.predict(images[:4])
            limits = Path(f"/proc/{server.pid}/limits").read_text()
            assert int(limits.split("Max open files")[1].split()[0]) > 400
        for _ in range(50):
            with connect(address) as raw:
                raw.sendall(bad)
                raw.recv(65_536)
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == 130
        said = server.stderr.read()
    assert said.endswith("interrupted\n")
    assert said.count("\n") < 10, said


@pytest.mark.slow
def test_kill_9_of_a_gate_loses_no_charge_a_client_saw(home, images, tmp_path):
    """The client carries on with the next life of the gate, and nothing is charged twice."""
    flags = ("--open", "--ledger", tmp_path / "l.db")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    answered, done = 0, threading.Event()

    def ask():
        nonlocal answered
        with Session(f"127.0.0.1:{port}", client_id="anne", timeout=60) as session:
            while not done.is_set():
                session.predict(images[:5])
                answered += 1

    thread = threading.Thread(target=ask)
    for life in range(3):
        with process(home, *flags, port=port) as (server, _):
            if not life:
                thread.start()
            goal = answered + 3
            while answered < goal:
                time.sleep(0.005)
            if life < 2:
                time.sleep(0.013)  # anywhere in a request
                server.kill()
                server.wait()
                continue
            done.set()
            thread.join()
            with Session(f"127.0.0.1:{port}", client_id="anne") as session:
                account = session.account()
    # The client asked one batch after another, and again with the same id where it was cut off:
    # every answer was charged once.
    assert (account.queries, account.unpaid_batches) == (5 * answered, 0)


def test_help_imports_nothing_heavy():
    command = [sys.executable, "-X", "importtime", "-m", "server", "serve", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = set(re.findall(r"(\w+)$", done.stderr, re.MULTILINE))
    assert "tyro" in imported
    assert not {"torch", "numba", "scipy", "sklearn"} & imported
