"""A gate as a process: it serves, drains, is killed, and comes back."""

import contextlib
import hashlib
import random
import signal
import socket
import sqlite3
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from certificates import certificate
from commands import refused, serving
from http2 import PREFACE, connect, headers, settings

from client.session import Refused, Session, Unreachable
from core.learning.datasets import load
from core.records import read


def test_a_gate_serves_over_ipv6(home, images):
    if not socket.has_ipv6 or not _binds("::1"):
        pytest.skip("no IPv6 on loopback")
    with serving(home, "--open", "--host", "::1", "--policy", "none") as (_, address):
        assert address.startswith("[::1]:")
        with Session(address, client_id="anne") as session:
            assert session.predict(images[:1]).shape == (1, 10)


def _binds(host):
    try:
        with socket.create_server((host, 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def test_a_gate_serves_and_drains_on_sigterm(home, images, tmp_path):
    record = tmp_path / "server.jsonl"
    flags = ("--open", "--ledger", tmp_path / "l.db", "--record", record)
    with serving(home, *flags) as (process, address):
        with Session(address, client_id="anne") as session:
            assert session.service.shape == (1, 8, 8)
            probabilities = session.predict(images[:16])
            assert session.account().queries == 16
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    truth = load("digits", home=home).splits["honest"].labels[:16]
    assert (probabilities.argmax(axis=1) == truth).mean() > 0.7
    header, lines = read(record)
    assert header["config"]["policy"] == "rate"
    assert [line["kind"] for line in lines] == ["predict", "redeem"]


def test_a_ctrl_c_ends_a_gate_in_order_and_says_so(home, images, tmp_path):
    flags = ("--open", "--policy", "none", "--ledger", tmp_path / "l.db")
    with serving(home, *flags) as (process, address):
        with Session(address, client_id="anne") as session:
            session.predict(images[:4])
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr.read() == "interrupted\n"


def test_kill_9_of_a_gate_loses_no_charge_a_client_saw(home, images, tmp_path):
    """Three times at a random moment of a run; the client carries on, nothing is charged twice."""
    chance = random.Random(11)
    flags = ("--open", "--ledger", tmp_path / "l.db")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    answered = 0
    done = threading.Event()

    def ask():
        nonlocal answered
        with Session(f"127.0.0.1:{port}", client_id="anne", timeout=60) as session:
            while not done.is_set():
                session.predict(images[:5])
                answered += 1

    thread = threading.Thread(target=ask)
    for life in range(4):
        with serving(home, *flags, port=port) as (process, _):
            if not life:
                thread.start()
            goal = answered + 3
            while answered < goal:
                time.sleep(0.005)
            if life < 3:
                time.sleep(chance.random() * 0.05)
                process.kill()
                process.wait()
                continue
            done.set()
            thread.join()
            with Session(f"127.0.0.1:{port}", client_id="anne") as session:
                account = session.account()
    # The client asked one batch after another, and again with the same id where it was cut off:
    # every answer was charged once.
    assert (account.queries, account.unpaid_batches) == (5 * answered, 0)


def test_a_request_under_way_is_answered_when_told_to_stop(home, images, tmp_path):
    flags = ("--open", "--policy", "none", "--ledger", tmp_path / "l.db")
    answers = []
    with serving(home, *flags) as (process, address):

        def ask():
            with (
                Session(address, client_id="a", timeout=0.5) as session,
                contextlib.suppress(Unreachable),
            ):
                while True:
                    answers.append(session.predict(images[:100]))

        thread = threading.Thread(target=ask)
        thread.start()
        while len(answers) < 5:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        thread.join()
    with contextlib.closing(sqlite3.connect(tmp_path / "l.db")) as db:
        (charged,) = db.execute("SELECT charged FROM accounts").fetchone()
    assert charged == 100 * len(answers)  # nothing that was charged stayed without its answer


def test_virtual_work_and_other_puzzles(home, images, tmp_path):
    for flags, algorithm, solver in (
        (("--virtual",), "virtual", "virtual"),
        (("--puzzle", "sha256"), "sha256", "native"),
        (("--puzzle", "argon2id"), "argon2id", "native"),
    ):
        exchanges = []
        all_flags = ("--open", "--ledger", tmp_path / "l.db", *flags)
        with (
            serving(home, *all_flags) as (_, address),
            Session(
                address,
                client_id="a",
                solver=solver,
                observe=exchanges.append,
                rng=np.random.default_rng(0),
            ) as session,
        ):
            assert session.service.algorithm == algorithm
            session.predict(images[:8])
            assert session.account().queries == 8  # each has a ledger account of its own, but
        assert exchanges[0].virtual == (algorithm == "virtual")
        (tmp_path / "l.db").unlink()


def test_accounts_of_free_answers_do_not_count_under_a_price(home, images, tmp_path):
    ledger = tmp_path / "l.db"
    seen = []
    for policy in ("rate", "none", "rate"):
        flags = ("--open", "--policy", policy, "--ledger", ledger)
        with serving(home, *flags) as (_, address), Session(address, client_id="a") as session:
            session.predict(images[:8])
            seen.append(session.account().queries)
    assert seen == [8, 8, 16]


def test_tls_and_api_keys(home, images, tmp_path):
    cert, key = certificate(tmp_path)
    keys = tmp_path / "keys.toml"
    keys.write_text(f'anne = "{hashlib.sha256(b"a-key").hexdigest()}"\n')
    keys.chmod(0o600)
    flags = ("--keys", keys, "--tls-cert", cert, "--tls-key", key, "--ledger", tmp_path / "l.db")
    with serving(home, *flags) as (_, address):
        port = address.rpartition(":")[2]
        target = f"localhost:{port}"
        with Session(target, key="a-key", ca=cert) as session:
            assert session.predict(images[:4]).shape == (4, 10)
        with (
            Session(target, key="another", ca=cert) as session,
            pytest.raises(Refused, match="UNKNOWN_KEY"),
        ):
            session.predict(images[:4])
        with (
            Session(target, client_id="anne", ca=cert) as session,
            pytest.raises(Refused, match="MISSING_KEY"),
        ):
            session.predict(images[:4])


def test_keys_do_not_travel_in_clear_unless_told_to(home, images, tmp_path):
    keys = tmp_path / "keys.toml"
    keys.write_text(f'anne = "{hashlib.sha256(b"a-key").hexdigest()}"\n')
    keys.chmod(0o600)
    flags = ("--home", home, "--model", "m", "--keys", keys, "--ledger", tmp_path / "l.db")
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.com"):
        said = refused("serve", *flags, "--host", host)
        assert f"in clear to {host}" in said
        assert "--insecure" in said
    flags = (*flags[4:], "--host", "0.0.0.0", "--insecure")
    with serving(home, *flags) as (_, address):
        target = f"127.0.0.1:{address.rpartition(':')[2]}"
        with Session(target, key="a-key") as session:
            assert session.predict(images[:1]).shape == (1, 10)


def test_a_gate_may_open_as_many_files_as_it_takes_connections(home, tmp_path):
    command = ["sh", "-c", 'ulimit -S -n 200; exec "$@"', "sh"]
    with (
        serving(home, "--open", "--ledger", tmp_path / "l.db", prefix=command) as (
            process,
            address,
        ),
        contextlib.ExitStack() as crowd,
    ):
        port = int(address.rpartition(":")[2])
        for _ in range(400):
            crowd.enter_context(socket.create_connection(("127.0.0.1", port)))
        with Session(address, client_id="anne", timeout=10) as session:
            assert session.service.classes == 10
        soft = Path(f"/proc/{process.pid}/limits").read_text().split("Max open files")[1].split()[0]
    assert int(soft) > 400


def test_a_flood_of_what_the_transport_refuses_fills_no_log(home, tmp_path):
    """The library below has a log of its own, which no filter of ours sees."""
    bad = PREFACE + settings() + headers("/x", [("grpc-encoding", b"\xff")])
    with serving(home, "--open", "--ledger", tmp_path / "l.db") as (process, address):
        for _ in range(50):
            with connect(address) as raw:
                raw.sendall(bad)
                raw.recv(65_536)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=20)
    assert said.count("\n") < 10, said
