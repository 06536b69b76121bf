"""The audience of a challenge: written one way, read back, refused where it is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pow.audience import Audience

IDS = {
    name: char * 16 for name, char in zip(("fingerprint", "ledger", "books"), "abc", strict=True)
}
ids = st.text("0123456789abcdef", min_size=16, max_size=16)
hosts = st.lists(st.from_regex(r"[a-z0-9]([a-z0-9.:]){0,20}", fullmatch=True), max_size=3)


@given(ids, ids, ids, ids, hosts)
def test_an_audience_comes_back(fingerprint, ledger, books, calibration, names):
    audience = Audience(
        fingerprint=fingerprint,
        ledger=ledger,
        books=books,
        calibration=calibration,
        hosts=tuple(names),
    )
    assert Audience.parse(str(audience)) == audience


def test_it_is_written_like_this():
    audience = Audience(**IDS, calibration="d" * 16, hosts=("gate.example", "::1"))
    assert str(audience) == f"{'a' * 16} {'b' * 16} {'c' * 16} {'d' * 16} gate.example,::1"
    assert str(Audience(**IDS, calibration="d" * 16)).endswith(" -")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "1 fields, expected 5"),
        ("fake/" + "f" * 16, "1 fields, expected 5"),
        (" ".join(["a" * 16] * 3 + ["A" * 16, "-"]), "calibration 'AAAA.*16 hex digits"),
        (" ".join(["a" * 16] * 3 + ["a" * 15, "-"]), "16 hex digits"),
        (" ".join(["a" * 16] * 4 + ["a,,b"]), "host name '' must be"),
        (" ".join(["a" * 16] * 4 + ["a,-"]), "host name '-' must be"),
        (" ".join(["a" * 16] * 4 + ["-", "-"]), "6 fields"),
        (
            " ".join(["a" * 16] * 4 + ["a" * 100 + "," + "b" * 80]),
            "181 bytes, expected at most",
        ),
    ],
)
def test_what_is_none_is_refused(text, why):
    with pytest.raises(ValueError, match=why):
        Audience.parse(text)
