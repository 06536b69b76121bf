"""A fair executor: one thread, round-robin over the clients."""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

from server.authentication import CALLER


class FairExecutor(Executor):
    """Runs one job at a time, each client's in order, and one of each client after the other.

    So nobody waits for more than one job of any other client, whatever that one has asked for. The
    client of a job is the caller in whose context it is submitted.
    """

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._queues: OrderedDict[str, deque[Callable[[], None]]] = OrderedDict()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def job() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(fn(*args, **kwargs))
                except BaseException as error:
                    future.set_exception(error)

        with self._lock:
            self._queues.setdefault(CALLER.get(""), deque()).append(job)
        self._thread.submit(self._run_one)
        return future

    def _run_one(self) -> None:
        with self._lock:
            client, jobs = self._queues.popitem(last=False)
            job = jobs.popleft()
            if jobs:
                self._queues[client] = jobs  # behind all others
        job()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._thread.shutdown(wait, cancel_futures=cancel_futures)
