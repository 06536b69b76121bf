"""Gates as processes that share a home: what one takes, the other does not."""

import hashlib
import uuid

import grpc
import pytest
from asking import redeem, refusal
from certificates import certificate
from commands import refused, serving

from client.session import Session
from pow.audience import Audience
from pow.challenge import Challenge
from pow.solver import solve
from protos import codec
from protos import gate_pb2 as pb
from protos.gate_pb2_grpc import GateStub


@pytest.fixture
def keys(tmp_path):
    file = tmp_path / "keys.toml"
    file.touch(0o600)
    file.write_text(
        "".join(
            f'{owner} = "{hashlib.sha256(owner.encode()).hexdigest()}"\n'
            for owner in ("alice", "bob")
        )
    )
    return file


def test_an_open_gate_spends_in_nobodys_name(copied, images, keys):
    """It has a secret and a ledger of its own: anybody may be `alice` there."""
    asked = pb.PredictRequest(request_id=str(uuid.uuid4()), inputs=codec.encode(images[:4]))
    alice, anybody = (("authorization", "Bearer alice"),), (("client-id", "alice"),)
    with (
        serving(copied, "--keys", keys) as (_, keyed_at),
        serving(copied, "--open") as (_, open_at),
        grpc.insecure_channel(keyed_at) as to_keyed,
        grpc.insecure_channel(open_at) as to_open,
    ):
        keyed, open_ = GateStub(to_keyed), GateStub(to_open)
        token = keyed.Predict(asked, metadata=alice).challenge
        counters = solve(Challenge.parse(token)).counters
        for _ in range(8):
            again = pb.PredictRequest(request_id=str(uuid.uuid4()), inputs=asked.inputs)
            foreign = open_.Predict(again, metadata=anybody).challenge
        assert refusal(
            open_.Predict,
            pb.PredictRequest(request_id=str(uuid.uuid4()), inputs=asked.inputs),
            metadata=anybody,
        )[1] == ("TOO_MANY_UNPAID")
        account = keyed.GetAccount(pb.GetAccountRequest(), metadata=alice)
        assert (account.queries, account.unpaid_batches) == (4, 1)
        assert redeem(open_, token, counters, who=anybody)[1] == "FORGED_CHALLENGE"
        assert redeem(keyed, foreign, counters, who=alice)[1] == "FORGED_CHALLENGE"
        paid = pb.RedeemRequest(challenge=token, counters=counters)
        assert keyed.Redeem(paid, metadata=alice).key
    names = {path.name for path in copied.rglob("*")}
    assert {"secret", "secret.open", "ledger.db", "ledger.open.db"} <= names


def test_one_ledger_file_keeps_open_and_keyed_accounts_apart(copied, images, keys, tmp_path):
    shared = ("--ledger", tmp_path / "shared.db")
    with (
        serving(copied, "--open", *shared) as (_, address),
        Session(address, client_id="alice") as session,
    ):
        session.predict(images[:4])
    with (
        serving(copied, "--keys", keys, *shared) as (_, address),
        Session(address, key="alice") as session,
    ):
        assert session.account().queries == 0


def test_a_gate_tells_its_public_names(copied, keys, tmp_path):
    cert, key = certificate(tmp_path)
    flags = ("--keys", keys, "--tls-cert", cert, "--tls-key", key)
    with serving(copied, *flags) as (_, address):
        assert names(address, cert) == ("localhost",)
    with serving(copied, *flags, "--name", "gate.example", "localhost") as (_, address):
        assert names(address, cert) == ("gate.example", "localhost")


def test_a_certificate_that_names_no_host_is_said(copied, keys, tmp_path):
    cert, key = certificate(tmp_path, named=False)
    flags = ("--keys", keys, "--tls-cert", cert, "--tls-key", key)
    for named, said in (((), True), (("--name", "localhost"), False)):
        with serving(copied, *flags, *named) as (process, _):
            process.terminate()
            _, text = process.communicate(timeout=30)
        assert ("names no host (subjectAltName)" in text) is said


def names(address, cert):
    credentials = grpc.ssl_channel_credentials(cert.read_bytes())
    target = f"localhost:{address.rpartition(':')[2]}"
    with grpc.secure_channel(target, credentials) as channel:
        said = GateStub(channel).Describe(
            pb.DescribeRequest(), metadata=(("authorization", "Bearer alice"),)
        )
    assert said.client == "alice"
    return Audience.parse(said.audience).hosts


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (("--name", "no host"), "host name 'no host' must be letters"),
        (("--name", "a" * 181), "host names have 181 bytes, expected at most 180"),
        (("--retention", "0.5"), "retention is 43200 s; expected at least 86460 s"),
        (("--retention", "nan"), "retention is nan s; expected"),
    ],
)
def test_flags_that_cannot_be_served(copied, flags, why):
    refusal_line = refused("serve", "--home", copied, "--model", "m", "--port", 0, "--open", *flags)
    assert why in refusal_line
