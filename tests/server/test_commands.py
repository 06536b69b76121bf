"""`python -m server` as processes: prepare, calibrate, serve, and every way it can go wrong."""

import contextlib
import hashlib
import json
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest

from client.session import Refused, Session, Unreachable
from core.datasets import load
from core.records import read
from pow.rate import Rate as HashRate
from server import calibration, measures, model
from server.calibration.make import calibrate

MEASURE = "surprisal:typicality"

RATES = {
    algorithm: HashRate(algorithm, rate, "test", "nowhere", "2026-01-01T00:00:00+00:00")
    for algorithm, rate in {"sha1": 5e7, "sha256": 3e7, "argon2id": 1e3}.items()
}


@pytest.fixture(scope="module")
def home(digits_home):
    """A home with a prepared and calibrated model `m`."""
    model.prepare(digits_home, "m", dataset="digits", network="lenet-thin", measure=MEASURE, seed=0)
    file = calibration.path(digits_home, "m", MEASURE)
    if not file.exists():
        prepared = model.load(digits_home, "m", MEASURE)
        split = load("digits", home=digits_home).splits["calibration"]
        _, split = measures.reserve(MEASURE, split)
        calibration.save(
            calibrate(prepared, MEASURE, split, seed=0, t_max=0.01, rates=RATES),
            file,
        )
    return digits_home


@pytest.fixture(scope="module")
def images(home):
    return load("digits", home=home).splits["honest"].images


def server(*arguments):
    return [sys.executable, "-m", "server", *map(str, arguments)]


def run(*arguments):
    return subprocess.run(server(*arguments), capture_output=True, text=True, timeout=60)


