import json
import os
import threading
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
    | st.floats(allow_nan=False, width=64).filter(lambda x: abs(x) != float("inf")),
    max_size=4,
)
kinds = st.text("abcdefg", min_size=1, max_size=8)
SLOWLY = settings(
    deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def fresh(folder: Path) -> Path:
    path = folder / "run.jsonl"
    path.unlink(missing_ok=True)
    return path


@given(fields, st.lists(st.tuples(kinds, fields), max_size=5))
@SLOWLY
def test_what_is_written_is_read(tmp_path, header, lines):
    path = fresh(tmp_path)
    with RecordWriter(path, header) as writer:
        for kind, record in lines:
            writer.write(kind, **record)
    assert read(path) == (
        {"kind": "header", **header},
        [{"kind": kind, **record} for kind, record in lines],
    )


@given(st.data())
@SLOWLY
def test_a_killed_writer_loses_at_most_its_last_line(tmp_path, data):
    path = fresh(tmp_path)
    with RecordWriter(path, {"seed": 1}) as writer:
        for i in range(3):
            writer.write("predict", i=i, text="é\n")
    whole = path.read_bytes()
    first = whole.index(b"\n")
    cut = data.draw(st.integers(first + 1, len(whole)))
    path.write_bytes(whole[:cut])
    header, records = read(path)
    complete = whole[:cut].count(b"\n") - 1
    assert records[:complete] == [
        {"kind": "predict", "i": i, "text": "é\n"} for i in range(complete)
    ]
    dangling = cut not in (len(whole), first + 1) and whole[cut - 1 : cut] != b"\n"
    if dangling and len(records) == complete:
        assert header == {"kind": "header", "seed": 1, "truncated": True}
    else:  # nothing is missing but, at most, the newline
        assert header == {"kind": "header", "seed": 1}
        assert len(records) == complete + dangling


def test_lines_are_on_their_way_before_write_returns(tmp_path):
    with RecordWriter(tmp_path / "r", {}) as writer:
        assert read(tmp_path / "r") == ({"kind": "header"}, [])
        writer.write("end", status="done")
        assert read(tmp_path / "r")[1] == [{"kind": "end", "status": "done"}]


def test_an_existing_file_is_never_touched(tmp_path):
    path = tmp_path / "r"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match="r'"):
        RecordWriter(path, {})
    assert path.read_text() == "precious"


def test_folders_are_made(tmp_path):
    with RecordWriter(tmp_path / "a" / "b" / "r", {}):
        pass
    assert read(tmp_path / "a" / "b" / "r")[1] == []


def test_numbers_of_numpy_stay_numbers(tmp_path):
    with RecordWriter(tmp_path / "r", {"path": Path("x/y")}) as writer:
        writer.write("a", i=np.int64(3), x=np.float32(0.5), b=np.bool_(True), v=np.arange(3))
    header, records = read(tmp_path / "r")
    assert header["path"] == "x/y"
    assert records == [{"kind": "a", "i": 3, "x": 0.5, "b": True, "v": [0, 1, 2]}]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float32("nan")])
def test_what_is_not_a_number_is_not_written(tmp_path, value):
    with RecordWriter(tmp_path / "r", {}) as writer:
        with pytest.raises(ValueError, match="a 'loss' line cannot be written as JSON"):
            writer.write("loss", value=value)
        writer.write("end")
    assert read(tmp_path / "r")[1] == [{"kind": "end"}]


def test_a_bad_header_leaves_no_file(tmp_path):
    with pytest.raises(TypeError, match="a record cannot hold a set"):
        RecordWriter(tmp_path / "r", {"seed": {1}})
    with pytest.raises(ValueError, match="'kind' is 'run', expected 'header'"):
        RecordWriter(tmp_path / "r", {"kind": "run"})
    assert os.listdir(tmp_path) == []


def test_a_second_header_is_not_written(tmp_path):
    with RecordWriter(tmp_path / "r", {}) as writer, pytest.raises(ValueError, match="one header"):
        writer.write("header")


def test_threads_do_not_mix_lines(tmp_path):
    with RecordWriter(tmp_path / "r", {}) as writer:
        threads = [
            threading.Thread(
                target=lambda who: [writer.write("x", who=who, i=i) for i in range(100)], args=(t,)
            )
            for t in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    _, records = read(tmp_path / "r")
    for who in range(4):
        assert [r["i"] for r in records if r["who"] == who] == list(range(100))


HEADER = b'{"kind": "header"}\n'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1: expected a complete header"),
        (b'{"kind": "hea', "line 1: expected a complete header"),
        (b'{"kind": "predict"}\n', "line 1: expected a complete header"),
        (HEADER + b'{"kind": "pre\n{"kind": "end"}\n', "line 2: not JSON"),
        (HEADER + b'{"kind": "end"}\n\n', "line 3: not JSON"),
        (HEADER + b"[1]\n", "line 2: expected an object with a 'kind'"),
        (HEADER + b'{"at": 1}\n', "line 2: expected an object with a 'kind'"),
        (HEADER + b'{"kind": "a"}\n' + HEADER, "line 3: a second header"),
        (HEADER + b"\xff\xfe\n", "line 2: not JSON"),
    ],
)
def test_malformed_files_are_refused_by_line(tmp_path, content, message):
    path = tmp_path / "r.jsonl"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_a_missing_record_is_named(tmp_path):
    with pytest.raises(RecordError, match=r"cannot read the record .*absent: No such file"):
        read(tmp_path / "absent")


def test_provenance_says_what_a_result_depends_on():
    facts = provenance(7)
    assert facts["seed"] == 7
    assert json.loads(json.dumps(facts)) == facts
    assert facts["cores"] >= 1
    assert facts["cpu"]
    assert set(facts["packages"]) == set(PACKAGES)
    assert facts["packages"]["numpy"] == np.__version__
    assert facts["git_revision"] is None or len(facts["git_revision"]) == 40
    assert facts["date"].endswith("+00:00")


def test_without_git_there_is_no_revision(monkeypatch):
    monkeypatch.setenv("PATH", "")
    facts = provenance(None)
    assert facts["git_revision"] is None
    assert facts["git_modified"] is None


@pytest.mark.parametrize("end", ["", '{"kind": "a", "n": 3}', '{"kind": "a", "n'])
def test_a_record_goes_on_where_it_ended(tmp_path, end):
    path = tmp_path / "r.jsonl"
    with RecordWriter(path, {"seed": 1}) as record:
        record.write("a", n=2)
    with open(path, "a") as file:
        file.write(end)
    with RecordWriter.reopen(path) as record:
        record.write("a", n=4)
    header, lines = read(path)
    assert header == {"kind": "header", "seed": 1}  # not truncated any more
    assert [line["n"] for line in lines] == ([2, 3, 4] if end.endswith("}") else [2, 4])
