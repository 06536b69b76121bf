"""Limits of calls: places, bytes and time, each with an owner and an end.

A call has an owner before it may hold anything: without a key it is refused unread. A client's
calls wait for places of its own, never for another's, and give up after a while.
"""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from server.limits import counted
from server.refusals import BodyTooSlow, StreamOver, TooManyCalls

BODY_BYTES = 64 * 2**20
"""Of all messages of predictions that are received at once, but never less than four of the
largest; as much again for other calls."""

SHARE = 4
"""One client may have one part in so many of the messages being received."""

BYTES_A_CALL = 64 * 2**10
"""A message counts as one call more for each of these: it takes time to read and to hash."""

SMALL_SECONDS = 2.0
"""For the message of a call that is no prediction: it fits into one packet or a few."""

REMEMBERED = 1_024
"""Clients without a call here that are kept, for how fast they have been asking."""

Read = Callable[[], Awaitable[bytes]]
Turn = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Places, calls a second, and seconds; of one client each, unless it says otherwise.

    Calls beyond them wait; only what has waited for too long is refused.
    """

    turn_seconds: float = 10.0  # that a call may wait for its turn
    body_seconds: float = 10.0  # from then to the end of its message
    answer_seconds: float = 10.0  # that an answer keeps its place until the caller takes it
    stream_seconds: float = 300.0  # for a stream, which may then be opened again
    predicts: int = 8  # served at once: as many as may be unpaid
    calls: int = 8  # of all other kinds, served at once
    streams: int = 2  # reflection and health's Watch, at once
    rate: float = 500.0  # calls a second
    burst: int = 50  # calls at once after a quiet time
    refusals: float = 50.0  # a second, of callers without a key, all together
    refusal_seconds: float = 5.0  # that such a refusal may be held back
    waiting: int = 4_000  # calls that wait: of one client, or for such a refusal
    checks: int = 16  # of health, at once, by anybody
    check_seconds: float = 2.0


class Pace:
    """So many calls a second, and a burst after a quiet time: the generic cell rate algorithm.

    `clock` tells seconds that never go back.
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], float]) -> None:
        self._each = 1 / rate
        self._credit = burst / rate
        self._clock = clock
        self._next = clock() - self._credit

    async def turn(self, at_most: float) -> None:
        """Waits for the turn of one more call. Raises TimeoutError if it is too far away.

        It has waited then, too, each call for another time: what came at once does not end at once.
        """
        now = self._clock()
        turn = max(self._next, now - self._credit)
        if turn - now > at_most:
            await asyncio.sleep(at_most * random.uniform(0.5, 1.0))
            raise TimeoutError
        self._next = turn + self._each
        await asyncio.sleep(turn - now)

    def count(self, calls: float) -> None:
        """Counts work that was done already."""
        self._next += calls * self._each

    def rested(self) -> bool:
        """Whether it remembers nothing."""
        return self._next <= self._clock() - self._credit


@dataclass(slots=True)
class _Client:
    """Places of one client, of its predictions and of its other calls, and its pace.

    Each kind has places of calls that are served, and of those whose message is received.
    """

    served: dict[bool, asyncio.Semaphore]
    received: dict[bool, asyncio.Semaphore]
    pace: Pace
    here: int = 0


