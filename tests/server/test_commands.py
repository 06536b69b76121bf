"""`python -m server`: prepare, calibrate, serve, and every way each can go wrong."""

import hashlib
import json
import shutil
import socket

import grpc
import numpy as np
import pytest
from asking import redeem, refusal, request
from calibrations import short_histories
from certificates import certificate
from commands import MEASURE, refused, run, serving

from client.session import Refused, Session
from core.learning.datasets import load
from pow.audience import Audience
from pow.challenge import Challenge
from pow.solver import solve
from protos import gate_pb2 as pb
from protos.gate_pb2_grpc import GateStub
from server import model, options

pytestmark = pytest.mark.process  # calibrating takes seconds

SERVE = ("serve", "--open", "--port", 0)
CALIBRATION = "calibration-surprisal-typicality.json"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("serve", "--port", 0), "--keys FILE, or --open"),
        ((*SERVE, "--host", "0.0.0.0"), "loopback only"),
        ((*SERVE, "--host", "example.com"), "loopback only"),
        ((*SERVE, "--keys", "k.toml"), "cannot go with --keys"),
        (("serve", "--keys", "/nowhere/k.toml"), "/nowhere/k.toml"),
        ((*SERVE, "--tls-cert", "c.pem"), "go together"),
        ((*SERVE, "--tls-cert", "c.pem", "--tls-key", "k.pem"), "c.pem and k.pem are not"),
        ((*SERVE, "--ledger", "/nowhere/l.db"), "/nowhere/l.db cannot be opened"),
        ((*SERVE, "--model", "nobody"), "models/nobody/victim.safetensors"),
        ((*SERVE, "--model", "../m"), "plain file name"),
        ((*SERVE, "--name", "no host"), "host name 'no host' must be letters"),
        ((*SERVE, "--name", "a" * 181), "host names have 181 bytes, expected at most 180"),
        ((*SERVE, "--retention", "0.5"), "retention is 43200 s; expected at least 86460 s"),
        (("calibrate", "--t-max", "inf"), "--t-max is inf"),
        (("calibrate", "--overhead-p99", "1.1"), "p99 overhead is 1.1"),
        (("prepare", "--dataset", "mnist5"), "mnist5k"),
        (("prepare", "--model", "n", "--dataset", "digits", "--network", "lenett"), "lenet-thin"),
        (("prepare", "--dataset", "digits", "--network", "lenet"), "choose another name"),
    ],
)
def test_mistakes_are_one_line(copied, monkeypatch, flags, message):
    monkeypatch.setattr("pow.rate.measure", lambda algorithm: None)
    command, *rest = flags
    model_flag = () if "--model" in flags else ("--model", "m")
    assert message in refused(command, *rest, "--home", copied, *model_flag)


def test_a_command_line_without_words_is_read():
    assert options.serving([]) is options.Serve


def test_a_port_that_is_taken(copied):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused("serve", "--open", "--port", port, "--home", copied, "--model", "m")
    assert f"127.0.0.1:{port}" in said


def test_files_of_another_model_are_refused(copied):
    model.prepare(copied, "n", dataset="digits", network="lenet-thin", measure=MEASURE, seed=1)
    mine, other = copied / "models/m", copied / "models/n"
    shutil.copy(mine / CALIBRATION, other / CALIBRATION)
    assert "calibrate again" in refused(*SERVE, "--home", copied, "--model", "n")
    measure = "surprisal-typicality.safetensors"
    shutil.copy(other / measure, mine / measure)
    assert "not measure surprisal:typicality of this victim" in refused(
        *SERVE, "--home", copied, "--model", "m"
    )
    flags = ("--model", "m", "--dataset", "digits", "--network", "lenet-thin")
    for said in (f"made {MEASURE}", "up to date"):
        assert said in run("prepare", "--home", copied, *flags).stdout
    assert model.load(copied, "m", MEASURE)


def test_a_calibration_of_another_host_is_warned_of_and_without_one_answers_are_free(
    copied, caplog
):
    file = copied / "models/m" / CALIBRATION
    calibrated = json.loads(file.read_text())
    calibrated["provenance"]["host"] = "elsewhere"
    file.write_text(json.dumps(calibrated))
    with serving(copied, "--open"):
        assert "calibrated on host elsewhere" in caplog.text
    file.unlink()
    assert "calibrate" in refused(*SERVE, "--home", copied, "--model", "m")
    with serving(copied, "--open", "--policy", "none") as address:
        assert address