@contextmanager
def serving(home, *flags, port=0):
    """A serving process and the address it printed."""
    process = subprocess.Popen(
        server("serve", "--home", home, "--model", "m", "--port", port, *flags),
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


def test_another_host_is_warned_of(copied):
    file = copied / "models/m/calibration-surprisal-typicality.json"
    calibrated = json.loads(file.read_text())
    calibrated["provenance"]["host"] = "elsewhere"
    file.write_text(json.dumps(calibrated))
    with serving(copied, "--open") as (process, _):
        process.terminate()
        _, said = process.communicate(timeout=20)
    assert "calibrated on host elsewhere" in said


def test_tls_and_api_keys(home, images, tmp_path):
    cert, key = certificate(tmp_path)
    keys = tmp_path / "keys.toml"
    keys.write_text(f'anne = "{hashlib.sha256(b"a-key").hexdigest()}"\n')
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


def certificate(folder):
    """A self-signed certificate for localhost, and its key."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


def refused(*arguments):
    """The one line on stderr of a command that failed."""
    done = run(*arguments)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: ")
    return done.stderr


def test_a_port_that_is_taken(home, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        flags = ("--open", "--home", home, "--model", "m", "--ledger", tmp_path / "l.db")
        assert f"127.0.0.1:{port}" in refused("serve", "--port", port, *flags)


SERVE = ("serve", "--open", "--port", 0)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("serve", "--port", 0), "--keys FILE, or --open"),
        ((*SERVE, "--host", "0.0.0.0"), "loopback only"),
        ((*SERVE, "--host", "192.0.2.1"), "loopback only"),
        ((*SERVE, "--host", "example.com"), "loopback only"),
        (("calibrate", "--t-max", "inf"), "--t-max is inf"),
        (("calibrate", "--overhead-median", "1"), "median overhead is 1.0"),
        (("calibrate", "--overhead-p99", "1.1"), "p99 overhead is 1.1"),
        (("calibrate", "--entry", "-1"), "the entry is -1.0 queries"),
        (("calibrate", "--seconds", "0"), "seconds allowed are 0.0"),
        ((*SERVE, "--keys", "k.toml"), "cannot go with --keys"),
        (("serve", "--keys", "/nowhere/k.toml"), "/nowhere/k.toml"),
        ((*SERVE, "--tls-cert", "c.pem"), "go together"),
        ((*SERVE, "--tls-cert", "c.pem", "--tls-key", "k.pem"), "c.pem and k.pem are not"),
        ((*SERVE, "--ledger", "/nowhere/l.db"), "/nowhere/l.db cannot be opened"),
        ((*SERVE, "--model", "nobody"), "models/nobody/victim.safetensors"),
        ((*SERVE, "--model", "../m"), "plain file name"),
        ((*SERVE, "--measure", "teachers"), "teachers.safetensors"),
        (("calibrate", "--t-max", "-1"), "--t-max is -1"),
        (("prepare", "--dataset", "mnist5"), "mnist5k"),
        (("prepare", "--model", "n", "--dataset", "digits", "--network", "lenett"), "lenet-thin"),
        (("prepare", "--dataset", "digits", "--network", "lenet"), "choose another name"),
    ],
)
def test_mistakes_are_one_line(home, tmp_path, flags, message):
    command, *rest = flags
    model_flag = () if "--model" in flags else ("--model", "m")
    assert message in refused(command, *rest, "--home", home, *model_flag)


@pytest.fixture
def copied(home, tmp_path):
    """A copy of the home to spoil."""
    shutil.copytree(home / "models", tmp_path / "models")
    return tmp_path


@pytest.mark.parametrize("name", ["victim.safetensors", "surprisal-typicality.safetensors"])
def test_corrupt_artifacts_are_named(copied, name):
    file = copied / "models" / "m" / name
    data = bytearray(file.read_bytes())
    data[-20] ^= 1
    file.write_bytes(data)
    assert name in refused(*SERVE, "--home", copied, "--model", "m")


def test_a_measure_of_another_victim_is_refused(copied):
    model.prepare(copied, "n", dataset="digits", network="lenet-thin", measure=MEASURE, seed=1)
    shutil.copy(
        copied / "models/n/surprisal-typicality.safetensors",
        copied / "models/m/surprisal-typicality.safetensors",
    )
    assert "not measure surprisal:typicality of this victim" in refused(
        *SERVE, "--home", copied, "--model", "m"
    )
    flags = ("--model", "m", "--dataset", "digits", "--network", "lenet-thin")
    assert f"made {MEASURE}" in run("prepare", "--home", copied, *flags).stdout  # as it said
    assert model.load(copied, "m", MEASURE)


def test_a_calibration_of_another_fingerprint_is_refused(copied):
    model.prepare(copied, "n", dataset="digits", network="lenet-thin", measure=MEASURE, seed=1)
    shutil.copy(
        copied / "models/m/calibration-surprisal-typicality.json",
        copied / "models/n/calibration-surprisal-typicality.json",
    )
    assert "calibrate again" in refused(*SERVE, "--home", copied, "--model", "n")


def test_an_uncalibrated_model_can_only_be_served_free(copied):
    (copied / "models/m/calibration-surprisal-typicality.json").unlink()
    assert "calibrate" in refused(*SERVE, "--home", copied, "--model", "m")
    with serving(copied, "--open", "--policy", "none") as (_, address):
        assert address


def test_calibrating_for_programs(copied):
    load("digits", home=copied)
    done = run("calibrate", "--home", copied, "--model", "m", "--t-max", "0.01", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    file = copied / "models/m/calibration-surprisal-typicality.json"
    assert found == json.loads(file.read_text())
    assert found["scores"][0]["kappa"] > 0
    assert file.with_suffix(".svg").read_text().startswith("<svg ")


def test_calibrating_for_people(copied):
    load("digits", home=copied)
    flags = ("--t-max", "0.01", "--drifts", "tilted", "--entry", "640")
    done = run("calibrate", "--home", copied, "--model", "m", *flags)
    assert done.returncode == 0, done.stderr
    file = copied / "models/m/calibration-surprisal-typicality.json"
    found = json.loads(file.read_text())
    assert [name for name in found["overhead"] if ", long" not in name][3:] == ["tilted"]
    floor = found["overhead"]["iid"]["median"]
    assert f"a client of 640 images waits {1 + 2 * (floor - 1):.2f} in all" in done.stdout
    assert f"drawn in {file.with_suffix('.svg')}" in done.stdout


def test_preparing_again_changes_nothing(copied):
    before = {path: path.stat().st_mtime_ns for path in (copied / "models/m").iterdir()}
    done = run(
        *("prepare", "--home", copied, "--model", "m", "--dataset", "digits"),
        *("--network", "lenet-thin"),
    )
    assert (done.returncode, done.stdout.split(": ")[1]) == (0, "up to date\n")
    assert before == {path: path.stat().st_mtime_ns for path in (copied / "models/m").iterdir()}


def test_help_imports_nothing_heavy():
    code = (
        "import sys, contextlib\n"
        "sys.argv = ['server', 'serve', '--help']\n"
        "import runpy\n"
        "with contextlib.suppress(SystemExit):\n"
        "    runpy.run_module('server', run_name='__main__')\n"
        "heavy = {'torch', 'numba', 'scipy', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_same_seed_makes_the_same_fingerprint(home, tmp_path):
    model.prepare(tmp_path, "x", dataset="digits", network="lenet-thin", measure=MEASURE, seed=0)
    here = model.load(tmp_path, "x", MEASURE).fingerprint
    assert here == model.load(home, "m", MEASURE).fingerprint
