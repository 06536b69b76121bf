"""Every bad payment, over loopback: forged, foreign, expired, and counters of all wrong kinds."""

import uuid

import pytest
from asking import ANNE, BOB, counters_of, paid, redeem, request, solved
from ledgers import Clock, Flat

from pow.challenge import Challenge, Keyring, verify_counters
from pow.puzzle import puzzle_for
from protos import gate_pb2 as pb
from server.ledger.sqlite import SqliteLedger
from server.limits import WRONG_ANSWERS, WRONG_SECONDS, WrongAnswerLimiter
from server.refusals import TooManyWrongCounters

NOW = 1_790_000_000.0  # of the gates under test, too


def issued(stub, secret, puzzle):
    """A challenge for anne that the gate has not issued."""
    return Keyring([secret]).issue(
        puzzle,
        audience=stub.Describe(pb.DescribeRequest(), metadata=ANNE).audience,
        client="anne",
        request_id=str(uuid.uuid4()),
        digest=b"d",
        now=NOW,
        expires=int(NOW) + 600,
    )


def test_wrong_counters_are_refused_and_the_right_ones_still_work(gate, stub):
    sealed, counters = solved(stub)
    for given in (
        [],
        counters[::-1],
        [*counters[:-1], "ü" * 8],
        [f"{guess:08x}" for guess in range(len(counters))],
        ["a"] * 2_000,
    ):
        code, reason, text, _ = redeem(stub, sealed.challenge, given)
        assert (code, reason) == ("INVALID_ARGUMENT", "WRONG_COUNTERS"), text
    code, reason, text, _ = redeem(stub, sealed.challenge, ["a"] * 10_000)
    assert (code, reason) == ("INVALID_ARGUMENT", "MALFORMED_MESSAGE")  # not even parsed
    assert "expected at most 8192" in text
    assert gate.ledger.account("anne").result().unpaid == 1
    assert paid(stub, sealed)


def test_forged_and_truncated_challenges(stub):
    sealed, counters = solved(stub)
    token = sealed.challenge
    for challenge, reason in (
        (token[:-1], "MALFORMED_CHALLENGE"),
        (b"x" * 5000, "MALFORMED_CHALLENGE"),
        (token[:-1] + bytes([token[-1] ^ 1]), "FORGED_CHALLENGE"),
        (issued(stub, bytes(32), puzzle_for(64)).token, "FORGED_CHALLENGE"),
    ):
        code, why, text, _ = redeem(stub, challenge, counters)
        assert (code, why) == ("INVALID_ARGUMENT", reason)
        assert text


def test_another_clients_challenge(gate, stub):
    sealed, counters = solved(stub)
    code, reason, text, _ = redeem(stub, sealed.challenge, counters, who=BOB)
    assert (code, reason) == ("PERMISSION_DENIED", "FOREIGN_CHALLENGE")
    assert "anne" not in text


def test_an_expired_challenge_and_one_from_the_future(gate, stub):
    sealed, counters = solved(stub)
    gate.clock.now += 600 + 61
    code, reason, _, _ = redeem(stub, sealed.challenge, counters)
    assert (code, reason) == ("FAILED_PRECONDITION", "EXPIRED_CHALLENGE")
    gate.clock.now -= 30  # within the skew
    assert paid(stub, sealed)
    gate.clock.now += 86_400
    asked = request()
    sealed = stub.Predict(asked, metadata=ANNE)
    gate.clock.now -= 86_400
    early = counters_of(sealed.challenge)
    assert redeem(stub, sealed.challenge, early)[1] == "EXPIRED_CHALLENGE"
    assert paid(stub, stub.Predict(asked, metadata=ANNE))  # asked for again


def test_a_challenge_the_ledger_knows_nothing_of(stub):
    genuine = issued(stub, bytes(range(32)), puzzle_for(1))
    counters = counters_of(genuine.token)
    verify_counters(genuine, counters)
    code, reason, _, _ = redeem(stub, genuine.token, counters)
    assert (code, reason) == ("FAILED_PRECONDITION", "NOTHING_TO_REDEEM")


