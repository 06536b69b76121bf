"""`python -m server` as processes: prepare, calibrate, serve, and every way it can go wrong."""

import hashlib
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest

from client.session import Refused, Session
from core.datasets import load
from core.records import read
from pow.rate import Rate as HashRate
from server import calibration, model

RATES = {
    algorithm: HashRate(algorithm, rate, "test", "nowhere", "2026-01-01T00:00:00+00:00")
    for algorithm, rate in {"sha1": 5e7, "sha256": 3e7, "argon2id": 1e3}.items()
}


@pytest.fixture(scope="module")
def home(digits_home):
    """A home with a prepared and calibrated model `m`."""
    model.prepare(digits_home, "m", dataset="digits", network="lenet-thin", measure="heads", seed=0)
    file = calibration.path(digits_home, "m", "heads")
    if not file.exists():
        prepared = model.load(digits_home, "m", "heads")
        split = load("digits", home=digits_home).splits["calibration"]
        calibration.save(
            calibration.calibrate(prepared, "heads", split, seed=0, t_max=0.01, rates=RATES),
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
    """Three times in the middle of a run; the client carries on, and nothing is charged twice."""
    flags = ("--open", "--ledger", tmp_path / "l.db")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    seen = 0
    with Session(f"127.0.0.1:{port}", client_id="anne", timeout=60) as session:
        for _ in range(3):
            with serving(home, *flags, port=port) as (process, _):
                for at in range(4):
                    session.predict(images[at : at + 5])
                    seen += 5
                    assert session.account().queries == seen
                process.kill()
                process.wait()
        with serving(home, *flags, port=port):
            assert session.account().queries == seen == 60
            assert session.account().unpaid_batches == 0


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


@pytest.mark.parametrize("name", ["victim.safetensors", "heads.safetensors"])
def test_corrupt_artifacts_are_named(copied, name):
    file = copied / "models" / "m" / name
    data = bytearray(file.read_bytes())
    data[-20] ^= 1
    file.write_bytes(data)
    assert name in refused(*SERVE, "--home", copied, "--model", "m")


def test_heads_of_another_victim_are_refused(copied):
    model.prepare(copied, "n", dataset="digits", network="lenet-thin", measure="heads", seed=1)
    shutil.copy(copied / "models/n/heads.safetensors", copied / "models/m/heads.safetensors")
    assert "not measure heads of this victim" in refused(*SERVE, "--home", copied, "--model", "m")


def test_a_calibration_of_another_fingerprint_is_refused(copied):
    model.prepare(copied, "n", dataset="digits", network="lenet-thin", measure="heads", seed=1)
    shutil.copy(
        copied / "models/m/calibration-heads.json", copied / "models/n/calibration-heads.json"
    )
    assert "calibrate again" in refused(*SERVE, "--home", copied, "--model", "n")


def test_an_uncalibrated_model_can_only_be_served_free(copied):
    (copied / "models/m/calibration-heads.json").unlink()
    assert "calibrate" in refused(*SERVE, "--home", copied, "--model", "m")
    with serving(copied, "--open", "--policy", "none") as (_, address):
        assert address


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
    model.prepare(tmp_path, "x", dataset="digits", network="lenet-thin", measure="heads", seed=0)
    here = model.load(tmp_path, "x", "heads").fingerprint
    assert here == model.load(home, "m", "heads").fingerprint
