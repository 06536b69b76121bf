"""The stamp format: golden stamps, dates, claims, and what is refused with which reason."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pow import hashcash

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/hashcash_stamps.json").read_text())
NOON = 1_795_262_400.0  # 2026-11-21 12:00:00 UTC
GOOD = "1:4:991231:model-extraction-warning::AbCdEfGh:14"


@pytest.mark.parametrize("case", GOLDEN["stamps_valid"], ids=lambda c: c["stamp"])
def test_golden_valid(case):
    assert hashcash.digest(case["stamp"].encode()).hex() == case["sha1"]
    assert hashcash.value(case["stamp"]) == case["leading_zero_bits"]
    assert hashcash.check(case["stamp"], case["bits"], "model-extraction-warning")
    assert not hashcash.check(case["stamp"], case["bits"] + 1)


@pytest.mark.parametrize("case", GOLDEN["stamps_invalid"], ids=lambda c: c["why"])
def test_golden_invalid(case):
    late = {"now": NOON, "max_age": 86_400.0} if "expired" in case["why"] else {}
    assert not hashcash.check(case["stamp"], case["bits_required"], case["resource"], **late)


@pytest.mark.parametrize(
    ("stamp", "why"),
    [
        ("", "version 1"),
        ("0:991231:somebody:123", "version 1"),
        (GOOD + ":extra", "version 1"),
        (GOOD.replace(":4:", ":-4:"), "claimed bits"),
        (GOOD.replace(":4:", ":٤:"), "claimed bits"),
        (GOOD.replace(":4:", ":161:"), "has 160"),
        (GOOD.replace(":4:", ":3:"), "4 are required"),
        (GOOD.replace("991231", "991332"), "date"),
        (GOOD.replace("991231", "260230"), "date"),
        (GOOD.replace("model-extraction-warning", ""), "resource has 0"),
        (GOOD.replace("model-extraction-warning", "r" * 257), "resource has 257"),
        (GOOD.replace("model-extraction-warning", "a b"), "printable ASCII"),
        (GOOD.replace("::", ":é:"), "extension"),
        (GOOD.replace("AbCdEfGh", "AbCd!"), "random field"),
        (GOOD[:-2], "counter has 0"),
        (GOOD + "0" * 63, "counter has 65"),
        (GOOD + "\n", "counter has characters"),
        (GOOD.replace(":14", ":15"), "is worth"),
        ("1:" + "x" * 2000, "at most 1024"),
        (None, "text"),
    ],
)
def test_refused_with_a_reason(stamp, why):
    reason = hashcash.refusal(stamp, 4)
    assert reason is not None
    assert why in reason
    assert not hashcash.check(stamp, 4)
    assert "not for 'other'" in str(hashcash.refusal(GOOD, 4, "other"))


@given(st.text(max_size=80), st.integers(0, 60))
def test_no_text_raises(stamp, bits):
    assert hashcash.check(stamp, bits) is False
    hashcash.check(f"1:{bits}:{stamp}", bits, "x", now=NOON, max_age=1.0)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        *(({"bits": bits}, "bits must be") for bits in (-1, 61, 4.0, True, "4", None)),
        ({"algorithm": "md5"}, "algorithm must be one of"),
        ({"max_age": 5.0}, "needs now"),
        ({"now": float("nan")}, "now must be"),
        ({"now": NOON, "max_age": float("nan")}, "max_age must be .* zero or more"),
        ({"grace": -1.0}, "grace must be .* zero or more"),
    ],
)
def test_the_callers_own_mistakes_raise(options, why):
    with pytest.raises(ValueError, match=why):
        hashcash.check(GOOD, **{"bits": 4, **options})


@pytest.mark.parametrize(
    ("date", "age", "why"),
    [
        ("261121120000", 0, None),
        ("261121115000", 600, None),
        ("261121114859", 600, "661 s old"),
        ("261121120101", 0, "future"),
        ("261122", None, "future"),
        ("261120", 86_400, "old"),
        ("261120", None, None),
        ("681231", None, "future"),
    ],
)
def test_dates_against_a_clock(date, age, why):
    reason = hashcash.refusal(f"1:0:{date}:a::r:0", 0, now=NOON, max_age=age)
    assert (reason is None) == (why is None)
    assert (why or "") in (reason or "")


def test_dates_come_back():
    for width, unit in ((6, 86_400), (10, 60), (12, 1)):
        date = hashcash.format_date(NOON + 3_671, width)
        assert hashcash.parse_date(date) == (NOON + 3_671) // unit * unit
    with pytest.raises(ValueError, match="6, 10 or 12"):
        hashcash.format_date(NOON, 8)
    with pytest.raises(ValueError, match="is not a date"):
        hashcash.format_date(float("inf"))


@pytest.mark.parametrize(("algorithm", "bits"), [("sha1", 8), ("sha256", 8), ("argon2id", 2)])
def test_mint_reference(algorithm, bits):
    stamp = hashcash.mint_reference("you@example.org", bits, algorithm, now=NOON, ext="a=1")
    assert stamp.startswith(f"1:{bits}:261121120000:you@example.org:a=1:")
    assert hashcash.check(stamp, bits, "you@example.org", algorithm, now=NOON, max_age=0)
    again = [hashcash.mint_reference("a", 2, algorithm, now=NOON, rand="Rand") for _ in range(2)]
    assert again[0] == again[1]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        *(({"resource": r}, "resource") for r in ("", "a:b", "a b", "é", "r" * 257)),
        ({"ext": "a:b"}, "extension"),
        ({"bits": 61}, "bits must be"),
        ({"rand": "!"}, "random field"),
    ],
)
def test_fields_that_cannot_be_written(fields, why):
    with pytest.raises(ValueError, match=why):
        hashcash.mint_reference(**{"resource": "a", "bits": 0} | fields)
