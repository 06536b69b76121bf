"""A client as a process: its flags, its pace, its images, its record, and how it ends."""

import json
import math
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
from fake_gate import IMAGES, FakeGate, FakeTime, asking

from client import __main__ as command
from client import honest, process
from client.errors import BadAnswer
from client.options import Connection
from client.process import Pace, Recorder, recorded
from core.learning.drift import drifted
from core.records import read


@pytest.mark.parametrize(
    ("takes", "pace", "expected"),
    [
        ([0.1, 0.1, 0.1], 1.0, [0, 1, 2]),
        ([2.5, 0.1, 0.1], 1.0, [0, 2.5, 3.5]),  # a late request is followed at once
        ([0.5, 0.5], 0.0, [0, 0.5]),
    ],
)
def test_requests_keep_the_pace(takes, pace, expected):
    time, begun = FakeTime(), []
    due = Pace(pace, clock=time, sleep=time.sleep)
    for seconds in takes:
        due.wait()
        begun.append(round(time.now - 1000, 6))
        time.now += seconds
    assert begun == expected


def test_images_repeat_only_after_all_were_asked():
    order = honest.repeated_order(5, 12, np.random.default_rng(1))
    assert sorted(order[:5]) == sorted(order[5:10]) == [0, 1, 2, 3, 4]
    assert len(order) == 12
    np.testing.assert_array_equal(order, honest.repeated_order(5, 12, np.random.default_rng(1)))


def asked(monkeypatch, home, **options):
    """The batches that an honest user asks, of a victim that takes all for sevens."""
    seen = []

    def predict(images):
        seen.append(images.copy())
        return np.eye(10, dtype=np.float32)[[7] * len(images)]

    session = nullcontext(SimpleNamespace(predict=predict))
    monkeypatch.setattr(honest, "connect", lambda *args, **given: session)
    connection = Connection(target="gate.example:1", client_id="anne")
    given = {"dataset": "digits", "images": 8, "batch": 3, **options}
    honest.run(honest.Honest(connection=connection, home=home, **given))
    return seen


@pytest.mark.process
def test_images_that_drift_are_the_same_images(monkeypatch, digits_home, tmp_path):
    record = tmp_path / "honest.jsonl"
    batches = asked(monkeypatch, digits_home, images=40, batch=16, record=record)
    assert list(map(len, batches)) == [16, 16, 8]
    answers, end = read(record)[1]
    assert (answers["kind"], answers["images"], end["status"]) == ("answers", 40, "done")
    assert 0 < answers["right"] < 20  # all are taken for sevens
    clean, tilted, blurred = (
        np.concatenate(asked(monkeypatch, digits_home, **given))
        for given in ({}, {"drift": "tilted", "drift_strength": 2}, {"drift": "blurred"})
    )
    np.testing.assert_array_equal(blurred, drifted("blurred", clean, np.random.default_rng(0)))
    either = {drifted("tilted", clean, np.random.default_rng(s), 2)[0].tobytes() for s in range(9)}
    assert tilted[0].tobytes() in either
    assert (tilted != clean).any(axis=(1, 2, 3)).all()


@pytest.fixture
def run(monkeypatch, capsys, digits_home):
    """Runs the command; its exit code and its one line."""

    def run(*flags):
        given = ["client", "honest", "--home", str(digits_home), *flags]
        monkeypatch.setattr(sys, "argv", given)
        code = command.main()
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1, err
        return code, err

    return run


def test_a_refusal_is_one_line_and_costs_nothing(gate, run, tmp_path):
    # The gate under test takes 1x4x4 images; digits are 1x8x8.
    record = tmp_path / "honest.jsonl"
    flags = ("--client-id", "anne", "--dataset", "digits", "--record", str(record))
    code, line = run("--target", gate.address, *flags)
    assert code == 1
    assert "1x8x8" in line
    header, lines = read(record)
    assert header["client"] == "anne"
    assert json.dumps(header["config"])
    assert [(line["kind"], line["status"]) for line in lines] == [("end", "crashed")]
    assert gate.computed == 0


