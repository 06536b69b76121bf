"""The honest workload: its pace, its images, its record."""

import json
import subprocess
import sys

import numpy as np
import pytest

from client import honest
from client.honest import ask_at_pace, repeated_order
from client.options import Connection, Honest
from client.recording import connect
from core.learning.drift import drifted
from core.records import read


class Time:
    """A clock that sleeping moves on."""

    def __init__(self):
        self.now = 100.0
        self.slept = []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(round(seconds, 6))
        self.now += seconds


def starts(takes, pace):
    """When each of the batches starts, if predict() takes so long."""
    time, begun = Time(), []
    lengths = iter(takes)

    def predict(images):
        begun.append(round(time.now - 100, 6))
        time.now += next(lengths)

    images = np.zeros((len(takes) * 2, 1, 2, 2), np.uint8)
    ask_at_pace(predict, images, batch=2, pace=pace, clock=time, sleep=time.sleep)
    return begun


def test_a_fast_gate_is_asked_at_the_pace():
    assert starts([0.1, 0.1, 0.1], pace=1.0) == [0, 1, 2]


def test_a_late_request_is_followed_at_once_and_shifts_the_pace():
    assert starts([2.5, 0.1, 0.1], pace=1.0) == [0, 2.5, 3.5]


def test_without_a_pace_batches_follow_at_once():
    assert starts([0.5, 0.5], pace=0.0) == [0, 0.5]


def test_the_last_batch_may_be_smaller():
    sizes = []
    images = np.zeros((5, 1, 2, 2), np.uint8)
    time = Time()
    ask_at_pace(
        lambda part: sizes.append(len(part)), images, batch=2, pace=0, clock=time, sleep=time.sleep
    )
    assert sizes == [2, 2, 1]


def test_images_repeat_only_after_all_were_asked():
    order = repeated_order(5, 12, np.random.default_rng(1))
    assert sorted(order[:5]) == sorted(order[5:10]) == [0, 1, 2, 3, 4]
    assert len(order) == 12
    np.testing.assert_array_equal(order, repeated_order(5, 12, np.random.default_rng(1)))


def asked(gate, home, **options):
    """What the victim sees of an honest user's eight images."""
    seen, answer = [], gate.victim.answer
    gate.victim.answer = lambda images: seen.append(images.copy()) or answer(images)
    connection = Connection(target=gate.address, client_id="anne", solver="python")
    honest.run(Honest(connection=connection, home=home, dataset="digits", images=8, **options))
    gate.victim.answer = answer
    return np.rint(np.concatenate(seen) * 255).astype(np.uint8)


def test_images_that_drift_are_the_same_images(gate_with, digits_home):
    with gate_with(shape=(1, 8, 8)) as gate:
        clean = asked(gate, digits_home)
        turned = asked(gate, digits_home, drift="tilted", drift_strength=2)
        blurred = asked(gate, digits_home, drift="blurred")
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(blurred, drifted("blurred", clean, rng))
    either = {drifted("tilted", clean, np.random.default_rng(s), 2)[0].tobytes() for s in range(9)}
    assert turned[0].tobytes() in either
    assert (turned != clean).any(axis=(1, 2, 3)).all()


def run(*flags):
    return subprocess.run(
        [sys.executable, "-m", "client", "honest", *flags], capture_output=True, text=True
    )


def test_the_process_leaves_a_record_of_how_it_was_refused(gate, tmp_path):
    # The gate under test takes 1x4x4 images; digits are 1x8x8: one readable line, nothing charged.
    record = tmp_path / "honest.jsonl"
    done = run(
        *("--target", gate.address, "--client-id", "anne", "--dataset", "digits"),
        *("--home", str(tmp_path), "--record", str(record)),
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "1x8x8" in done.stderr
    header, lines = read(record)
    assert header["client"] == "anne"
    assert json.dumps(header["config"])
    assert [line["kind"] for line in lines] == ["end"]
    assert gate.computed == 0


def test_a_gate_that_is_not_there_ends_the_process(tmp_path):
    record = tmp_path / "honest.jsonl"
    done = run(
        *("--target", "127.0.0.1:1", "--client-id", "anne", "--dataset", "digits"),
        *("--home", str(tmp_path), "--record", str(record), "--timeout", "0.3"),
    )
    assert done.returncode == 3
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
def test_mistakes_are_one_line(tmp_path, flags, message):
    done = run("--target", "127.0.0.1:1", "--client-id", "anne", "--home", str(tmp_path), *flags)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_every_flag_of_a_connection_reaches_its_session(monkeypatch, tmp_path):
    given = {}
    monkeypatch.setattr(
        "client.recording.Session", lambda target, **options: given.update(options, target=target)
    )
    connection = Connection(
        target="gate.example:1",
        client_id="anne",
        ca=tmp_path,
        tls=True,
        insecure=True,
        name="other.example",
        solver="python",
        threads=3,
        timeout=4.0,
        deadline=5.0,
        max_work=6,
    )
    connect(connection, connection.credentials(), observe=print, rng=None)
    for name in Connection.__dataclass_fields__:
        if name != "key_file":
            assert given[name] == getattr(connection, name)


def test_a_key_in_clear_is_refused_in_one_line(tmp_path):
    (tmp_path / "key").write_text("k3y\n")
    done = run(
        *("--target", "gate.example:1", "--key-file", str(tmp_path / "key")),
        *("--home", str(tmp_path), "--dataset", "digits"),
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "in clear; expected tls=True" in done.stderr
    assert "k3y" not in done.stderr


def test_a_key_file_may_begin_with_a_byte_order_mark(tmp_path):
    file = tmp_path / "key"
    file.write_text("\ufeffsecret\n", encoding="utf-8")
    connection = Connection(target="h:1", key_file=file)
    assert connection.credentials() == {"key": "secret"}
