"""The audience of a challenge: written one way, read back, refused where it is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pow.audience import Audience

ids = st.text("0123456789abcdef", min_size=16, max_size=16)
hosts = st.lists(st.text("az09.:_-", min_size=2, max_size=20), max_size=3)
NAMES = ("fingerprint", "ledger", "books", "calibration")


@given(st.tuples(ids, ids, ids, ids), hosts)
def test_an_audience_comes_back(given_ids, names):
    audience = Audience(**dict(zip(NAMES, given_ids, strict=True)), hosts=tuple(names))
    assert str(audience) == " ".join([*given_ids, ",".join(names) or "-"])
    assert Audience.parse(str(audience)) == audience


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("fake/" + "f" * 16, "1 fields, expected 5"),
        (" ".join(["a" * 16] * 3 + ["A" * 16, "-"]), "calibration 'AAAA.*16 hex digits"),
        (" ".join(["a" * 16] * 3 + ["a" * 15, "-"]), "16 hex digits"),
        (" ".join(["a" * 16] * 4 + ["a,,b"]), "host name '' must be"),
        (" ".join(["a" * 16] * 4 + ["a,-"]), "host name '-' must be"),
        (
            " ".join(["a" * 16] * 4 + ["a" * 100 + "," + "b" * 80]),
            "181 bytes, expected at most",
        ),
    ],
)
def test_what_is_none_is_refused(text, why):
    with pytest.raises(ValueError, match=why):
        Audience.parse(text)
