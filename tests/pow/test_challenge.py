"""Challenge tokens: their integrity, and what redeems them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pow.challenge import (
    MAC_BYTES,
    Challenge,
    ExpiredChallenge,
    ForeignChallenge,
    ForgedChallenge,
    Keyring,
    MalformedChallenge,
    VerifiedDigests,
    WrongCounters,
    verify_counters,
)
from pow.hashcash import digest, leading_zero_bits
from pow.puzzle import MAX_WORK, puzzle_for

NOW = 1_795_262_400.0
RING = Keyring([b"s" * 32], entropy=lambda n: bytes(range(n)))


def issue(work=64, algorithm="sha1", ring=RING, **changes):
    fields = {
        "audience": "gate",
        "client": "ann",
        "request_id": "r1",
        "digest": bytes(32),
        "now": NOW,
        "expires": int(NOW) + 600,
    } | changes
    return ring.issue(puzzle_for(work, algorithm), **fields)


def solve(challenge):
    """k counters found by counting up, fixed width."""
    puzzle, found, i = challenge.puzzle, [], 0
    while len(found) < puzzle.count:
        counter = f"{i:08x}"
        stamp = (challenge.prefix + counter).encode()
        if leading_zero_bits(digest(stamp, puzzle.algorithm)) >= puzzle.bits:
            found.append(counter)
        i += 1
    return found


def test_a_token_under_another_text_is_another_puzzle():
    # A relay that shows its user a text of its own above the MAC of a gate gets no stamp of use.
    theirs, shown = issue(client="relay", audience="gate"), issue(client="ann", audience="relay")
    grafted = Challenge.parse(shown.token[:-MAC_BYTES] + theirs.token[-MAC_BYTES:])
    assert (grafted.client, grafted.puzzle) == ("ann", theirs.puzzle)
    assert grafted.prefix != theirs.prefix
    with pytest.raises(WrongCounters):
        verify_counters(theirs, solve(grafted))


@given(
    st.integers(0, MAX_WORK),
    st.sampled_from(("sha1", "sha256", "virtual")),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60),
    st.binary(max_size=64),
)
def test_tokens_come_back(work, algorithm, name, data):
    challenge = issue(work, algorithm, client=name, audience=name[::-1], digest=data)
    assert Challenge.parse(challenge.token) == challenge
    assert RING.verify(challenge.token, client=name, now=NOW) == challenge
    shifted = issue(
        work, algorithm, client=name + "x", audience=name[::-1][:-1] or "y", digest=data
    )
    assert shifted.token != challenge.token  # "gate" + "ann" is not "gat" + "eann"
    assert len(challenge.prefix) == 59 + (challenge.puzzle.bits > 9)


@given(st.data())
def test_no_changed_token_is_accepted(data):
    token = bytearray(issue().token)
    token[data.draw(st.integers(0, len(token) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises((MalformedChallenge, ForgedChallenge)):
        RING.verify(bytes(token), client="ann", now=NOW)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data):
    with pytest.raises(MalformedChallenge):
        Challenge.parse(data)


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (issue().token[:-1], "cut short"),
        (issue().token.replace(b"powgate/2", b"powgate/1"), "version"),
        (issue().token.replace(b"\x00\x04sha1", b"\x00\x04sha9"), "algorithm"),
        (issue().token.replace(b"\x00\x03ann", b"\x00\x03a\xffn"), "not a challenge"),
        (bytes(2000), "at most 1024"),
    ],
)
def test_malformed(token, why):
    with pytest.raises(MalformedChallenge, match=why):
        Challenge.parse(token)


@pytest.mark.parametrize(
    ("client", "after", "refusal", "why"),
    [
        ("x", 661, ExpiredChallenge, "expired 61 s ago"),
        ("ann", float("nan"), ExpiredChallenge, "expired"),
        ("ann", -61, ExpiredChallenge, "future"),
        ("bob", 0, ForeignChallenge, "another client"),
    ],
)
def test_refusals(client, after, refusal, why):
    token = issue().token
    RING.verify(token, client="ann", now=NOW + 660)
    with pytest.raises(refusal, match=why):
        RING.verify(token, client=client, now=NOW + after)
    with pytest.raises(ForgedChallenge, match="a key this gate"):  # comes first
        Keyring([b"t" * 32]).verify(token, client=client, now=NOW + after)


def test_rotation_keeps_the_previous_secret():
    old = issue()
    ring = Keyring([b"n" * 32, b"s" * 32])
    assert ring.verify(old.token, client="ann", now=NOW) == old
    assert ring.sealing_key(old) == RING.sealing_key(old)
    assert issue(ring=ring).key_id != old.key_id
    with pytest.raises(ForgedChallenge):
        RING.sealing_key(issue(ring=ring))


def test_sealing_keys_and_tokens_are_unique():
    keys = {RING.sealing_key(issue(request_id=f"r{i}")) for i in range(20)}
    assert [len(key) for key in keys] == [32] * 20
    assert len({issue(ring=Keyring([b"s" * 32])).token for _ in range(20)}) == 20


@pytest.mark.parametrize("secrets", [[], [b"short"], ["s" * 32], [b"s" * 32, b"s" * 31]])
def test_secrets_are_32_bytes(secrets):
    with pytest.raises(ValueError, match="secret"):
        Keyring(secrets)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"client": ""}, "client has 0"),
        ({"request_id": "é" * 129}, "request_id has 258"),
        ({"digest": bytes(65)}, "digest has 65"),
        ({"now": -1.0}, "no period"),
        ({"expires": int(NOW) - 1}, "no period"),
    ],
)
def test_fields_that_cannot_be_issued(change, why):
    with pytest.raises(ValueError, match=why):
        issue(**change)


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "argon2id"])
def test_counters(algorithm):
    found = solve(issue(64, algorithm))
    verify_counters(issue(64, algorithm), found)
    with pytest.raises(WrongCounters, match="worth"):
        verify_counters(issue(64, algorithm, request_id="r2"), found)


def _bad_counters():
    good = solve(issue())
    return [
        ([], "0 counters, expected 16"),
        ([*good, "zzzzzzzzz"], "17 counters"),
        ([*good[:-1], ""], "counter 15: the counter has 0"),
        ([*good[:-1], "0" * 65], "counter 15: the counter has 65"),
        ([*good[:-1], "0000000é"], "counter 15: the counter has characters"),
        (good[::-1], "counter 1 does not come after"),
        ([*good[:-1], "1"], "counter 15 does not come after"),
        ([*good[:-1], "zzzzzzzx"], "counter 15: worth"),
        ([1, *good[1:]], "counter 0: text expected"),
    ]


@pytest.mark.parametrize(("counters", "why"), _bad_counters(), ids=lambda x: str(x)[-30:])
def test_wrong_counters(counters, why):
    with pytest.raises(WrongCounters, match=why):
        verify_counters(issue(), counters)


def test_counters_of_another_number_or_order():
    verify_counters(issue(0), [])
    verify_counters(issue(1 << 30, "virtual"), [])
    with pytest.raises(WrongCounters, match="expected 0"):
        verify_counters(issue(1 << 30, "virtual"), ["0"])
    verify_counters(issue(3), ["f", "10", "11"])  # 0 bits; shorter ones come first
    with pytest.raises(WrongCounters, match="come after"):
        verify_counters(issue(3), ["10", "11", "f"])


def test_argon2id_digests_are_computed_once():
    challenge = issue(64, "argon2id")
    found = solve(challenge)
    verified = VerifiedDigests()
    for _ in range(3):
        verify_counters(challenge, found, verified)
    assert verified.computed == 4
    wrong = [*found[:3], "fffffffe"]
    for _ in range(3):
        with pytest.raises(WrongCounters):
            verify_counters(challenge, wrong, verified)
    assert verified.computed == 5
    verified = VerifiedDigests(2)  # it is bounded
    for stamp in (b"a", b"b", b"a", b"c", b"a", b"b"):
        verified.value(stamp)
    assert verified.computed == 4
    with pytest.raises(ValueError, match="capacity"):
        VerifiedDigests(0)