def test_a_gate_that_is_not_there_ends_the_process(run, tmp_path):
    record = tmp_path / "honest.jsonl"
    flags = ("--client-id", "anne", "--dataset", "digits", "--record", str(record))
    code, line = run("--target", "127.0.0.1:1", "--timeout", "0.3", *flags)
    assert code == 3
    assert line.startswith("stopped: no answer in 0.3 s")
    assert read(record)[1][-1]["status"] == "unreachable"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--batch", "0"), "--batch is 0"),
        (("--images", "0"), "--images is 0"),
        (("--pace", "-1"), "--pace is -1"),
        (("--drift-strength", "-1"), "--drift-strength is -1"),
        (("--dataset", "mnistt5k"), "mnist5k"),
        (("--key-file", "/nowhere"), "--key-file or --client-id"),
    ],
)
def test_mistakes_are_one_line(run, flags, message, tmp_path):
    code, line = run("--target", "127.0.0.1:1", "--client-id", "anne", *flags)
    assert code == 1
    assert message in line
    (tmp_path / "key").write_text("\ufeffk3y\n", encoding="utf-8")  # with a byte order mark
    flags = ("--key-file", str(tmp_path / "key"), "--dataset", "digits")
    code, line = run("--target", "gate.example:1", *flags)
    assert code == 1
    assert "in clear; expected tls=True" in line
    assert "k3y" not in line


def test_every_flag_of_a_connection_reaches_its_session(monkeypatch, tmp_path):
    given = {}
    monkeypatch.setattr(process, "Session", lambda **options: given.update(options))
    place = {"target": "gate.example:1", "ca": tmp_path, "tls": True, "insecure": True}
    work = {"solver": "python", "threads": 3, "timeout": 4.0, "deadline": 5.0, "max_work": 6}
    connection = Connection(client_id="anne", name="other.example", **place, **work)
    process.connect(connection, connection.accounts()[0], observe=print, rng=None)
    for name in Connection.__dataclass_fields__:
        if name != "key_file":
            assert given[name] == getattr(connection, name)


def test_keys_and_accounts(tmp_path):
    file = tmp_path / "keys"
    connection = Connection(target="x:1", key_file=file)
    file.write_text("one\ntwo\n")
    assert connection.accounts(2) == [{"key": "one"}, {"key": "two"}]
    with pytest.raises(ValueError, match=r"keys holds 2 keys; expected 1"):
        connection.accounts()
    file.write_text("\n")
    with pytest.raises(ValueError, match=r"keys is empty; expected an API key"):
        connection.accounts(2)
    anne = Connection(target="x:1", client_id="anne")
    assert anne.accounts(2) == [{"client_id": "anne-1"}, {"client_id": "anne-2"}]


def test_a_record_survives_a_hostile_gate(tmp_path):
    gate, path = FakeGate(), tmp_path / "anne.jsonl"
    recorder = Recorder(path, client="anne", config={}, seed=0)

    def lying(sealed):
        sealed.receipt.server_seconds = math.nan
        return sealed

    with (  # noqa: PT012
        pytest.raises(BadAnswer),
        recorded(recorder),
        asking(gate, observe=recorder.observe) as session,
    ):
        session.predict(IMAGES)
        gate.changed["Predict"] = lying
        session.predict(IMAGES)
    lines = read(path)[1]
    assert [line["kind"] for line in lines] == ["predict", "end"]
    assert lines[-1]["status"] == "crashed"
    assert "the receipt says nan s" in lines[-1]["reason"]
    assert json.dumps(lines, allow_nan=False)


def test_a_record_that_lost_a_line_is_not_called_whole(tmp_path, monkeypatch):
    recorder = Recorder(tmp_path / "anne.jsonl", client="anne", config={}, seed=0)
    write, full = recorder._writer.write, [OSError("no space left")]

    def once(*args, **fields):
        if full:
            raise full.pop()
        write(*args, **fields)

    monkeypatch.setattr(recorder._writer, "write", once)
    with (
        pytest.raises(OSError, match="lost a line"),
        recorded(recorder),
        asking(FakeGate(), observe=recorder.observe) as session,
    ):
        assert session.predict(IMAGES).shape == (2, 3)
    assert read(tmp_path / "anne.jsonl")[1][-1]["status"] == "crashed"
