"""Gates served by a thread of the tests' own process."""

import asyncio
import threading
from concurrent.futures import Future
from contextlib import contextmanager
from unittest import mock

from server import serve


@contextmanager
def served(gate, authenticator, address="127.0.0.1:0", tls=None, limits=None):
    """Serves a gate; the address it listens on. What serving raises is raised here."""
    started, stopped = Future(), Future()

    async def main():
        async with serve.running(gate, authenticator, address, tls, limits) as listening:
            started.set_result((listening, asyncio.get_running_loop(), stop := asyncio.Event()))
            await stop.wait()

    def run():
        try:
            stopped.set_result(asyncio.run(main()))
        except BaseException as error:
            (stopped if started.done() else started).set_exception(error)

    with mock.patch.object(serve, "SETTLING_SECONDS", 0.05):
        thread = threading.Thread(target=run)
        thread.start()
        listening, loop, stop = started.result()
        try:
            yield listening
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()
        stopped.result()
