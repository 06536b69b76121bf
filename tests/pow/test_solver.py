"""Searching: agreement with hashlib, threads, cancellation, deadlines, progress, refusals."""

import hashlib
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pow import native
from pow.challenge import Keyring, verify_counters
from pow.hashcash import check, value
from pow.puzzle import puzzle_for
from pow.solver import Cancelled, DeadlineExceeded, aligned_random, mint, search, solve
from pow.threads import share

RING = Keyring([b"s" * 32], entropy=lambda n: bytes(range(n)))
CHALLENGES = 300


def issue(work, algorithm="sha1"):
    return RING.issue(
        puzzle_for(work, algorithm),
        audience="gate",
        client="ann",
        request_id="r",
        digest=bytes(32),
        now=1_795_262_400.0,
        expires=1_795_263_000,
    )


@pytest.mark.parametrize(
    ("algorithm", "solver", "threads"),
    [
        ("sha1", "native", 1),
        ("sha1", "python", 1),
        ("sha256", "native", 2),
        ("sha256", "python", 1),
        ("argon2id", "native", 1),
        ("argon2id", "native", 3),
    ],
)
def test_what_is_solved_verifies(algorithm, solver, threads):
    for work in (64,) if algorithm == "argon2id" else (0, 1, 15, 16, 700, 5_000, 50_000):
        challenge = issue(work, algorithm)
        solution = solve(challenge, solver=solver, threads=threads)
        verify_counters(challenge, solution.counters)
        assert len(solution.counters) == challenge.puzzle.count <= solution.hashes
        assert not solution.virtual
        assert solution.cpu_seconds >= 0


@settings(max_examples=25)
@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=200),
    st.integers(0, 11),
    st.sampled_from(["sha1", "sha256"]),
)
def test_any_prefix_is_solved(prefix, bits, algorithm):
    solution = search(prefix, bits, 3, algorithm=algorithm)
    assert len(set(solution.counters)) == 3
    assert all(value(prefix + counter, algorithm) >= bits for counter in solution.counters)
    assert list(solution.counters) == sorted(solution.counters, key=lambda c: (len(c), c))


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_a_minted_prefix_ends_where_the_kernels_want_it(algorithm):
    stamp = mint("somebody@example.org", 18, algorithm, ext="a=b")
    assert check(stamp, 18, "somebody@example.org", algorithm, now=time.time(), max_age=60)
    for bare in range(200):
        rand = aligned_random(bare)
        assert native.supports("x" * bare + rand)
        assert (bare + len(rand)) % 64 == 58
        assert 16 <= len(rand) < 80


@pytest.mark.parametrize(
    ("algorithm", "bits", "count", "kernel"),
    [
        ("sha1", 4, 16, "hashlib"),
        ("sha1", 6, 16, "auto"),
        ("sha1", 10, 17, "auto"),
        ("sha1", 9, 1, "auto"),
        ("sha256", 7, 31, "auto"),
    ],
)
def test_work_and_its_spread(algorithm, bits, count, kernel):
    hashes = np.empty(CHALLENGES)
    for i in range(CHALLENGES):
        seed = hashlib.sha256(f"{algorithm} {bits} {count} {i}".encode()).hexdigest()
        prefix = f"1:{bits}:261121120000:powgate::{seed[:32]}:"
        hashes[i] = search(prefix, bits, count, algorithm=algorithm, kernel=kernel).hashes
    work, spread = count << bits, np.sqrt((1 - 2.0**-bits) / count)
    # 3 % where 300 draws can tell, four standard errors where they cannot
    assert abs(hashes.mean() / work - 1) < max(0.03, 4 * spread / np.sqrt(CHALLENGES))
    assert abs(hashes.std() / hashes.mean() / spread - 1) < 0.16


