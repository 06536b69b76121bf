"""Places at the door: each has an owner and an end, and nobody waits for another's."""

import asyncio
import functools

import pytest

from server import admission
from server.admission import Admission, Limits, Pace
from server.refusals import BodyTooSlow, TooManyCalls

SOON = Limits(turn_seconds=0.05, body_seconds=0.05)


def looped(test):
    """Runs a coroutine as a test."""
    return functools.wraps(test)(lambda *args, **named: asyncio.run(test(*args, **named)))


async def never() -> bytes:
    await asyncio.Event().wait()
    return b""


async def at_once() -> bytes:
    return b"data"


async def outcome(door: Admission, client: str, read, *, predict=True) -> object:
    try:
        async with door.call(client, read, predict=predict) as data:
            return data
    except Exception as error:
        return type(error)


@looped
async def test_messages_that_do_not_come_hold_up_no_call_of_another_kind():
    """A few clients together can fill all places for messages; with those of predictions only."""
    door = Admission(2**30, Limits(turn_seconds=0.2, body_seconds=0.5))
    held = [asyncio.create_task(outcome(door, f"attacker{n}", never)) for n in range(4)]
    await asyncio.sleep(0.01)
    assert await outcome(door, "anne", at_once) is TooManyCalls
    assert await outcome(door, "anne", at_once, predict=False) == b"data"
    await asyncio.gather(*held)


@looped
async def test_the_message_of_a_call_that_is_no_prediction_has_less_time(monkeypatch):
    monkeypatch.setattr(admission, "SMALL_SECONDS", 0.05)
    door = Admission(1_000, Limits())
    async with asyncio.timeout(5):
        assert await outcome(door, "attacker", never, predict=False) is BodyTooSlow


@looped
async def test_one_client_receives_a_quarter_of_the_bytes_at_most(monkeypatch):
    monkeypatch.setattr(admission, "BODY_BYTES", 8_000)
    reading = 0

    async def reads() -> bytes:
        nonlocal reading
        reading += 1
        return await never()

    door = Admission(1_000, SOON)
    await asyncio.gather(*(outcome(door, "attacker", reads) for _ in range(8)))
    assert reading == 2  # of eight places for 1 000 bytes each
    await asyncio.gather(*(outcome(door, f"t{n}", reads) for n in range(20)))
    assert reading == 2 + 8


@looped
async def test_a_client_that_leaves_gives_its_places_back():
    door = Admission(1_000, Limits())
    held = [asyncio.create_task(outcome(door, "anne", never)) for _ in range(50)]
    await asyncio.sleep(0.01)
    for task in held:
        task.cancel()
    await asyncio.gather(*held, return_exceptions=True)
    async with asyncio.timeout(1):
        assert await outcome(door, "anne", at_once) == b"data"


@looped
async def test_clients_of_an_open_gate_are_forgotten_once_they_have_rested(monkeypatch):
    monkeypatch.setattr(admission, "REMEMBERED", 4)
    door = Admission(1_000, Limits(rate=1e6, burst=1))
    for number in range(50):
        await outcome(door, f"client-{number}", at_once)
        await asyncio.sleep(0.001)
    assert len(door._clients) <= 5


@looped
async def test_calls_that_wait_are_so_many_at_most():
    door = Admission(1_000, Limits(waiting=20))
    held = [asyncio.create_task(outcome(door, "attacker", never)) for _ in range(50)]
    await asyncio.sleep(0.01)
    assert [task.done() for task in held] == [False] * 20 + [True] * 30
    assert held[-1].result() is TooManyCalls
    assert await outcome(door, "anne", at_once) == b"data"
    for task in held:
        task.cancel()


@looped
async def test_refusals_without_a_pause_are_held_back_so_many_at_most():
    door = Admission(1_000, Limits(refusals=10, refusal_seconds=60, waiting=20))
    held = [asyncio.create_task(door.refusal()) for _ in range(50)]
    await asyncio.sleep(0.01)
    done = [task.done() for task in held]
    assert done[:10] == [True] * 10  # a burst is told at once
    assert done[20:] == [True] * 30  # more would only take memory
    assert not any(done[11:20])
    for task in held:
        task.cancel()


class Seconds:
    """A clock, and a sleep that moves it."""

    def __init__(self, monkeypatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(asyncio, "sleep", self.sleep)

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += max(0.0, seconds)


@pytest.mark.parametrize(("turns", "counted"), [(25, 0), (1, 24)])
@looped
async def test_a_pace_is_a_burst_and_then_a_rate_and_work_done_counts(monkeypatch, turns, counted):
    clock = Seconds(monkeypatch)
    pace = Pace(rate=10, burst=5, clock=clock)
    for _ in range(turns):
        await pace.turn(60)
    if counted:
        pace.count(counted)
        await pace.turn(60)
    assert clock.now - 100 == pytest.approx(2.0, abs=0.11)


@looped
async def test_a_turn_too_far_away_is_not_taken(monkeypatch):
    clock = Seconds(monkeypatch)
    pace = Pace(rate=1, burst=1, clock=clock)
    await pace.turn(0)
    pace.count(10)
    with pytest.raises(TimeoutError):
        await pace.turn(3)
    assert 101.5 <= clock.now <= 103.1  # it has waited all the same
    await pace.turn(60)
    assert clock.now == pytest.approx(110.0, abs=1.1)