@pytest.fixture
def books(tmp_path):
    """Opens ledgers of the same file, or another, under a price list."""
    ledgers = []

    def open_books(hashes, fingerprint="f", name="ledger.db", algorithm="sha1"):
        tariff, file = Flat(hashes=hashes, algorithm=algorithm), tmp_path / name
        ledgers.append(
            SqliteLedger(file, fingerprint=fingerprint, tariff=tariff, clock=lambda: NOW)
        )
        return ledgers[-1]

    yield open_books
    for ledger in ledgers:
        ledger.close()


def test_a_token_of_another_price_list_does_not_settle_this_ones_charge(gate_with, books):
    asked = request()
    with gate_with(ledger=books(0, "none")) as free, gate_with(ledger=books(64, "rate")) as priced:
        given, sealed = (gate.stub.Predict(asked, metadata=ANNE) for gate in (free, priced))
        # What it gives is the key of the answer that was free anyway.
        assert paid(priced.stub, given) == given.key.key
        account = priced.ledger.account("anne").result()
        assert (account.unpaid, account.entered) == (1, False)
        assert paid(priced.stub, sealed)
        assert priced.ledger.account("anne").result().entered


def test_a_token_of_another_ledger_is_foreign(gate_with, books):
    asked = request()
    with gate_with(ledger=books(1)) as cheap, gate_with(ledger=books(64, name="other.db")) as other:
        sealed, _ = (gate.stub.Predict(asked, metadata=ANNE) for gate in (cheap, other))
        counters = counters_of(sealed.challenge)
        code, reason, text, _ = redeem(other.stub, sealed.challenge, counters)
        assert (code, reason) == ("PERMISSION_DENIED", "FOREIGN_CHALLENGE")
        assert text == "the challenge was issued from another ledger"
        assert other.ledger.account("anne").result().unpaid == 1


def test_a_restart_loses_no_solved_work(gate_with, books):
    ledger = books(64)
    with gate_with(ledger=ledger) as gate:
        sealed = gate.stub.Predict(request(), metadata=ANNE)
    ledger.close()
    with gate_with(ledger=books(128, "another price list", algorithm="sha256")) as gate:
        assert paid(gate.stub, sealed)
        assert gate.records[-1]["kind"] == "redeem"


@pytest.mark.parametrize("algorithm", ["sha1", "argon2id"])
def test_a_flood_of_wrong_counters_is_cut_off_and_harms_nobody_else(gate_with, algorithm):
    elapsed = Clock()
    with gate_with(hashes=64, algorithm=algorithm, elapsed=elapsed) as gate:
        stub = gate.stub
        sealed = stub.Predict(request(), metadata=ANNE)
        count = Challenge.parse(sealed.challenge).puzzle.count
        few = [f"{n:04}" for n in range(count - 1)]
        seen = [redeem(stub, sealed.challenge, few)[:2] for _ in range(WRONG_ANSWERS + 3)]
        assert seen[:WRONG_ANSWERS] == [("INVALID_ARGUMENT", "WRONG_COUNTERS")] * WRONG_ANSWERS
        assert seen[WRONG_ANSWERS:] == [("RESOURCE_EXHAUSTED", "TOO_MANY_WRONG_COUNTERS")] * 3
        assert paid(stub, stub.Predict(request(), metadata=BOB), BOB)
        gate.clock.now -= 30  # a clock that is set back prolongs nothing
        elapsed.now += WRONG_SECONDS
        assert paid(stub, sealed)


def test_wrong_answers_are_forgotten_one_by_one():
    now = [0.0]
    limiter = WrongAnswerLimiter(lambda: now[0])
    for second in range(WRONG_ANSWERS):
        now[0] = float(second)
        limiter.check("anne")
        limiter.add("anne")
    with pytest.raises(TooManyWrongCounters, match="try again in 45 s"):
        limiter.check("anne")
    limiter.check("bob")
    now[0] = WRONG_SECONDS + 0.5  # the first is forgotten
    limiter.check("anne")
