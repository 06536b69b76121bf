"""Every bad payment, over loopback: forged, foreign, expired, and counters of all wrong kinds."""

import uuid

import grpc
import pytest
from asking import ANNE, BOB, counters_of, redeem, refusal, solved

from pow.challenge import Challenge, Keyring, verify_counters
from pow.hashcash import digest as hash_stamp
from pow.hashcash import leading_zero_bits
from pow.puzzle import puzzle_for
from protos import gate_pb2 as pb


def audience_of(stub) -> str:
    return stub.Describe(pb.DescribeRequest(), metadata=ANNE).audience


def test_wrong_counters_are_refused_and_the_right_ones_still_work(gate, stub):
    sealed, counters = solved(stub)
    wrong = {
        "none": [],
        "one missing": counters[:-1],
        "one too many": [*counters, "zzzzzzzz"],
        "repeated": [counters[0], *counters[:-1]],
        "unordered": counters[::-1],
        "too long": [*counters[:-1], "f" * 65],
        "empty": ["", *counters[1:]],
        "not in the alphabet": [*counters[:-1], "ü" * 8],
        "a colon": [*counters[:-1], "00:00000"],
        "a guess": [*counters[:-1], _failing(sealed.challenge)],
        "a flood": ["a"] * 2_000,
    }
    for name, given in wrong.items():
        code, reason, text, _ = redeem(stub, sealed.challenge, given)
        assert (code, reason) == ("INVALID_ARGUMENT", "WRONG_COUNTERS"), name
        assert text, name
    assert gate.ledger.account("anne").result().unpaid == 1
    paid = pb.RedeemRequest(challenge=sealed.challenge, counters=counters)
    assert stub.Redeem(paid, metadata=ANNE).key


def _failing(token):
    """A counter after all others that does not solve the challenge."""
    challenge = Challenge.parse(token)
    return next(
        counter
        for counter in (f"zzzzzzz{last}" for last in "abcdefgh")
        if leading_zero_bits(hash_stamp((challenge.prefix + counter).encode(), "sha1")) < 2
    )


def test_forged_and_truncated_challenges(stub):
    sealed, counters = solved(stub)
    token = sealed.challenge
    forged = Keyring([bytes(32)]).issue(
        puzzle_for(64),
        audience=audience_of(stub),
        client="anne",
        request_id=str(uuid.uuid4()),
        digest=b"d",
        now=1_790_000_000,
        expires=1_790_000_600,
    )
    for challenge, reason in (
        (b"", "MALFORMED_CHALLENGE"),
        (token[:-1], "MALFORMED_CHALLENGE"),
        (b"x" * 5000, "MALFORMED_CHALLENGE"),
        (token[:-1] + bytes([token[-1] ^ 1]), "FORGED_CHALLENGE"),
        (forged.token, "FORGED_CHALLENGE"),
    ):
        code, why, text, _ = redeem(stub, challenge, counters)
        assert (code, why) == ("INVALID_ARGUMENT", reason)
        assert text


def test_every_changed_byte_of_a_challenge_is_noticed(stub):
    sealed, counters = solved(stub)
    for at in range(0, len(sealed.challenge), 7):
        changed = bytearray(sealed.challenge)
        changed[at] ^= 1
        code, _, _, _ = redeem(stub, bytes(changed), counters)
        assert code == "INVALID_ARGUMENT"


@pytest.mark.parametrize("rpc", ["Predict", "Redeem"])
def test_bytes_that_are_no_message_show_nothing_of_the_parser(gate, rpc):
    with grpc.insecure_channel(gate.address) as channel:
        call = channel.unary_unary(f"/powgate.v1.Gate/{rpc}")
        assert refusal(call, b"\xff\xff\xff")[:2] == ("UNAUTHENTICATED", "MISSING_KEY")
        code, reason, text, _ = refusal(call, b"\xff\xff\xff", metadata=ANNE)
    assert (code, reason) == ("INVALID_ARGUMENT", "MALFORMED_MESSAGE")
    assert text == f"3 bytes are no request of /powgate.v1.Gate/{rpc}"


def test_a_redeem_of_many_counters_is_not_even_parsed(gate, stub):
    sealed, _ = solved(stub)
    code, reason, text, _ = redeem(stub, sealed.challenge, ["a"] * 10_000)
    assert (code, reason) == ("INVALID_ARGUMENT", "MALFORMED_MESSAGE")
    assert "expected at most 8192" in text


def test_another_clients_challenge(gate, stub):
    sealed, counters = solved(stub)
    code, reason, text, _ = redeem(stub, sealed.challenge, counters, who=BOB)
    assert (code, reason) == ("PERMISSION_DENIED", "FOREIGN_CHALLENGE")
    assert "anne" not in text
    assert gate.ledger.account("anne").result().unpaid == 1


def test_an_expired_challenge(gate, stub):
    sealed, counters = solved(stub)
    gate.clock.now += 600 + 61
    code, reason, _text, _ = redeem(stub, sealed.challenge, counters)
    assert (code, reason) == ("FAILED_PRECONDITION", "EXPIRED_CHALLENGE")
    gate.clock.now -= 30  # within the skew
    paid = pb.RedeemRequest(challenge=sealed.challenge, counters=counters)
    assert stub.Redeem(paid, metadata=ANNE).key


def test_a_challenge_the_ledger_knows_nothing_of(gate, stub):
    genuine = Keyring([bytes(range(32))]).issue(
        puzzle_for(1),
        audience=audience_of(stub),
        client="anne",
        request_id=str(uuid.uuid4()),
        digest=b"d",
        now=gate.clock.now,
        expires=int(gate.clock.now) + 600,
    )
    counters = counters_of(genuine)
    verify_counters(genuine, counters)
    code, reason, _, _ = redeem(stub, genuine.token, counters)
    assert (code, reason) == ("FAILED_PRECONDITION", "NOTHING_TO_REDEEM")
