"""Limits of a client's requests: how many are under way, and how often they pay wrongly.

All counts are those of this process: of several gates on one ledger, each has its own.
"""

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any, TypeVar

from server.ledger import MAX_UNPAID, Account
from server.refusals import TooManyInFlight, TooManyUnpaid, TooManyWrongCounters

WRONG_ANSWERS = 16
"""Wrong sets of counters a client may send in WRONG_SECONDS. An honest one sends none."""

WRONG_SECONDS = 60.0

T = TypeVar("T")
K = TypeVar("K")


@contextmanager
def counted(counter: Counter[K], key: K) -> Iterator[None]:
    """Counts one more for a while. A count of zero is dropped."""
    counter[key] += 1
    try:
        yield
    finally:
        counter[key] -= 1
        if not counter[key]:
            del counter[key]


class UnderWay:
    """Requests that are being served; each is finished, even if its client hangs up.

    Otherwise whoever cancels in time has the victim computed, or counters checked, for nothing,
    and pays without a line in the record.
    """

    def __init__(self) -> None:
        self._held: Counter[tuple[str, str]] = Counter()  # by kind and client
        self._computing: Counter[str] = Counter()  # answers that are not charged yet, by client
        self._reserved: dict[tuple[str, str], asyncio.Future[None]] = {}  # client and request id
        self._tasks: set[asyncio.Task[Any]] = set()
        self._begun = 0

    async def finish(self, kind: str, client: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Does a client's work, so much of each kind at once. Raises TooManyInFlight."""
        held = self._held[kind, client]
        if held >= MAX_UNPAID:
            raise TooManyInFlight(f"{held} requests are under way; at most {MAX_UNPAID} at once")
        place = ExitStack()
        place.enter_context(counted(self._held, (kind, client)))
        self._begun += 1
        task = asyncio.create_task(work())
        self._tasks.add(task)

        def done(task: "asyncio.Task[T]") -> None:
            self._tasks.discard(task)
            place.close()
            if not task.cancelled():
                task.exception()  # seen, even where nobody waits for it any more

        task.add_done_callback(done)
        return await asyncio.shield(task)

    @asynccontextmanager
    async def alone(self, client: str, request_id: str) -> AsyncIterator[None]:
        """Waits until no other request with this id is under way.

        Otherwise several at once, with different inputs, are all computed, and one is charged.
        """
        key = client, request_id
        while key in self._reserved:
            await asyncio.shield(self._reserved[key])
        self._reserved[key] = asyncio.get_running_loop().create_future()
        try:
            yield
        finally:
            self._reserved.pop(key).set_result(None)

    @contextmanager
    def room(self, client: str, account: Account) -> Iterator[None]:
        """Room to compute one more answer. Raises TooManyUnpaid where it may be one too many.

        The ledger refuses again, atomically, when it charges; here it saves the victim's time.
        """
        computing = self._computing[client]
        if account.unpaid + computing >= MAX_UNPAID:
            more = f" and {computing} are being answered" if computing else ""
            raise TooManyUnpaid(
                f"{account.unpaid} batches are unpaid{more}; redeem one before asking for more "
                f"(at most {MAX_UNPAID})"
            )
        with counted(self._computing, client):
            yield

    async def idle(self, *, for_seconds: float = 0.0) -> None:
        """Waits until all that was begun is done, and nothing has begun for so long."""
        while True:
            while self._tasks:
                await asyncio.wait(self._tasks)
            begun = self._begun
            await asyncio.sleep(for_seconds)
            if begun == self._begun and not self._tasks:
                return


class WrongAnswerLimiter:
    """Counts wrong counters by client: checking them must not be a lever against the gate."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._times: defaultdict[str, deque[float]] = defaultdict(deque)

    def check(self, client: str) -> None:
        """Raises TooManyWrongCounters while the client may send no more."""
        times = self._times.get(client)
        if times is None:
            return
        while times and times[0] <= self._clock() - WRONG_SECONDS:
            times.popleft()
        if not times:
            del self._times[client]
        elif len(times) >= WRONG_ANSWERS:
            wait = times[0] + WRONG_SECONDS - self._clock()
            raise TooManyWrongCounters(
                f"{len(times)} wrong sets of counters in {WRONG_SECONDS:.0f} s; "
                f"try again in {wait:.0f} s"
            )

    def add(self, client: str) -> None:
        """One more wrong set of counters."""
        self._times[client].append(self._clock())