class Admission:
    """Lets calls in. `message_bytes` is the size of the largest message that is received."""

    def __init__(self, message_bytes: int, limits: Limits) -> None:
        self.limits = limits
        bodies = max(SHARE, BODY_BYTES // message_bytes)
        # By whether they are predictions: a redemption never waits for questions to come in.
        self._received = {predict: asyncio.Semaphore(bodies) for predict in (True, False)}
        self._bodies_each = bodies // SHARE
        self._clock = asyncio.get_running_loop().time
        self._clients: dict[str, _Client] = {}
        self._streams: Counter[str] = Counter()
        self._checks: list[asyncio.Timeout] = []  # the oldest first
        self._refused = 0
        self._refusals = Pace(limits.refusals, round(limits.refusals), self._clock)

    @asynccontextmanager
    async def call(self, client: str, read: Read, *, predict: bool) -> AsyncIterator[bytes]:
        """The message of a call, which keeps a place of its client to the end of the block.

        Raises TooManyCalls, BodyTooSlow.
        """
        mine, limits = self._client(client), self.limits
        if mine.here >= limits.waiting:
            raise TooManyCalls(f"{mine.here} calls of this client are here; expected no more")
        seconds = limits.body_seconds if predict else min(limits.body_seconds, SMALL_SECONDS)
        mine.here += 1
        try:
            async with AsyncExitStack() as place, AsyncExitStack() as body:
                try:
                    async with asyncio.timeout(limits.turn_seconds):
                        await mine.pace.turn(limits.turn_seconds)
                        await place.enter_async_context(mine.served[predict])
                        await body.enter_async_context(mine.received[predict])
                        await body.enter_async_context(self._received[predict])
                except TimeoutError as error:
                    raise TooManyCalls(
                        f"{mine.here} calls of this client are here; "
                        f"this one waited {limits.turn_seconds:g} s for its turn"
                    ) from error
                try:
                    async with asyncio.timeout(seconds):
                        data = await read()
                except TimeoutError as error:
                    raise BodyTooSlow(f"the message did not come within {seconds:g} s") from error
                await body.aclose()
                mine.pace.count(len(data) / BYTES_A_CALL)
                yield data
        finally:
            mine.here -= 1

    def _client(self, name: str) -> _Client:
        found = self._clients.get(name)
        if found is None:
            if len(self._clients) >= REMEMBERED:
                for other, kept in list(self._clients.items()):
                    if not kept.here and kept.pace.rested():
                        del self._clients[other]
            limits = self.limits
            served = {True: limits.predicts, False: limits.calls}
            found = self._clients[name] = _Client(
                {predict: asyncio.Semaphore(most) for predict, most in served.items()},
                {predict: asyncio.Semaphore(self._bodies_each) for predict in served},
                Pace(limits.rate, limits.burst, self._clock),
            )
        return found

    async def refusal(self) -> None:
        """Waits until a caller without a key may be told so.

        It holds nothing that others wait for; who asks without a pause is slowed down.
        """
        if self._refused >= self.limits.waiting:
            return
        self._refused += 1
        try:
            with contextlib.suppress(TimeoutError):
                await self._refusals.turn(self.limits.refusal_seconds)
        finally:
            self._refused -= 1

    @asynccontextmanager
    async def stream(self, client: str) -> AsyncIterator[Turn]:
        """Room for a stream of a client. Raises TooManyCalls, and StreamOver when time is up.

        What it yields waits for the turn of one more message, which counts as a call.
        """

        async def turn() -> None:
            try:
                await self._client(client).pace.turn(self.limits.turn_seconds)
            except TimeoutError as error:
                raise TooManyCalls("this client opens streams and calls without a pause") from error

        await turn()
        if self._streams[client] >= self.limits.streams:
            raise TooManyCalls(f"{self._streams[client]} streams are open; expected no more")
        seconds = self.limits.stream_seconds
        try:
            with counted(self._streams, client):
                async with asyncio.timeout(seconds):
                    yield turn
        except TimeoutError as error:
            raise StreamOver(f"the stream was open for {seconds:g} s; open it again") from error

    @asynccontextmanager
    async def check(self) -> AsyncIterator[None]:
        """Room for a health check, which needs no key; if there is none, the oldest one ends.

        What a load balancer asks is answered at once: those that stay have not sent their message.
        Raises BodyTooSlow.
        """
        timeout = asyncio.timeout(self.limits.check_seconds)
        try:
            async with timeout:
                self._checks.append(timeout)
                if len(self._checks) > self.limits.checks:
                    self._checks.pop(0).reschedule(0.0)
                yield
        except TimeoutError as error:
            raise BodyTooSlow(
                f"the call was not done within {self.limits.check_seconds:g} s, or before "
                f"{self.limits.checks} others"
            ) from error
        finally:
            if timeout in self._checks:
                self._checks.remove(timeout)
