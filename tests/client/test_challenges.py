"""A session solves the challenges of its own gate only: who passes on another's gets nothing."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest
from fake_gate import IMAGES, FakeGate, asking, counted

from client.session import BadAnswer, Session
from pow.puzzle import ALGORITHMS, Puzzle, puzzle_for
from protos.gate_pb2_grpc import GateServicer, GateStub, add_GateServicer_to_server

OTHER = "00000000-0000-0000-0000-000000000009"
NAMES = ("gate.example", "10.0.0.7", "::1")


@pytest.fixture
def solved(monkeypatch):
    """Offers whose puzzles were solved."""
    return counted(monkeypatch)


@pytest.mark.parametrize(
    ("target", "tls", "name", "hosts", "fine"),
    [
        ("gate.example:1", True, None, NAMES, True),
        ("GATE.example.:1", True, None, NAMES, True),
        ("other.example:1", True, None, NAMES, False),
        ("other.example:1", True, "gate.example", NAMES, True),
        ("gate.example:1", True, "other.example", NAMES, False),
        ("gate.example:1", True, None, (), False),  # under TLS a gate has a name
        ("gate.example:1", False, None, (), True),
        ("other.example:1", False, None, NAMES, False),
        ("127.0.0.1:1", False, None, NAMES, True),  # of this machine, say a tunnel
        ("127.0.0.1:1", True, None, (), True),
        ("127.0.0.1:1", True, "other.example", NAMES, False),
        ("[::1]:1", True, "::1", NAMES, True),
    ],
)
def test_a_gate_calls_itself_what_was_dialled(own_certificate, target, tls, name, hosts, fine):
    gate = FakeGate(hosts=hosts)
    ca = own_certificate if tls else None
    given = {"client_id": "anne", "ca": ca, "name": name, "solver": "python"}
    with Session(target, stub=gate, **given) as session:
        if fine:
            assert session.predict(IMAGES).shape == (2, 3)
        else:
            with pytest.raises(BadAnswer, match=r"the gate (calls itself|has no public name)"):
                session.predict(IMAGES)
            assert gate.asked["Predict"] == 0


class Relay(GateServicer):
    """Passes every question on to a gate, in its own name, and what that says back."""

    def __init__(self, address, pretended):
        self._stub = GateStub(grpc.insecure_channel(address))
        self._own = (("client-id", "mallory"),)
        self._pretended = pretended

    def Describe(self, request, context):  # noqa: N802
        said = self._stub.Describe(request, metadata=self._own)
        for name, value in self._pretended.items():
            setattr(said, name, value)
        return said

    def Predict(self, request, context):  # noqa: N802
        return self._stub.Predict(request, metadata=self._own)


@contextmanager
def relaying(gate, **pretended):
    server = grpc.server(ThreadPoolExecutor(2))
    add_GateServicer_to_server(Relay(gate.address, pretended), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@pytest.mark.parametrize(
    ("pretended", "given", "message"),
    [
        ({}, {"client_id": "anne"}, "anne"),
        ({"client": "anne"}, {"client_id": "anne"}, "anne"),
        # It may know its users by their keys only, and say what it is called itself; its own name
        # it cannot change.
        (
            {},
            {"key": "secret", "name": "relay.example"},
            r"calls itself victim\.example; expected relay\.example",
        ),
    ],
)
def test_a_relaying_gate_has_its_users_solve_nothing(gate_with, solved, pretended, given, message):
    with (
        gate_with(hosts=("victim.example",)) as gate,
        relaying(gate, **pretended) as address,
        Session(address, solver="python", **given) as session,
        pytest.raises(BadAnswer, match=message),
    ):
        session.predict(IMAGES)
    assert not solved
    assert gate.computed == bool(pretended)


def offering(gate, **changes):
    """Has the gate's challenges changed."""
    gate.changed["Predict"] = lambda sealed: gate.sealed(gate.requests[-1], **changes)
    return gate


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"request_id": OTHER}, "request id"),
        ({"digest": bytes(32)}, "digest"),
        ({"client": "bob"}, "client"),
        ({"audience": "another gate"}, "audience"),
    ],
)
@pytest.mark.parametrize("hashes", [0, 64])
def test_a_challenge_that_is_not_its_own_is_not_solved(solved, change, what, hashes):
    gate = offering(FakeGate(hashes), **change)
    with (
        asking(gate) as session,
        pytest.raises(BadAnswer, match=f"the challenge is for {what}") as caught,
    ):
        session.predict(IMAGES)
    assert not solved
    assert caught.value.request_id == gate.requests[-1].request_id


@pytest.mark.parametrize(
    ("asked", "receipt"), [(1 << 20, 1), (64, 0), (64, 32), (100, 104), (64, 1 << 40)]
)
def test_a_puzzle_of_other_work_than_the_receipt_s_is_not_solved(solved, asked, receipt):
    gate = offering(FakeGate(receipt), puzzle=puzzle_for(asked))
    with asking(gate) as session, pytest.raises(BadAnswer, match=f"receipt says {receipt} hashes"):
        session.predict(IMAGES)
    tries = offering(FakeGate(64, algorithm="argon2id"), puzzle=Puzzle("argon2id", 6, 4))
    with asking(tries) as session, pytest.raises(BadAnswer, match="256 expected tries"):
        session.predict(IMAGES)
    assert not solved


@pytest.mark.parametrize("described", ["sha1", "sha256", "argon2id"])
@pytest.mark.parametrize("asked", ALGORITHMS)
def test_a_puzzle_of_another_algorithm_is_not_solved(solved, described, asked):
    for work in (1, 15, 16, 33, 63, 65, 1000, 1001) if asked == described == "sha1" else ():
        with asking(FakeGate(work)) as session:  # rounded to what a puzzle can be
            assert session.predict(IMAGES).shape == (2, 3)
    gate = offering(FakeGate(64, algorithm=described), puzzle=puzzle_for(64, asked))
    with asking(gate) as session:
        if asked == described or (described, asked) == ("argon2id", "sha1"):
            assert session.predict(IMAGES).shape == (2, 3)
        else:
            with pytest.raises(BadAnswer, match=f"the puzzle is {asked}; expected"):
                session.predict(IMAGES)
            assert not solved


def test_a_gate_that_was_restarted_under_another_audience_is_asked_who_it_is_once():
    gate = FakeGate()
    with asking(gate) as session:
        session.predict(IMAGES)
        gate.audience = FakeGate(hosts=("gate.example",)).audience
        session.predict(IMAGES)
        assert session.service.audience == gate.audience
    assert gate.asked["Describe"] == 2
