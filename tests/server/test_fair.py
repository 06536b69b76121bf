"""Jobs of one thread: every client's turn comes."""

import threading

import pytest

from server.authentication import CALLER
from server.fair import FairExecutor


@pytest.fixture
def pool():
    pool = FairExecutor("test")
    yield pool
    pool.shutdown()


def test_clients_take_turns_and_each_ones_jobs_keep_their_order(pool):
    done, go = [], threading.Event()
    pool.submit(go.wait)
    futures = []
    for client, jobs in (("attacker", 8), ("anne", 2), ("bob", 1)):
        CALLER.set(client)
        futures += [pool.submit(done.append, f"{client}-{number}") for number in range(jobs)]
    go.set()
    for future in futures:
        future.result(5)
    assert done == [
        *("attacker-0", "anne-0", "bob-0", "attacker-1", "anne-1"),
        *(f"attacker-{number}" for number in range(2, 8)),
    ]


def test_an_error_is_its_own_job_s(pool):
    failed, worked = pool.submit(int, "x"), pool.submit(int, "7")
    assert isinstance(failed.exception(5), ValueError)
    assert worked.result(5) == 7


def test_a_job_that_was_given_up_is_not_run(pool):
    done, go = [], threading.Event()
    pool.submit(go.wait)
    given_up, kept = pool.submit(done.append, "given up"), pool.submit(done.append, "kept")
    assert given_up.cancel()
    go.set()
    kept.result(5)
    assert done == ["kept"]
