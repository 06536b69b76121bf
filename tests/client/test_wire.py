"""What a gate says is checked: nothing is solved, paid or returned that is not what was asked."""

import math

import numpy as np
import pytest
from fake_gate import CLASSES, IMAGES, Failure, FakeGate, asking, failed, packed, refused, status
from google.rpc import error_details_pb2
from grpc import StatusCode

from client.session import BadAnswer, Refused
from protos import gate_pb2 as pb
from server.defences.rounding import rounded

FULL = StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    "change",
    [
        *({"input_shape": shape} for shape in ([], [1] * 400, [1, 0, 4], [-1, -4, 4])),
        {"input_shape": [1, 2**62, 2**62]},
        *({"classes": n} for n in (1, 2**31 - 1)),
        *({"max_batch": n} for n in (0, -1)),
        *({"max_unpaid": n} for n in (0, -8)),
        *({"hash_rate": rate} for rate in (math.nan, math.inf, -1.0)),
        *({"algorithm": name} for name in ("md5", "", "virtual")),
        *({"model": text} for text in ("\x1b[2J", "m" * 300)),
        {"fingerprint": "a\nb"},
        *({"audience": text} for text in ("", "x" * 99, "fake/ffff", "a b c d e")),
        *({"client": text} for text in ("", "bob", "a\nb")),
    ],
)
def test_a_description_of_no_gate(change):
    gate = FakeGate()

    def absurd(said):
        for name, value in change.items():
            if name == "input_shape":
                del said.input_shape[:]
                said.input_shape.extend(value)
            else:
                setattr(said, name, value)
        return said

    gate.changed["Describe"] = absurd
    with asking(gate) as session, pytest.raises(BadAnswer) as caught:
        session.predict(IMAGES)
    assert gate.asked["Predict"] == 0
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        *(("server_seconds", s, "receipt says") for s in (math.nan, math.inf, -math.inf, -1, 1e9)),
        ("work", -1, "expected 0 or more"),
        ("queries_charged", -1, "expected 0 or more"),
    ],
)
def test_a_receipt_that_cannot_be_is_noticed_before_anything_is_paid(field, value, message):
    gate = FakeGate()

    def lying(sealed):
        setattr(sealed.receipt, field, value)
        return sealed

    gate.changed["Predict"] = lying
    with asking(gate) as session, pytest.raises(BadAnswer, match=message):
        session.predict(IMAGES)
    assert gate.asked["Redeem"] == 0


@pytest.mark.parametrize(
    "answers",
    [
        *(
            np.array([[1 / 3] * 3, row], np.float32)
            for row in (
                [0.5, 0.5, math.nan],
                [math.inf, 0.0, 0.0],
                [1e30, 0.0, 0.0],
                [-0.5, 1.0, 0.5],
                [0.5, 0.5, 0.5],
                [0.0, 0.0, 0.0],
            )
        ),
        np.full((2, 3), 85, np.uint8),
        np.full((2, 4), 0.25, np.float32),
        np.full((2, 100), 0.01, np.float32),
        np.full((6,), 0.5, np.float32),
    ],
)
@pytest.mark.parametrize("hashes", [0, 64])
def test_answers_that_are_no_probabilities_of_these_images(answers, hashes):
    gate = FakeGate(hashes)
    gate.answers = lambda images: answers
    with asking(gate) as session, pytest.raises(BadAnswer):
        session.predict(IMAGES)


@pytest.mark.parametrize("decimals", [0, 1, 3, 6])
def test_answers_that_a_defence_rounded_are_taken_and_are_the_caller_s_own(decimals):
    exact = np.random.default_rng(decimals).dirichlet(np.ones(CLASSES), 2).astype(np.float32)
    gate = FakeGate()
    gate.answers = lambda images: rounded(exact, decimals)
    with asking(gate) as session:
        answer = session.predict(IMAGES)
    np.testing.assert_array_equal(answer, rounded(exact, decimals))
    answer *= 2
    assert answer.dtype == np.dtype("float32")


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("ciphertext", "cannot be opened"),
        ("challenge", "cannot be opened"),  # its MAC
        (None, "bytes besides what is sealed"),
    ],
)
def test_an_answer_that_was_tampered_with_is_not_opened(field, message):
    def tampered(sealed):
        if field is None:  # what nobody knows was kept with what was solved, and took gigabytes
            unknown = b"\x9a\x06" + bytes([0x80, 0x80, 0x40]) + bytes(1 << 20)  # field 99
            return pb.SealedPrediction.FromString(sealed.SerializeToString() + unknown)
        data = bytearray(getattr(sealed, field))
        data[-1] ^= 1
        setattr(sealed, field, bytes(data))
        return sealed

    gate = FakeGate(0)
    gate.changed["Predict"] = tampered
    with asking(gate) as session, pytest.raises(BadAnswer, match=message):
        session.predict(IMAGES)


@pytest.mark.parametrize("said", [pb.Account(queries=-1), pb.Account(unpaid_batches=-1)])
@pytest.mark.parametrize("key", [b"", b"short", bytes(16), bytes(24), bytes(32), bytes(64)])
def test_keys_that_open_nothing_and_accounts_below_nothing(key, said):
    gate = FakeGate()
    gate.changed["Redeem"] = lambda _: pb.Key(key=key)
    gate.changed["GetAccount"] = lambda _: said
    with asking(gate) as session:
        with pytest.raises(BadAnswer):
            session.predict(IMAGES)
        with pytest.raises(BadAnswer):
            session.account()


def test_a_call_that_ended_well_without_an_answer_is_a_gate_error():
    for method in ("Describe", "Predict", "Redeem", "GetAccount"):
        gate = FakeGate()
        gate.changed[method] = lambda said: None  # gRPC hands None to whoever called
        with asking(gate) as session, pytest.raises(BadAnswer, match="sent no answer"):
            session.account() if method == "GetAccount" else session.predict(IMAGES)


@pytest.mark.parametrize(
    "details",
    [
        b"\xff\xff\xff",
        "text",
        status(FULL, message="another"),
        status(StatusCode.NOT_FOUND),
        status(FULL, packed(error_details_pb2.ErrorInfo(), b"\xff\xff\xff\xff")),
        status(FULL, packed(error_details_pb2.ErrorInfo(reason="\x1b[2J a\nreason"))),
        status(
            FULL, packed(error_details_pb2.RetryInfo(), b"\x0a\x0b\x08" + b"\xff" * 9 + b"\x01")
        ),
    ],  # the last are -1 seconds
)
def test_details_of_a_refusal_that_are_garbage(details):
    gate = FakeGate()
    gate.failing["Predict"] = [failed(FULL, details)]
    with asking(gate) as session, pytest.raises(BadAnswer, match="cannot be read"):
        session.predict(IMAGES)


def test_a_refusal_is_one_line_that_a_terminal_can_show():
    gate = FakeGate()
    gate.failing["Predict"] = [
        Failure(StatusCode.INTERNAL, "\x1b[2J\r\nerror: \x00" + "x" * 9999),
        refused(StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED", 0.25),
    ]
    with asking(gate) as session:
        with pytest.raises(Refused) as caught:
            session.predict(IMAGES)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 600
        with pytest.raises(Refused) as caught:
            session.predict(IMAGES)
    error = caught.value
    assert (error.reason, error.message, error.retry_seconds) == ("REQUEST_ID_REUSED", "no", 0.25)
