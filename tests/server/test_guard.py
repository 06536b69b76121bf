"""The door over loopback: what callers hold, for how long, and what is logged of them."""

import logging
import threading
import time
from contextlib import ExitStack, contextmanager

import grpc
from asking import ANNE, BOB, refusal, request, until
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from http2 import PREFACE, closed, connect, headers, message, settings

from protos import gate_pb2 as pb
from protos.gate_pb2_grpc import GateStub
from server import transport
from server.admission import Limits

PREDICT = "/powgate.v1.Gate/Predict"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
LOCAL = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own


@contextmanager
def silent_calls(address, method, count, *, metadata=(), connections=32):
    """Calls whose message never comes."""
    end = threading.Event()

    def nothing():
        end.wait()
        yield from ()

    channels = [
        grpc.insecure_channel(address, [*LOCAL, ("grpc.so_reuseport", number)])
        for number in range(connections)
    ]
    try:
        yield [
            channels[number % connections].stream_unary(method).future(nothing(), metadata=metadata)
            for number in range(count)
        ]
    finally:
        end.set()
        for channel in channels:
            channel.close()


def honest_calls(address, *, count=20):
    """How many of so many Describes are served."""
    with grpc.insecure_channel(address, LOCAL) as channel:
        stub = GateStub(channel)
        for _ in range(count):
            stub.Describe(pb.DescribeRequest(), metadata=BOB, timeout=5)
    return count


def reason(call):
    """The code and the reason of a call that was refused."""
    return refusal(call.result)[:2]


def quiet(caplog):
    """Whether nothing was logged that an operator should see."""
    return not any(record.levelno >= logging.WARNING for record in caplog.records)


METHODS = (
    PREDICT,
    "/powgate.v1.Gate/Describe",
    "/powgate.v1.Gate/Redeem",
    "/grpc.health.v1.Health/Watch",
    REFLECTION,
)


def test_calls_without_a_key_hold_nothing_and_are_refused_unread(gate):
    with ExitStack() as stack:
        crowd = [
            stack.enter_context(silent_calls(gate.address, method, 64, connections=8))
            for method in METHODS
        ]
        assert honest_calls(gate.address) == 20
        for calls in crowd:
            until(lambda calls=calls: any(call.done() for call in calls))
            refused = [call for call in calls if call.done()]
            assert {reason(call) for call in refused} == {("UNAUTHENTICATED", "MISSING_KEY")}


def test_a_key_holder_with_many_connections_holds_its_own_places_only(gate_with):
    limits = Limits(turn_seconds=0.5, body_seconds=0.5)
    with (
        gate_with(limits=limits) as gate,
        silent_calls(gate.address, PREDICT, 96, metadata=ANNE, connections=24) as calls,
    ):
        assert honest_calls(gate.address) == 20
        assert gate.stub.Predict(request(), metadata=BOB, timeout=5).challenge
        until(lambda: all(call.done() for call in calls))
        ends = [reason(call) for call in calls]
        assert set(ends) == {
            ("DEADLINE_EXCEEDED", "BODY_TOO_SLOW"),
            ("RESOURCE_EXHAUSTED", "TOO_MANY_CALLS"),
        }
        assert ends.count(("DEADLINE_EXCEEDED", "BODY_TOO_SLOW")) < 96 - limits.predicts
        late = next(call for call in calls if reason(call)[1] == "TOO_MANY_CALLS")
        assert "RetryInfo" in refusal(late.result)[3]


def test_half_a_message_ends_too(gate_with):
    with gate_with(limits=Limits(body_seconds=0.2)) as gate, connect(gate.address) as raw:
        raw.sendall(PREFACE + settings() + headers(PREDICT, ANNE))
        raw.sendall(message(b"half", claimed=8_000))
        started, heard = time.monotonic(), b""
        while b"did not come within" not in heard:
            heard += raw.recv(65_536)
        assert time.monotonic() - started < 5
        assert honest_calls(gate.address) == 20


def test_an_answer_that_is_not_taken_does_not_keep_its_place(gate_with, caplog):
    limits = Limits(answer_seconds=0.2, calls=1)
    with gate_with(limits=limits) as gate, connect(gate.address) as raw:
        raw.sendall(PREFACE + settings(window=0))
        for stream in (1, 3, 5):
            raw.sendall(headers("/powgate.v1.Gate/Describe", BOB, stream=stream))
            raw.sendall(message(b"", stream=stream))
        assert honest_calls(gate.address) == 20
    assert quiet(caplog)


def test_health_is_checked_without_a_key_whatever_others_hold(gate_with):
    check = "/grpc.health.v1.Health/Check"
    with gate_with() as gate, silent_calls(gate.address, check, 96, connections=8) as calls:
        until(lambda: sum(call.done() for call in calls) >= 80)  # the oldest had to go
        stub = health_pb2_grpc.HealthStub(gate.channel)
        for service in ("", "powgate.v1.Gate") * 10:
            asked = health_pb2.HealthCheckRequest(service=service)
            answer = stub.Check(asked, timeout=5)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        other = health_pb2.HealthCheckRequest(service="else")
        assert refusal(stub.Check, other)[0] == "NOT_FOUND"
        assert honest_calls(gate.address) == 20


