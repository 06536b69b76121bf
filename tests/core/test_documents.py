"""JSON and TOML that somebody else wrote are read within bounds, or refused in one line."""

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import documents
from core.documents import DocumentError, parse_json, read_json, read_toml, shown

NUMBERS = st.one_of(st.integers(-(2**127), 2**127), st.floats(allow_nan=False, width=32))
DOCUMENTS = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS.filter(lambda x: abs(x) < 1e300), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=8,
)


@settings(max_examples=25)
@given(DOCUMENTS)
def test_documents_are_read_as_json_reads_them(document):
    assert parse_json(json.dumps(document)) == document


@given(st.one_of(st.text(), st.binary()))
def test_anything_else_is_a_document_error(text):
    with suppress(DocumentError):
        parse_json(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ("9" * 5_000, "a whole number that is too long"),
        ("[NaN]", "it holds NaN"),
        ("1e400", "holds the number inf"),
    ],
)
def test_bounds_of_json(text, message):
    with pytest.raises(DocumentError, match=message) as caught:
        parse_json(text)
    assert "\n" not in str(caught.value)


def test_files_are_text_of_a_bounded_size(tmp_path, monkeypatch):
    file = tmp_path / "x"
    file.write_bytes(b"\xef\xbb\xbfa = 1\n")
    assert read_toml(file) == {"a": 1}
    file.write_bytes(b"\xef\xbb\xbf[1]")
    assert read_json(file) == [1]
    file.write_bytes(b"a = '\xff'")
    with pytest.raises(DocumentError, match="is not UTF-8 text: invalid start byte at byte 5"):
        read_toml(file)
    monkeypatch.setattr(documents, "LARGEST", 1 << 20)
    file.write_bytes(b" " * ((1 << 20) + 1))
    with pytest.raises(DocumentError, match="is larger than 1 MiB"):
        read_json(file)


def test_values_are_shown_on_a_short_line():
    assert shown("a\nb") == r"'a\nb'"
    assert len(shown("x" * 10_000)) == documents.SHOWN
    assert shown(10**5000) == "(int, too long to show)"
