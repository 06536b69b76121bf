"""The puzzle for a work: how many stamps of how many bits, and how long it stays open."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pow.puzzle import ALGORITHMS, MAX_WORK, Puzzle, lifetime, puzzle_for


@given(st.one_of(st.integers(1, 5_000), st.integers(1, MAX_WORK)))
def test_work_is_met_within_3_2_percent(work):
    puzzle = puzzle_for(work)
    assert abs(Fraction(puzzle.work, work) - 1) <= Fraction(32, 1000)
    assert puzzle.count < 32
    assert puzzle.bits == 0 or puzzle.count >= 16


def test_every_work_next_to_a_step_is_monotone():
    works = set(range(1, 3_000))
    for b in range(0, 56, 5):
        for k in range(16, 33):
            for d in (-1, 0, 1):
                works |= {min((k << b) + d, MAX_WORK), min(((2 * k + 1) << b >> 1) + d, MAX_WORK)}
    priced = [puzzle_for(work).work for work in sorted(works)]
    assert priced == sorted(priced)
    assert all(puzzle_for(0, a) == Puzzle(a, 0, 0) for a in ALGORITHMS)  # and none for nothing


@given(st.one_of(st.integers(1, 5_000), st.integers(1, MAX_WORK)))
def test_argon2id_puzzles_are_rounded_up(work):
    puzzle = puzzle_for(work, "argon2id")
    assert puzzle.count < 8
    assert puzzle.bits == 0 or puzzle.count >= 4
    assert work <= puzzle.work <= 1.25 * work
    assert work >= 8 or puzzle.work == work


@pytest.mark.parametrize(
    ("make", "why"),
    [
        *((lambda work=work: puzzle_for(work), "work must be") for work in (-1, 1.0, True, "1")),
        (lambda: puzzle_for(MAX_WORK + 1), "work must be"),
        (lambda: puzzle_for(1, "md5"), "algorithm"),
        (lambda: Puzzle("sha1", 61, 16), "bits must be"),
        (lambda: Puzzle("sha1", 4, 32), "count must be"),
    ],
)
def test_out_of_range(make, why):
    with pytest.raises(ValueError, match=why):
        make()


def test_lifetime():
    assert lifetime(1) == 600
    assert lifetime(10**9) == 10_000
    assert lifetime(MAX_WORK) == 86_400
    assert lifetime(64_000, "argon2id") == 2_560