def test_watches_of_a_client_are_few_and_end(gate_with):
    asked = health_pb2.HealthCheckRequest()
    with gate_with(limits=Limits(stream_seconds=0.3)) as gate:
        stub = health_pb2_grpc.HealthStub(gate.channel)
        watches = [stub.Watch(asked, metadata=ANNE) for _ in range(2)]
        for watch in watches:
            assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        code, why, _, _ = refusal(lambda: next(stub.Watch(asked, metadata=ANNE)))
        assert (code, why) == ("RESOURCE_EXHAUSTED", "TOO_MANY_CALLS")
        assert next(stub.Watch(asked, metadata=BOB))
        for watch in watches:
            code, why, _, _ = refusal(lambda watch=watch: next(watch))
            assert (code, why) == ("UNAVAILABLE", "STREAM_OVER")


def test_an_open_watch_of_health_does_not_hold_up_the_end(gate_with):
    with ExitStack() as later:
        with gate_with() as gate:
            channel = later.enter_context(grpc.insecure_channel(gate.address))
            stub = health_pb2_grpc.HealthStub(channel)
            assert next(stub.Watch(health_pb2.HealthCheckRequest(), metadata=ANNE))
            started = time.monotonic()
        assert time.monotonic() - started < 5


def test_the_messages_of_a_stream_take_turns_as_calls_do(gate_with):
    """Otherwise one stream keeps the gate as busy as it likes, beside all limits of calls."""
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    with gate_with(limits=Limits(rate=50.0, burst=5)) as gate:
        stub = reflection_pb2_grpc.ServerReflectionStub(gate.channel)
        started = time.monotonic()
        answers = list(stub.ServerReflectionInfo(iter([asked] * 30), metadata=ANNE))
        assert len(answers) == 30
        services = [service.name for service in answers[0].list_services_response.service]
        assert "powgate.v1.Gate" in services
        assert time.monotonic() - started > 0.4


def test_messages_that_are_none_leave_no_traceback(gate, caplog):
    channel = gate.channel
    reflect = channel.stream_stream(REFLECTION)
    watch = channel.unary_stream("/grpc.health.v1.Health/Watch")
    check = channel.unary_unary("/grpc.health.v1.Health/Check")
    predict = channel.unary_unary(PREDICT)
    for call in (
        lambda: next(reflect(iter([b"\xff"]), metadata=ANNE)),
        lambda: next(watch(b"\xff", metadata=ANNE)),
        lambda: check(b"\xff"),
        lambda: predict(b"\xff", metadata=ANNE),
        lambda: channel.stream_unary(PREDICT)(iter([]), metadata=ANNE),
    ):
        code, why, text, _ = refusal(call)
        assert (code, why) == ("INVALID_ARGUMENT", "MALFORMED_MESSAGE")
        assert len(text) < 100  # nothing of the parser
    assert refusal(predict, b"\xff")[:2] == ("UNAUTHENTICATED", "MISSING_KEY")
    reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
    far = reflection_pb2.ExtensionRequest(containing_type="a.b", extension_number=-1)
    for unknown in (
        {"file_by_filename": "/etc/passwd"},
        {"file_containing_symbol": "a.b"},
        {"file_containing_extension": far},
        {},
    ):
        question = reflection_pb2.ServerReflectionRequest(**unknown)
        answer = next(reflection.ServerReflectionInfo(iter([question]), metadata=ANNE))
        assert answer.HasField("error_response")
    assert quiet(caplog)


def test_no_name_of_a_method_and_no_metadata_stops_the_gate(gate):
    describe = "/powgate.v1.Gate/Describe"
    for path in (b"/\xff\xfe", b"/powgate.v1.Gate/\xff", b"", b"abc", b"/powgate.v1.Gate/Steal"):
        assert heard(gate, headers(path, ()))
    for name in ("client-id", "authorization", "grpc-encoding", "x-bin"):
        assert heard(gate, headers(describe, [(name, b"\xff\xfe")]))
    call = gate.channel.unary_unary("/powgate.v1.Gate/Steal")
    assert refusal(call, b"", metadata=ANNE)[0] == "UNIMPLEMENTED"
    assert gate.stub.Describe(pb.DescribeRequest(), metadata=ANNE)


def heard(gate, begun):
    """What the gate says to a call that begins so."""
    with connect(gate.address) as raw:
        raw.sendall(PREFACE + settings() + begun + message(b""))
        return raw.recv(65_536)


def test_connections_that_say_nothing_or_make_no_call_are_closed(gate_with, monkeypatch):
    monkeypatch.setattr(transport, "HANDSHAKE_MS", 200)
    monkeypatch.setattr(transport, "IDLE_MS", 200)
    with gate_with() as gate:
        for said in (b"", PREFACE, PREFACE + settings()):
            with connect(gate.address) as idle:
                idle.sendall(said)
                assert closed(idle)
        for _ in range(2):  # one that is used comes back
            gate.stub.Describe(pb.DescribeRequest(), metadata=ANNE)
            time.sleep(0.3)


def test_more_connections_than_files_do_not_shut_the_door_for_good(gate_with, monkeypatch):
    monkeypatch.setattr(transport, "HANDSHAKE_MS", 300)
    monkeypatch.setattr(transport, "MAX_CONNECTIONS", 16)
    with gate_with() as gate, ExitStack() as crowd:
        for _ in range(64):
            crowd.enter_context(connect(gate.address))
        asked = pb.DescribeRequest()
        assert gate.stub.Describe(asked, metadata=ANNE, timeout=10, wait_for_ready=True)
