import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.records import PACKAGES, RecordError, RecordWriter, provenance, read

fields = st.dictionaries(
    st.text(min_size=1, max_size=5).filter(lambda key: key != "kind"),
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    max_size=4,
)
kinds = st.text("abcdefg", min_size=1, max_size=8)
SLOWLY = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(fields, st.lists(st.tuples(kinds, fields), max_size=5))
@SLOWLY
def test_what_is_written_is_read(tmp_path, header, lines):
    path = tmp_path / "a" / "b" / "r"
    path.unlink(missing_ok=True)
    with RecordWriter(path, header) as writer:
        for number, (kind, record) in enumerate(lines):
            assert len(read(path)[1]) == number  # on its way before write returns
            writer.write(kind, **record)
    assert read(path) == (
        {"kind": "header", **header},
        [{"kind": kind, **record} for kind, record in lines],
    )


def test_a_killed_writer_loses_at_most_its_last_line_and_its_record_goes_on(tmp_path):
    path = tmp_path / "r"
    with RecordWriter(path, {"seed": 1}) as writer:
        for i in range(3):
            writer.write("predict", i=i, text="é\n")
    whole = path.read_bytes()
    ends = [at for at, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(ends[0] + 1, len(whole) + 1):
        path.write_bytes(whole[:cut])
        kept = sum(end <= cut for end in ends) - 1  # only the newline may be missing
        header, records = read(path)
        assert [record["i"] for record in records] == list(range(kept))
        dangling = whole[cut - 1 : cut] != b"\n" and cut not in ends
        assert header == {"kind": "header", "seed": 1} | ({"truncated": True} if dangling else {})
        with RecordWriter.reopen(path) as writer:
            writer.write("predict", i=9)
        header, records = read(path)
        assert header == {"kind": "header", "seed": 1}  # not truncated any more
        assert [record["i"] for record in records] == [*range(kept), 9]


def test_numbers_of_numpy_stay_numbers(tmp_path):
    with RecordWriter(tmp_path / "r", {"path": Path("x/y")}) as writer:
        writer.write("a", i=np.int64(3), x=np.float32(0.5), b=np.bool_(True), v=np.arange(3))
    header, records = read(tmp_path / "r")
    assert header["path"] == "x/y"
    assert records == [{"kind": "a", "i": 3, "x": 0.5, "b": True, "v": [0, 1, 2]}]


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    for header, error, message in (
        ({"seed": {1}}, TypeError, "a record cannot hold a set"),
        ({"kind": "run"}, ValueError, "'kind' is 'run', expected 'header'"),
    ):
        with pytest.raises(error, match=message):
            RecordWriter(tmp_path / "r", header)
    assert os.listdir(tmp_path) == []
    with RecordWriter(tmp_path / "r", {}) as writer:
        with pytest.raises(ValueError, match="one header"):
            writer.write("header")
        for value in (float("nan"), float("inf"), np.float32("nan")):
            with pytest.raises(ValueError, match="a 'loss' line cannot be written as JSON"):
                writer.write("loss", value=value)
    with pytest.raises(FileExistsError, match="r'"):
        RecordWriter(tmp_path / "r", {})
    assert read(tmp_path / "r")[1] == []  # never touched


def test_threads_do_not_mix_lines(tmp_path):
    with RecordWriter(tmp_path / "r", {}) as writer:

        def write(who):
            for i in range(100):
                writer.write("x", who=who, i=i)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, range(4)))
    _, records = read(tmp_path / "r")
    for who in range(4):
        assert [r["i"] for r in records if r["who"] == who] == list(range(100))


HEADER = b'{"kind": "header"}\n'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"cannot read the record .*r.jsonl: No such file"),
        (b"", "line 1: expected a complete header"),
        (b'{"kind": "hea', "line 1: expected a complete header"),
        (b'{"kind": "predict"}\n', "line 1: expected a complete header"),
        (HEADER + b'{"kind": "pre\n{"kind": "end"}\n', "line 2: not JSON"),
        (HEADER + b'{"kind": "end"}\n\n', "line 3: not JSON"),
        (HEADER + b'{"at": 1}\n', "line 2: expected an object with a 'kind'"),
        (HEADER + b'{"kind": "a"}\n' + HEADER, "line 3: a second header"),
    ],
)
def test_malformed_files_are_refused_by_line(tmp_path, content, message):
    path = tmp_path / "r.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecordError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_provenance_says_what_a_result_depends_on(monkeypatch):
    facts = provenance(7)
    assert json.loads(json.dumps(facts)) == facts
    assert (facts["seed"], facts["cores"] >= 1, bool(facts["cpu"])) == (7, True, True)
    assert set(facts["packages"]) == set(PACKAGES)
    assert facts["packages"]["numpy"] == np.__version__
    assert facts["git_revision"] is None or len(facts["git_revision"]) == 40
    assert facts["date"].endswith("+00:00")
    monkeypatch.setenv("PATH", "")  # no git
    facts = provenance(None)
    assert (facts["git_revision"], facts["git_modified"]) == (None, None)