@pytest.mark.parametrize(("solver", "threads"), [("native", 1), ("native", 2), ("python", 1)])
def test_cancelling_takes_less_than_50_ms(solver, threads):
    solve(issue(1 << 22))  # compiled

    def delay():
        cancel, cancelled_at = threading.Event(), []
        stop = lambda: cancelled_at.append(time.perf_counter()) or cancel.set()  # noqa: E731
        timer = threading.Timer(0.05, stop)
        timer.start()
        with pytest.raises(Cancelled, match="cancelled after"):
            solve(issue(1 << 50), solver=solver, threads=threads, cancel=cancel)
        timer.join()
        return time.perf_counter() - cancelled_at[0]

    assert any(delay() < 0.05 for _ in range(5))  # a busy neighbour may take the core for longer


@pytest.mark.parametrize("algorithm", ["sha1", "argon2id"])
def test_a_deadline_and_progress(algorithm):
    seen: list[tuple[int, float]] = []
    started = time.perf_counter()
    with pytest.raises(DeadlineExceeded, match="not solved in"):
        solve(
            issue(1 << 50, algorithm),
            deadline=0.25,
            threads=2,
            progress=lambda n, s: seen.append((n, s)),
        )
    assert time.perf_counter() - started < 5.0  # the search itself would take months
    assert 1 <= len(seen) <= 2
    assert seen == sorted(seen)
    assert seen[0][0] > 0


def test_what_a_progress_callback_or_a_helper_raises_comes_out():
    def stop(_, __):
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        solve(issue(1 << 50), threads=2, progress=stop)
    assert threading.active_count() == before
    over = threading.Event()

    def work(helper):
        if helper:
            raise MemoryError
        assert over.wait(5)

    with pytest.raises(MemoryError):
        share(work, 2, over.set)


def test_virtual():
    challenge = issue(1 << 30, "virtual")
    rng = np.random.default_rng(7)
    drawn = [solve(challenge, solver="virtual", rate=1e6, rng=rng) for _ in range(3_000)]
    assert all(s.virtual and s.counters == () for s in drawn)
    hashes = np.array([s.hashes for s in drawn], dtype=float)
    assert abs(hashes.mean() / 2**30 - 1) < 0.03
    assert abs(hashes.std() / hashes.mean() * 4 - 1) < 0.1  # k = 16
    assert drawn[0].seconds == drawn[0].cpu_seconds == drawn[0].hashes / 1e6
    again = solve(challenge, solver="virtual", rate=1e6, rng=np.random.default_rng(7))
    assert again == drawn[0]
    for work in (0, 3, 16, 20, 1 << 60):
        s = solve(issue(work, "virtual"), solver="virtual", rate=1e9, rng=rng, threads=2)
        assert s.hashes >= (work if work < 32 else 1)
        assert s.seconds == s.cpu_seconds / 2


VIRTUAL = {"work": (1, "virtual"), "solver": "virtual", "rate": 1.0, "rng": np.random.default_rng()}


def solved(arguments):
    rest = dict(arguments)
    solve(issue(*rest.pop("work", (1, "sha1"))), **rest)


def searched(change):
    search(**({"prefix": "p" * 60, "bits": 4, "count": 1} | change))


@pytest.mark.parametrize(
    ("call", "arguments", "why"),
    [
        (solved, VIRTUAL | {"work": (1, "sha1")}, "cannot solve a sha1"),
        (solved, {"work": (1, "virtual")}, "cannot solve a virtual"),
        (solved, {"solver": "gpu"}, "solver must be"),
        (solved, VIRTUAL | {"rng": None}, "random generator"),
        *(
            (solved, VIRTUAL | {"rate": rate}, "needs a rate")
            for rate in (None, 0.0, -1.0, float("inf"), float("nan"))
        ),
        *((searched, {"bits": bits}, "bits must be") for bits in (61, -1)),
        *((searched, {"count": count}, "count must be") for count in (-1, 5000)),
        (searched, {"algorithm": "md5"}, "algorithm must be"),
        (searched, {"threads": 0}, "threads must be"),
        (searched, {"kernel": "gpu"}, "kernel must be"),
        (searched, {"prefix": "é"}, "ASCII"),
        *((searched, {"deadline": s}, "deadline must be") for s in (0, float("nan"))),
    ],
)
def test_what_cannot_be_solved_is_refused(call, arguments, why):
    with pytest.raises(ValueError, match=why):
        call(arguments)