def test_calibrating(copied, monkeypatch, rates):
    monkeypatch.setattr("pow.rate.measure", rates.__getitem__)
    load("digits", home=copied)
    file = copied / "models/m" / CALIBRATION
    flags = ("calibrate", "--home", copied, "--model", "m", "--t-max", "0.1", "--drifts", "tilted")
    with short_histories():
        done = run(*flags, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found == json.loads(file.read_text())
    assert found["scores"][0]["kappa"] > 0
    assert file.with_suffix(".svg").read_text().startswith("<svg ")
    assert file.stat().st_mode & 0o777 == 0o600

    strict = ("--entry", "640", "--overhead-median", "1.2", "--overhead-p99", "1.45")
    with short_histories():
        done = run(*flags, *strict)
    assert done.returncode == 0, done.stderr
    gentle, found = found["scores"][0]["kappa"], json.loads(file.read_text())
    assert found["scores"][0]["kappa"] <= gentle
    assert (found["entry"], found["bearable"]) == (640, 1.45)
    assert found["t_min"] == pytest.approx(0.2 * found["service"])
    assert [name for name in found["overhead"] if ", long" not in name][3:] == ["tilted"]
    floor = found["overhead"]["iid"]["median"]
    assert f"a client of 640 images waits {1 + 2 * (floor - 1):.2f} in all" in done.stdout
    assert f"drawn in {file.with_suffix('.svg')}" in done.stdout


def test_a_gate_serves_over_ipv6(copied, images):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on loopback")
    with serving(copied, "--open", "--host", "::1", "--policy", "none") as address:
        assert address.startswith("[::1]:")
        with Session(address, client_id="anne") as session:
            assert session.predict(images[:1]).shape == (1, 10)


@pytest.mark.parametrize(
    ("flags", "algorithm", "solver"),
    [
        (("--virtual",), "virtual", "virtual"),
        (("--puzzle", "sha256"), "sha256", "native"),
        (("--puzzle", "argon2id"), "argon2id", "native"),
    ],
)
def test_virtual_work_and_other_puzzles(copied, images, flags, algorithm, solver):
    exchanges, rng = [], np.random.default_rng(0)
    named = {"client_id": "a", "solver": solver, "observe": exchanges.append, "rng": rng}
    with serving(copied, "--open", *flags) as address, Session(address, **named) as session:
        assert session.service.algorithm == algorithm
        session.predict(images[:8])
        assert session.account().queries == 8
    assert exchanges[0].virtual == (algorithm == "virtual")


def test_a_defence_is_served_once_its_surrogates_are_there(copied, images):
    there, asked = ("--home", copied, "--model", "m"), ("--policy", "none", "--defence", "mad")
    assert "prepare the model again with --defence mad" in refused(*SERVE, *asked, *there)
    assert "--defence epsilon is 3.0, expected 0 to 2" in refused(
        *SERVE, *asked, "--defence.epsilon", "3", *there
    )
    assert "unknown defence 'madd'" in refused("prepare", "--defence", "madd", *there)
    flags = ("--dataset", "digits", "--network", "lenet-thin", "--defence", "mad")
    assert "made fresh surrogates for mad" in run("prepare", *flags, *there).stdout
    answers = []
    for flags in (asked, asked[:2]):
        with (
            serving(copied, "--open", *flags) as address,
            Session(address, client_id="anne") as session,
        ):
            answers.append(session.predict(images[:4]))
    assert np.abs(answers[0] - answers[1]).sum(axis=1).max() > 0.1


def test_accounts_of_one_file_are_kept_apart(copied, images, keys, tmp_path):
    """Those of free answers from priced ones, those of an open gate from keyed ones."""
    ledger, seen = ("--ledger", tmp_path / "l.db"), []
    for policy in ("rate", "none", "rate"):
        with (
            serving(copied, "--open", "--policy", policy, *ledger) as address,
            Session(address, client_id="alice") as session,
        ):
            session.predict(images[:8])
            seen.append(session.account().queries)
    assert seen == [8, 8, 16]
    with (
        serving(copied, "--keys", keys, *ledger) as address,
        Session(address, key="alice-key") as session,
    ):
        assert session.account().queries == 0


def test_an_open_gate_spends_in_nobodys_name(copied, images, keys):
    """It has a secret and a ledger of its own: anybody may be `alice` there."""
    alice, anybody = (("authorization", "Bearer alice-key"),), (("client-id", "alice"),)
    with (
        serving(copied, "--keys", keys) as keyed_at,
        serving(copied, "--open") as open_at,
        grpc.insecure_channel(keyed_at) as to_keyed,
        grpc.insecure_channel(open_at) as to_open,
    ):
        keyed, open_ = GateStub(to_keyed), GateStub(to_open)
        token = keyed.Predict(request(images[:4]), metadata=alice).challenge
        counters = solve(Challenge.parse(token)).counters
        for _ in range(8):
            foreign = open_.Predict(request(images[:4]), metadata=anybody).challenge
        why = refusal(open_.Predict, request(images[:4]), metadata=anybody)[1]
        assert why == "TOO_MANY_UNPAID"
        account = keyed.GetAccount(pb.GetAccountRequest(), metadata=alice)
        assert (account.queries, account.unpaid_batches) == (4, 1)
        assert redeem(open_, token, counters, who=anybody)[1] == "FORGED_CHALLENGE"
        assert redeem(keyed, foreign, counters, who=alice)[1] == "FORGED_CHALLENGE"
        paid = pb.RedeemRequest(challenge=token, counters=counters)
        assert keyed.Redeem(paid, metadata=alice).key
    names = {path.name for path in copied.rglob("*")}
    assert {"secret", "secret.open", "ledger.db", "ledger.open.db"} <= names


@pytest.fixture
def keys(tmp_path):
    file = tmp_path / "keys.toml"
    file.touch(0o600)
    owners = {owner: hashlib.sha256(f"{owner}-key".encode()) for owner in ("alice", "bob")}
    file.write_text("".join(f'{owner} = "{key.hexdigest()}"\n' for owner, key in owners.items()))
    return file


def test_tls_keys_and_public_names(copied, images, keys, tmp_path):
    cert, key = certificate(tmp_path)
    flags = ("--keys", keys, "--tls-cert", cert, "--tls-key", key)
    with serving(copied, *flags) as address:
        target = f"localhost:{address.rpartition(':')[2]}"
        with Session(target, key="alice-key", ca=cert) as session:
            assert session.predict(images[:4]).shape == (4, 10)
            assert session.service.client == "alice"
            assert Audience.parse(session.service.audience).hosts == ("localhost",)
        for caller, why in (({"key": "no"}, "UNKNOWN_KEY"), ({"client_id": "al"}, "MISSING_KEY")):
            with Session(target, ca=cert, **caller) as session, pytest.raises(Refused, match=why):
                session.predict(images[:4])
    with serving(copied, *flags, "--name", "gate.example", "localhost") as address:
        target = f"localhost:{address.rpartition(':')[2]}"
        with Session(target, key="alice-key", ca=cert) as session:
            hosts = Audience.parse(session.service.audience).hosts
    assert hosts == ("gate.example", "localhost")


def test_a_certificate_that_names_no_host_is_said(copied, keys, tmp_path, caplog):
    cert, key = certificate(tmp_path, named=False)
    flags = ("--keys", keys, "--tls-cert", cert, "--tls-key", key)
    for named, said in ((("--name", "localhost"), False), ((), True)):
        with serving(copied, *flags, *named):
            assert ("names no host (subjectAltName)" in caplog.text) is said


def test_keys_do_not_travel_in_clear_unless_told_to(copied, images, keys):
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.com"):
        flags = ("--home", copied, "--model", "m", "--keys", keys, "--host", host)
        said = refused("serve", *flags)
        assert f"in clear to {host}" in said
        assert "--insecure" in said
    with serving(copied, "--keys", keys, "--host", "0.0.0.0", "--insecure") as address:
        target = f"127.0.0.1:{address.rpartition(':')[2]}"
        with Session(target, key="alice-key") as session:
            assert session.predict(images[:1]).shape == (1, 10)
